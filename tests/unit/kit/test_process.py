"""Whole processes: signals, draining, systemd, logs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from tests.unit.kit.echo import Ping, call

_ROOT = Path(__file__).parents[3]


def until(condition: Callable[[], object]) -> None:
    pause = threading.Event()
    for _ in range(1500):
        if condition():
            return
        pause.wait(0.02)
    raise AssertionError("it never came true")


@contextlib.contextmanager
def process(place: Path, *listen: str, marks: str = "", **environment: str) -> Iterator[subprocess.Popen[str]]:
    directory = place / marks
    directory.mkdir(exist_ok=True)
    argv = [sys.executable, "-W", "error", "-m", "tests.unit.kit.process", str(directory), *listen]
    env = {**os.environ, **environment}
    child = subprocess.Popen(argv, cwd=_ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def started(place: Path, child: subprocess.Popen[str]) -> None:
    until(lambda: (place / "ready").exists() or child.poll() is not None)
    assert child.poll() is None, child.communicate()


def test_sigterm_lets_a_running_call_end_and_exits_0(place: Path) -> None:
    directory = place / "release"
    with process(place, f"unix:{place}/s", marks="release") as child:
        started(directory, child)
        with grpc.insecure_channel(f"unix:{place}/s") as channel:
            running = call(channel, "Many")(Ping(count=1, data=b"wait"), timeout=60)
            next(running)
            child.send_signal(signal.SIGTERM)
            assert [p.name for p in running] == ["released"]
        out, err = child.communicate(timeout=30)
    assert (child.returncode, out) == (0, "")
    assert (directory / "stopped").exists()
    assert [json.loads(line)["event"] for line in err.splitlines() if "kit.server" in line] == ["ready", "stopping"]


def test_second_signal_ends_at_once(place: Path) -> None:
    with process(place, f"unix:{place}/s") as child:
        started(place, child)
        with grpc.insecure_channel(f"unix:{place}/s") as channel:
            stuck = call(channel, "Many")(Ping(count=1, data=b"hang"))
            next(stuck)
            child.send_signal(signal.SIGINT)
            until(lambda: (place / "draining").exists())
            child.send_signal(signal.SIGINT)
            assert child.wait(30) == 1
            stuck.cancel()


def test_second_server_on_the_same_port_is_refused(place: Path) -> None:
    with socket.socket() as s:
        s.bind(("127.83.7.2", 0))
        address = f"127.83.7.2:{s.getsockname()[1]}"
    with process(place, address) as first:
        started(place, first)
        (place / "second").mkdir()
        with process(place, address, marks="second") as second:
            out, err = second.communicate(timeout=30)
        assert (second.returncode, out) == (2, "")
        assert err.splitlines()[-1].startswith(f"error: listen '{address}': cannot bind")
        assert (place / "second" / "stopped").exists()


def test_systemd_is_told(place: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(f"{place}/n")
        supervisor.settimeout(30)
        with process(place, f"unix:{place}/s", NOTIFY_SOCKET=f"{place}/n") as child:
            assert supervisor.recv(100) == b"READY=1"
            child.terminate()
            assert supervisor.recv(100) == b"STOPPING=1"
            assert child.wait(30) == 0


_LOGS = """
import logging
from services.kit.logging import bound, setup
setup("unit", "info")
with bound(request_id="r0"), bound(request_id="r1"):
    deep = {"Token": "hunter2", "list": [{"secret": "hunter2"}]}
    logging.getLogger("a").info("one", extra={"password": "hunter2", "deep": deep})
    logging.getLogger("b").info("two %s", "x")
    logging.getLogger("proxmoxer.core").info("POST password=hunter2")
    logging.getLogger("smbprotocol.session").info("hunter2")
    logging.getLogger("a").debug("hunter2")
    try:
        1 / 0
    except ZeroDivisionError:
        logging.getLogger("a").exception("three")
logging.getLogger("a").info("four")
"""


def test_logs_are_json_lines_without_secrets() -> None:
    argv = [sys.executable, "-W", "error", "-c", _LOGS]
    done = subprocess.run(argv, cwd=_ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert "hunter2" not in done.stderr
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"] for line in lines] == ["one", "two x", "three", "four"]
    assert all(line["service"] == "unit" for line in lines)
    assert [line.get("request_id") for line in lines] == ["r1", "r1", "r1", None]
    assert {"level", "timestamp", "logger"} <= lines[0].keys()
    assert lines[0]["password"] == "<redacted>"
    assert "ZeroDivisionError" in lines[2]["exception"]


@pytest.mark.parametrize("value", ["", "relative"])
def test_no_supervisor_is_no_error(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from services.kit.notify import notify

    monkeypatch.setenv("NOTIFY_SOCKET", value)
    notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere/socket")
    notify("READY=1")
