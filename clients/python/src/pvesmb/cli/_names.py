"""Names as people write them: full, or as short as they are clear."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pvesmb._client import Client
from pvesmb._errors import InvalidArgument, NotFound, Unavailable
from pvesmb.v1.backend_pb2 import Backend
from pvesmb.v1.file_server_pb2 import FileServer


def short(name: str) -> str:
    """`native/files/projects` for the full name: its ids without the words between them."""
    return "/".join(name.split("/")[1::2])


@dataclass(frozen=True)
class Names:
    """Finds what a short name means. Where it could mean several things, or a backend that might know another cannot be
    asked, that is an error: a change must not hit something else because a backend is down."""

    client: Client

    def backend(self, text: str) -> str:
        """`backends/B` for itself, `B`, or nothing where there is one backend only."""
        if text:
            name = text if text.startswith("backends/") else f"backends/{text}"
            return _checked(name, ["backends"], text, "BACKEND")
        names = [backend.name for backend in self.client.backends.list()]
        if len(names) == 1:
            return names[0]
        if not names:
            raise NotFound("the gateway knows no backend", help="Add one to the gateway's file of backends.")
        raise InvalidArgument(f"there are several backends: {_list(names)}", help="Name one with --backend.")

    def guest_backend(self, text: str) -> str:
        """The same among those that make guests."""
        if not text:
            guests = [backend.name for backend in self.client.backends.list() if backend.mode != Backend.MODE_NATIVE]
            if len(guests) == 1:
                return guests[0]
        return self.backend(text)

    def template(self, text: str) -> str:
        """`backends/B/templates/T`, `B/T`, or `T`, which all backends are asked for."""
        words = ["backends", "templates"]
        if text.startswith("backends/"):
            return _checked(text, words, text, "BACKEND/TEMPLATE")
        if "/" in text:
            return _joined(words, text, "BACKEND/TEMPLATE")
        listing = self.client.templates.list()
        found = [template.name for template in listing if template.name.rsplit("/", 1)[-1] == text]
        if listing.unreachable:
            raise Unavailable(
                f"cannot tell which template is meant, because {_list(listing.unreachable)} cannot be reached",
                help="Name it as BACKEND/TEMPLATE.",
            )
        if len(found) == 1:
            return found[0]
        if found:
            raise InvalidArgument(f"there are several such templates: {_list(found)}", help="Name one of them.")
        raise NotFound(f"no template is called {text!r}", help="`pvesmb template list` shows them.")

    def server(self, text: str) -> str:
        """`backends/B/fileServers/S`, `B/S`, `S`, or nothing where there is one file server only."""
        if text.startswith("backends/"):
            return _checked(text, ["backends", "fileServers"], text, "BACKEND/SERVER")
        if "/" in text:
            return _joined(["backends", "fileServers"], text, "BACKEND/SERVER")
        servers, unreachable = self.servers()
        if unreachable:
            raise Unavailable(
                f"cannot tell which file server is meant, because {_list(unreachable)} cannot be reached",
                help="Name it as BACKEND/SERVER.",
            )
        names = [server.name for server in servers]
        found = [name for name in names if not text or name.rsplit("/", 1)[-1] == text]
        if len(found) == 1:
            return found[0]
        if found:
            raise InvalidArgument(f"there are several such file servers: {_list(found)}", help="Name one of them.")
        missing = f"no file server is called {text!r}" if text else "there is no file server"
        exists = f"There are: {_list(names)}." if names else "Make one: `pvesmb server create`."
        raise NotFound(missing, help=exists)

    def servers(self) -> tuple[Sequence[FileServer], Sequence[str]]:
        """Those of all backends, and the backends that could not be asked."""
        listing = self.client.file_servers.list()
        return list(listing), listing.unreachable

    def child(self, collection: str, text: str, server: str = "") -> tuple[str, str]:
        """File server and id of `backends/B/fileServers/S/COLLECTION/X`, `B/S/X`, `S/X`, or of `X` in `server`."""
        words = ["backends", "fileServers", collection]
        noun = collection.upper().removesuffix("S")
        if text.startswith("backends/"):
            name = _checked(text, words, text, f"BACKEND/SERVER/{noun}")
        elif text.count("/") == 2:
            name = _joined(words, text, f"BACKEND/SERVER/{noun}")
        else:
            left, slash, id = text.rpartition("/")
            if not id or (slash and not left) or "/" in left:
                raise _form(text, f"BACKEND/SERVER/{noun}, SERVER/{noun} or {noun}")
            if slash and server:
                raise InvalidArgument(f"{text!r} names a file server, and so does --server", help="Leave one away.")
            return self.server(left or server), id
        if server:
            raise InvalidArgument(f"{text!r} names a file server, and so does --server", help="Leave one away.")
        parent, _, id = name.rsplit("/", 2)
        return parent, id

    def full(self, collection: str, text: str, server: str = "") -> str:
        """The same as one name."""
        parent, id = self.child(collection, text, server)
        return f"{parent}/{collection}/{id}"

    def operation(self, text: str) -> str:
        """`backends/B/operations/O`, `B/O`, or `O`, which all backends are asked for."""
        if text.startswith("backends/"):
            return _checked(text, ["backends", "operations"], text, "BACKEND/OPERATION")
        if "/" in text:
            return _joined(["backends", "operations"], text, "BACKEND/OPERATION")
        silent = []
        for backend in self.client.backends.list():
            name = f"{backend.name}/operations/{text}"
            try:
                return self.client.operations.get(name).name
            except NotFound:
                continue
            except Unavailable:
                silent.append(backend.name)
        if silent:
            raise Unavailable(f"{text!r} was not found, but {_list(silent)} cannot be reached")
        raise NotFound(f"no backend knows the operation {text!r}", help="`pvesmb operation list` shows them.")


def _list(names: Sequence[str]) -> str:
    return ", ".join(short(name) for name in names)


def _form(text: str, form: str) -> InvalidArgument:
    return InvalidArgument(f"{text!r} is not a name here", help=f"Write {form}.")


def _checked(name: str, words: Sequence[str], text: str, form: str) -> str:
    """The full name, if it has these words in the places between the ids."""
    parts = name.split("/")
    if parts[0::2] != list(words) or len(parts) != 2 * len(words) or not all(parts):
        raise _form(text, form)
    return name


def _joined(words: Sequence[str], text: str, form: str) -> str:
    ids = text.split("/")
    if len(ids) != len(words) or not all(ids):
        raise _form(text, form)
    return "/".join(f"{word}/{id}" for word, id in zip(words, ids, strict=True))
