"""Binding a gRPC server, of either runtime, to its configured addresses."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import Protocol

import grpc

from services.kit.config import Address, ConfigError, ListenConfig, parse_address
from services.kit.tls import server_credentials

#: Largest message that is served.
MESSAGE_MAX = 4 * 1024 * 1024
#: Largest request that is taken in at all. Of a larger one gRPC itself says no more than "larger than max"; one between the
#: two is read, and refused with what to do (`interceptors`).
RECEIVE_MAX = 2 * MESSAGE_MAX

#: Without so_reuseport 0 a second server on the same port starts without a word and takes half of the connections.
SERVER_OPTIONS: Sequence[tuple[str, int]] = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", RECEIVE_MAX),
    ("grpc.max_send_message_length", MESSAGE_MAX),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # Clients, ours included, ping each 20 s; gRPC's default takes that for abuse (GOAWAY too_many_pings).
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    # So that a revoked or renewed certificate counts within a bounded time; running calls are not cut.
    ("grpc.max_connection_age_ms", 3_600_000),
)


class Server(Protocol):
    """What both runtimes' servers have in common."""

    def add_insecure_port(self, address: str) -> int: ...

    def add_secure_port(self, address: str, server_credentials: grpc.ServerCredentials) -> int: ...


def bind(server: Server, config: ListenConfig) -> list[str]:
    """Binds every address and returns them as gRPC targets, with the port that was chosen for port 0.

    A Unix socket is made with mode 0600; a stale one is removed, but only if nobody answers on it (gRPC itself would take
    it away from a server that lives).
    """
    bound = []
    for text in config.listen:
        address = parse_address(text)
        if address.path:
            bound.append(_bind_unix(server, address))
        elif config.insecure_loopback or config.tls is None:
            bound.append(_bind_tcp(server, address, None))
        else:
            bound.append(_bind_tcp(server, address, server_credentials(config.tls, client_certificates=True)))
    for text in config.token_listen:
        assert config.tls is not None  # ListenConfig has checked it
        credentials = server_credentials(config.tls, client_certificates=False)
        bound.append(_bind_tcp(server, parse_address(text), credentials))
    return bound


def _bind_tcp(server: Server, address: Address, credentials: grpc.ServerCredentials | None) -> str:
    try:
        if credentials is None:
            port = server.add_insecure_port(address.target)
        else:
            port = server.add_secure_port(address.target, credentials)
    except RuntimeError:
        port = 0
    if port == 0:
        raise ConfigError(f"listen {address.target!r}: cannot bind. Is another program there (ss -ltnp)?")
    return Address(host=address.host, port=port).target


def _bind_unix(server: Server, address: Address) -> str:
    path = address.path
    if os.path.lexists(path):
        if _answers(path):
            raise ConfigError(f"listen {address.target!r}: another process answers there. Stop it, or choose another path.")
        os.unlink(path)
    before = os.umask(0o177)
    try:
        server.add_insecure_port(address.target)
    except RuntimeError:
        raise ConfigError(
            f"listen {address.target!r}: cannot bind. Does the directory exist, may we write there?"
        ) from None
    finally:
        os.umask(before)
    os.chmod(path, 0o600)
    return address.target


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        s.settimeout(2)
        try:
            s.connect(path)
        except TimeoutError:
            return True
        except OSError:
            return False
        return True
