"""Every recorded refusal, sent over TLS as it was recorded: what the session makes of it on the wire."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from fakepve.certs import make_cert

from services.core.errors import PvesmbError
from services.proxmox.failures import kind_of
from services.proxmox.session import Endpoint, Session
from tests.contract.fake_node import TOKEN
from tests.unit.proxmox.recorded import Record, record, records
from tests.unit.proxmox.test_failures import mapped


@dataclass
class Replay:
    """Answers every request with `record`."""

    session: Session
    record: Record | None = None


@pytest.fixture(scope="module")
def replay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replay]:
    certificate, key = make_cert(str(tmp_path_factory.mktemp("replay")), hosts=("127.0.0.1",))[:2]

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            assert played.record is not None
            response = played.record["response"]
            body = b"" if response.get("body") is None else json.dumps(response["body"]).encode()
            self.send_response(response["status"], response.get("reason"))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_DELETE = answer

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    played = Replay(Session(Endpoint("127.0.0.1", server.server_port, ca_file=str(certificate)), TOKEN))
    yield played
    played.session.close()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("id", [id for id, each in records("errors").items() if each["response"]["status"] >= 400])
def test_a_recorded_refusal_arrives_whole(replay: Replay, id: str) -> None:
    replay.record = record(id)
    request = replay.record["request"]
    with pytest.raises(PvesmbError) as refused:
        replay.session.call(request["method"], request["path"].strip("/").split("/"), subject="container 7")
    expected = mapped(replay.record)
    assert kind_of(refused.value) is kind_of(expected)
    if replay.record["response"].get("reason"):
        assert refused.value.to_json() == expected.to_json()


@pytest.mark.parametrize("id", ["lxc-002", "lxc-019", "lxc-031", "lxc-054", "cluster-004", "access-003"])
def test_a_recorded_answer_arrives_as_its_data(replay: Replay, id: str) -> None:
    replay.record = record(id)
    assert replay.session.call("GET", ("version",)) == replay.record["response"]["body"]["data"]
