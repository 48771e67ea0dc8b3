"""The client: one connection to a gateway, with a collection for each kind of resource."""

from __future__ import annotations

from dataclasses import replace

from google.longrunning import operations_pb2_grpc

from pvesmb._channel import CALL_SECONDS, Caller, Pace, open_channel
from pvesmb._config import Settings, Tls, check_target, find, read_token
from pvesmb._kinds import FileServers, Groups, Shares, Users
from pvesmb._lists import Listing
from pvesmb._resources import Backends, Link, Operations
from pvesmb._templates import Templates

__all__ = ["Client", "Listing"]


class Client:
    """A connection to a gateway; threads may share it.

    `target` is `host:port` or `unix:/path`. Without it (and without `settings`) the gateway is found as the command line
    finds it, see `pvesmb.find`. `tls` names the PEM files to use, `token` is a bearer token. Plain text is spoken on a unix
    socket; to a gateway on this machine's loopback only if `insecure_loopback` says so. `timeout` is the deadline of each
    call in seconds; waiting for operations is apart.
    """

    def __init__(
        self,
        target: str | None = None,
        *,
        tls: Tls | None = None,
        token: str | None = None,
        insecure_loopback: bool = False,
        settings: Settings | None = None,
        timeout: float = CALL_SECONDS,
        pace: Pace | None = None,
    ) -> None:
        if settings is None:
            settings = find() if target is None else Settings(check_target(target), source="target")
        self.settings = replace(
            settings,
            tls=tls if tls is not None else settings.tls,
            insecure_loopback=insecure_loopback or settings.insecure_loopback,
        )
        if token is None and settings.token_file is not None:
            token = read_token(settings.token_file)
        self._channel = open_channel(self.settings)
        caller = Caller(self._channel, self.settings.gateway, token or "", pace or Pace(), timeout)
        link = Link(caller, operations_pb2_grpc.OperationsStub(self._channel))
        self.backends = Backends(link)
        self.file_servers = FileServers(link)
        self.shares = Shares(link)
        self.users = Users(link)
        self.groups = Groups(link)
        self.templates = Templates(link)
        self.operations = Operations(link)

    def close(self) -> None:
        """Ends the connection; calls under way fail."""
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
