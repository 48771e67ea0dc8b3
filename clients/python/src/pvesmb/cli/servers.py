"""`pvesmb server`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from pvesmb.cli import _complete
from pvesmb.cli._command import Changing, Etag, Session, command
from pvesmb.cli._confirm import Sure
from pvesmb.cli._guest_fields import GuestFields
from pvesmb.cli._parse import Demand, Dialect, Drift, Level, listed, pairs, rule, size
from pvesmb.cli._secrets import PasswordSource

app = typer.Typer(help="File servers: Samba instances with an address, users and shares.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="SERVER", autocompletion=_complete.servers, help="SERVER or BACKEND/SERVER.")]


@dataclass
class Fields:
    """Fields of a file server."""

    description: Annotated[str | None, typer.Option(help="Text that clients see.")] = None
    listen: Annotated[list[str], typer.Option(metavar="ADDRESS", help="Address to listen on; may be repeated.")] = field(
        default_factory=list
    )
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="TCP port; normally 445.")] = None
    min_protocol: Annotated[Dialect | None, typer.Option(help="Oldest SMB dialect.")] = None
    encryption: Annotated[Demand | None, typer.Option()] = None
    signing: Annotated[Demand | None, typer.Option()] = None
    allow_guests: Annotated[
        bool | None, typer.Option("--allow-guests/--no-allow-guests", help="Whether a share may let guests in.")
    ] = None
    netbios_name: Annotated[str | None, typer.Option(metavar="NAME")] = None
    workgroup: Annotated[str | None, typer.Option(metavar="NAME")] = None
    drift_policy: Annotated[Drift | None, typer.Option(help="What to do when what runs is not what was asked for.")] = None
    label: Annotated[list[str], typer.Option(metavar="KEY=VALUE", help="May be repeated.")] = field(default_factory=list)

    def fill(self, server: Any) -> list[str]:
        """Sets the fields that were given, and names their paths."""
        from pvesmb.v1 import common_pb2, file_server_pb2

        smb = {
            "min_protocol": self.min_protocol
            and file_server_pb2.SmbSettings.Dialect.Value(f"DIALECT_{self.min_protocol.name}"),
            "encryption": self.encryption and common_pb2.Demand.Value(f"DEMAND_{self.encryption.name}"),
            "signing": self.signing and common_pb2.Demand.Value(f"DEMAND_{self.signing.name}"),
            "allow_guests": self.allow_guests,
            "netbios_name": self.netbios_name,
            "workgroup": self.workgroup,
        }
        paths = []
        for name, value in smb.items():
            if value is not None:
                setattr(server.smb, name, value)
                paths.append(f"smb.{name}")
        if self.description is not None:
            server.description = self.description
            paths.append("description")
        if self.drift_policy is not None:
            server.drift_policy = file_server_pb2.FileServer.DriftPolicy.Value(f"DRIFT_POLICY_{self.drift_policy.name}")
            paths.append("drift_policy")
        if self.listen:
            server.native.listen_addresses[:] = listed(self.listen)
            paths.append("native.listen_addresses")
        if self.port is not None:
            server.native.port = self.port
            paths.append("native.port")
        if self.label:
            server.labels.update(pairs(self.label, "--label"))
            paths.append("labels")
        return paths


@app.command("create")
@command
def create(
    session: Changing,
    name: Annotated[str, typer.Argument(metavar="SERVER", help="SERVER or BACKEND/SERVER.")],
    fields: Fields,
    guest: GuestFields,
    passwords: PasswordSource,
    backend: Annotated[str, typer.Option(autocompletion=_complete.backends, help="Needed if there are several.")] = "",
    share: Annotated[list[str] | None, typer.Option(metavar="NAME", help="A first share; may be repeated.")] = None,
    share_size: Annotated[
        int | None, typer.Option(parser=size, metavar="SIZE", help="Give each first share a volume of this size.")
    ] = None,
    user: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[:LEVEL]",
            help="A first user, with rights on the first shares; may be repeated. The password is asked.",
        ),
    ] = None,
) -> None:
    """Make a file server, with first shares and users."""
    from pvesmb._errors import InvalidArgument
    from pvesmb.cli._follow import change
    from pvesmb.cli._share_fields import access_rule
    from pvesmb.v1 import file_server_pb2, share_pb2, user_pb2

    left, slash, id = name.rpartition("/")
    if slash and backend:
        raise InvalidArgument(f"{name!r} names a backend, and so does --backend", help="Leave one away.")
    server = file_server_pb2.FileServer()
    fields.fill(server)
    guest.fill(server)
    rights: dict[str, Level] = dict(rule(text) for text in user or [])
    secrets = passwords.read(list(rights)) if rights else []
    users = {one: user_pb2.User(password=secret) for one, secret in zip(rights, secrets, strict=True)}
    access = [access_rule("user", one, level) for one, level in rights.items()]
    shares = {one: share_pb2.Share(access=access) for one in share or []}
    if share_size is not None:
        for first in shares.values():
            first.volume.size_bytes = share_size
    parent = session.names.backend(left.removeprefix("backends/").removesuffix("/fileServers") or backend)
    servers = session.client.file_servers
    change(session, lambda **how: servers.create(parent, id, server, shares=shares, users=users, **how), "done")


@app.command("list")
@command
def listing(
    session: Session,
    backend: Annotated[str, typer.Option(autocompletion=_complete.backends, help="Only those of this backend.")] = "",
    filter: Annotated[str, typer.Option(help="Such as 'state = READY AND labels.team = \"a\"'.")] = "",
) -> None:
    """List the file servers."""
    from pvesmb.cli import _lists
    from pvesmb.cli._names import short
    from pvesmb.cli._render import address, word

    listing = session.client.file_servers.list(session.names.backend(backend) if backend else "backends/-", filter=filter)
    found = list(listing)
    rows = [
        (
            short(s.name),
            word(s, "state"),
            ", ".join(address(e) for e in s.endpoints),
            s.description,
            ", ".join(c.type for c in s.conditions),
        )
        for s in found
    ]
    columns = ("NAME", "STATE", "ADDRESS", "DESCRIPTION", "CONDITIONS")
    _lists.show(session, "fileServers", found, listing.unreachable, columns, rows)


@app.command("get")
@command
def get(session: Session, name: Name) -> None:
    """Show one file server."""
    from pvesmb.cli._output import as_dict, details, document
    from pvesmb.cli._render import rows

    found = session.client.file_servers.get(session.names.server(name))
    document(as_dict(found)) if session.as_json else details(rows(found))


@app.command("update")
@command
def update(
    session: Changing,
    name: Name,
    fields: Fields,
    guest: GuestFields,
    remove_label: Annotated[list[str] | None, typer.Option(metavar="KEY", help="May be repeated.")] = None,
    etag: Etag = "",
) -> None:
    """Change a file server: only what the options name."""
    from pvesmb.cli._edit import update

    def fill(server: Any) -> list[str]:
        return [*fields.fill(server), *guest.fill(server)]

    update(session, session.client.file_servers, session.names.server(name), fill, etag, labels=remove_label or [])


@app.command("delete")
@command
def delete(
    session: Changing,
    name: Name,
    sure: Sure,
    force: Annotated[bool, typer.Option("--force", help="Also its shares, users and groups.")] = False,
    delete_data: Annotated[
        bool, typer.Option("--delete-data", help="With --force: also the files, as far as made here.")
    ] = False,
    etag: Etag = "",
) -> None:
    """Stop and remove a file server."""
    from pvesmb.cli._follow import change
    from pvesmb.cli._names import short

    full = session.names.server(name)
    if not session.dry_run:
        sure.confirm(f"delete the file server {short(full)}{' and the files of its shares' if delete_data else ''}")
    options: dict[str, Any] = {"force": force, "delete_data": delete_data, "etag": etag}
    servers = session.client.file_servers
    change(session, lambda **how: servers.delete(full, **options, **how), f"{short(full)} has been deleted")
