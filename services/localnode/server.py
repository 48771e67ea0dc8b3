"""HTTPS on loopback: the standard library's server, because what is wanted of it is little and exact.

A node's answers have the error text as reason phrase, bodies that may be empty, and file uploads as multipart forms.
`http.server` lets us say each of these as it is; a framework would have to be talked out of its own ideas of them.
"""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import tempfile
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from logging import getLogger
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from services.localnode.api.permissions import Caller
from services.localnode.api.refusal import Refusal, bad_request, failed
from services.localnode.api.routes import Call, Request, Routes
from services.localnode.calls.table import TABLE
from services.localnode.multipart import read_form
from services.localnode.node import Node

log = getLogger(__name__)

BASE = "/api2/json"
#: A form or JSON body; files come as multipart and go to disk.
MAX_BODY = 512 * 1024
IDLE_SECONDS = 60.0


def answer(node: Node, routes: Routes[Node], request: Request, headers: Mapping[str, str]) -> Any:
    """The data of the answer to one request, or a refusal. Without HTTP, so that tests may ask directly."""
    if request.method == "POST" and request.path == "/access/ticket":
        caller = Caller("nobody")
    else:
        caller = node.logins.caller(request.method, headers)
    route, where = routes.find(request)
    values = routes.check(route, where, request.given)
    return route.handle(node, Call(node.rights(caller), where, values, request.upload))


class Server(ThreadingHTTPServer):
    """The listener. Handshakes happen in the threads of their connections, so that a silent client holds up nobody."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], context: ssl.SSLContext, node: Node, uploads: Path) -> None:
        self.node = node
        self.routes = Routes(TABLE, node.name)
        self.uploads = uploads
        self._context = context
        uploads.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left in uploads.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        super().__init__(address, Handler)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def finish_request(self, request: Any, client_address: Any) -> None:
        request.settimeout(IDLE_SECONDS)
        try:
            secure = self._context.wrap_socket(request, server_side=True)
        except (OSError, ssl.SSLError) as error:
            log.debug("handshake: %s", error)
            return
        try:
            super().finish_request(secure, client_address)
        except (ConnectionError, TimeoutError, ssl.SSLError) as error:
            log.debug("connection: %s", error)
        finally:
            _close(secure)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    # An answer leaves as one piece and at once: in two, the second would wait for the first one's acknowledgement.
    wbufsize = -1
    disable_nagle_algorithm = True
    server: Server

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged: their parameters may hold secrets."""

    def _serve(self) -> None:
        url = urlsplit(self.path)
        with tempfile.TemporaryDirectory(dir=self.server.uploads) as scratch:
            try:
                request = self._request(url.path, url.query, Path(scratch))
                data = answer(self.server.node, self.server.routes, request, dict(self.headers.items()))
            except Refusal as refusal:
                self._send(refusal.status, refusal.text, refusal.body())
            except Exception:
                log.exception("%s %s", self.command, url.path)
                internal = failed("internal error of the stand-in node: see its log")
                self._send(internal.status, internal.text, internal.body())
            else:
                self._send(200, "OK", {"data": data})

    def _request(self, path: str, query: str, scratch: Path) -> Request:
        if not path.startswith(f"{BASE}/"):
            self.close_connection = True
            raise Refusal(404, f"no such file '{path}'", empty=True)
        given: dict[str, str | list[str]] = {}
        _add(given, parse_qsl(query, keep_blank_values=True))
        upload = self._body(given, scratch)
        return Request(self.command, unquote(path.removeprefix(BASE)), given, upload)

    def _body(self, given: dict[str, str | list[str]], scratch: Path) -> Path | None:
        """Reads the body into `given`; the path of an uploaded file, if there is one."""
        length = int(self.headers.get("Content-Length") or 0)
        kind = self.headers.get_content_type()
        if kind == "multipart/form-data" and length:
            boundary = self.headers.get_param("boundary")
            fields, upload = read_form(self.rfile, length, str(boundary or ""), scratch)
            _add(given, fields)
            return upload
        if length > MAX_BODY:
            self.close_connection = True
            raise bad_request()
        text = self.rfile.read(length).decode("utf-8", "replace") if length else ""
        if kind == "application/json" and text:
            _add_json(given, text)
        else:
            _add(given, parse_qsl(text, keep_blank_values=True))
        return None

    def _send(self, status: int, reason: str, body: Mapping[str, Any] | None) -> None:
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(status, reason.replace("\n", " ").strip())
        if data:
            self.send_header("Content-Type", "application/json;charset=UTF-8")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _add(given: dict[str, str | list[str]], pairs: list[tuple[str, str]]) -> None:
    """A name that comes twice is a list."""
    for name, value in pairs:
        before = given.get(name)
        if before is None:
            given[name] = value
        else:
            given[name] = [*before, value] if isinstance(before, list) else [before, value]


def _add_json(given: dict[str, str | list[str]], text: str) -> None:
    """JSON's true and false are 1 and 0 (recorded: errors-083)."""
    try:
        parsed = json.loads(text)
    except ValueError:
        raise bad_request() from None
    if not isinstance(parsed, dict):
        raise bad_request()
    for name, value in parsed.items():
        if isinstance(value, list):
            given[name] = [str(item) for item in value]
        elif value is not None:
            given[name] = str(int(value)) if isinstance(value, bool) else str(value)


def _close(secure: socket.socket) -> None:
    try:
        secure.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    finally:
        secure.close()
