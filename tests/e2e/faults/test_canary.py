"""A password is nowhere but in Samba: not in the store, logs, arguments, environments, errors or metrics."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pvesmb

from tests.e2e.deployment import CANARY, password, user_rule, users
from tests.e2e.native import NativeDeployment

NEEDLES = (CANARY.encode(), CANARY.encode("utf-16-le"))


@contextmanager
def watching() -> Iterator[list[str]]:
    """Looks at the arguments and environments of all processes the whole time; where a password was seen."""
    hits: list[str] = []
    done = threading.Event()

    def look() -> None:
        seen: set[tuple[str, str]] = set()
        while not done.wait(0.002):
            for pid in os.listdir("/proc"):
                for name in ("cmdline", "environ"):
                    with (
                        contextlib.suppress(OSError),
                        open(f"/proc/{pid}/{name}" if pid.isdigit() else os.devnull, "rb") as file,
                    ):
                        data = file.read()
                        if any(needle in data for needle in NEEDLES) and (pid, name) not in seen:
                            seen.add((pid, name))
                            hits.append(f"{pid} {name}: {data[:200]!r}")

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield hits
    finally:
        done.set()
        thread.join()


def holding(base: Path) -> list[str]:
    """Files below a directory that hold a password in clear."""
    found = []
    for root, _, names in os.walk(base):
        for name in names:
            path = Path(root, name)
            if path.is_file() and not path.is_symlink() and any(needle in path.read_bytes() for needle in NEEDLES):
                found.append(str(path))
    return found


def test_nowhere(deploy: Callable[..., NativeDeployment]) -> None:
    deployment = deploy(log_level="debug")
    client, told = deployment.client, list[str]()

    def refused(act: Callable[[], object]) -> None:
        try:
            act()
        except pvesmb.PvesmbError as error:
            told.append(f"{error} {error.help} {error.metadata} {error.field_violations}")
        else:
            raise AssertionError("it was not refused")

    with watching() as hits:
        server = deployment.new_server(users=users("ann", "ben"), shares={"docs": pvesmb.Share(access=[user_rule("ann")])})
        client.users.reset_password(server.user("ann"), password("ann", 2), end_sessions=True).result(timeout=60)
        client.users.create(server.name, "carl", pvesmb.User(password=password("carl"))).result(timeout=60)
        again = pvesmb.User(password=password("ann", 3))
        refused(lambda: client.users.create(server.name, "ann", again).result(timeout=60))
        refused(lambda: client.users.create(server.name, "Not Valid", again).result(timeout=60))
        long = CANARY * 100
        refused(lambda: client.users.create(server.name, "dora", pvesmb.User(password=long)).result(timeout=60))
        file = deployment.data / "file"
        file.write_text("no directory")
        bad = pvesmb.Share(directory=pvesmb.DirectoryStorage(path=str(file)), access=[user_rule("ann")])
        spec = deployment.spec()
        create = client.file_servers.create
        refused(lambda: create(deployment.backend, "bad", spec, users=users("ann"), shares={"b": bad}).result(timeout=60))
        plan = client.users.create(server.name, "eve", pvesmb.User(password=password("eve")), validate_only=True)
        assert CANARY not in str(plan)
        assert CANARY not in str(client.users.get(server.user("ann")))
        deployment.kill()
        assert holding(deployment.state) == [], "while the store's journal is as the kill has left it"
        deployment.start()
        assert server.smb("ann", "docs", "ls", number=2).ok
        client.backends.list()
    assert hits == []
    assert len(told) == 4 and not [text for text in told if CANARY in text]
    assert not [name for name, text in deployment.metrics().items() if CANARY in text]
    deployment.stop()
    assert holding(deployment.state) == []
    assert deployment.rows("SELECT key FROM secrets") == []


def test_the_search_finds(tmp_path: Path) -> None:
    """Else the test above would say nothing."""
    (tmp_path / "leak").write_text(f"x{password('ann')}")
    (tmp_path / "wide").write_bytes(password("ann").encode("utf-16-le"))
    assert len(holding(tmp_path)) == 2
    with watching() as hits:
        pid = os.posix_spawn("/bin/sleep", ["sleep", "60"], {"LEAK": password("ann")})
        while not hits:
            os.sched_yield()
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    assert hits[0].startswith(f"{pid} environ")
