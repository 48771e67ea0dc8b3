"""The command line as a process of its own: passwords, interruption, exit statuses, its speed-giving laziness."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.wire.client.conftest import SERVER
from tests.wire.client.memory_gateway import MemoryGateway

CANARY = "c4nary-Pass phrase"
COMMAND = (sys.executable, "-W", "error::ResourceWarning", "-m", "pvesmb.cli")
SECONDS = 60.0


@pytest.fixture
def environment(gateway: MemoryGateway, place: Path) -> dict[str, str]:
    """That of a user who has nothing configured but the gateway."""
    kept = {key: os.environ[key] for key in ("PATH", "LANG", "PYTHONDONTWRITEBYTECODE") if key in os.environ}
    return {**kept, "HOME": str(place), "PVESMB_GATEWAY": gateway.target, "TERM": "dumb"}


def start(
    environment: dict[str, str], *arguments: str, stdin: int = subprocess.DEVNULL, fds: Sequence[int] = ()
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *arguments],
        env=environment,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=fds,
    )


def run(environment: dict[str, str], *arguments: str, stdin: str = "") -> tuple[int, str, str]:
    process = start(environment, *arguments, stdin=subprocess.PIPE)
    out, err = process.communicate(stdin, timeout=SECONDS)
    return process.returncode, out, err


def test_exit_statuses_reach_the_shell(environment: dict[str, str], files: str) -> None:
    assert run(environment, "share", "list")[0] == 0
    assert run(environment, "share", "bogus")[0] == 2
    assert run(environment)[0] == 2
    code, out, err = run(environment, "server", "get", "native/none", "--json")
    assert (code, out, json.loads(err)["code"]) == (3, "", "NOT_FOUND")


def test_without_a_gateway_it_says_where_it_looked(environment: dict[str, str], place: Path) -> None:
    code, _, err = run({**environment, "PVESMB_GATEWAY": f"unix:{place}/none.sock"}, "server", "get", "a/b")
    assert code == 7
    assert "Traceback" not in err
    code, _, err = run({**environment, "PVESMB_GATEWAY": "", "PVESMB_CONFIG": str(place / "none.toml")}, "backends")
    assert code == 2
    assert str(place / "none.toml") in err


def test_help_tells_the_exit_statuses_and_needs_no_grpc(environment: dict[str, str]) -> None:
    code, out, _ = run({**environment, "COLUMNS": "500"}, "--help")
    assert code == 0
    for word in ("2 bad arguments", "3 not found", "10 cancelled", "130 interrupted"):
        assert word in out
    program = "import sys\nfrom pvesmb.cli.__main__ import main\nmain(['--help'])\nsys.exit('grpc' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], env=environment, stdout=subprocess.DEVNULL).returncode == 0


def test_no_command_takes_a_password_as_an_option(environment: dict[str, str], files: str) -> None:
    for command in (("user", "create"), ("user", "reset-password"), ("server", "create")):
        code, _, err = run(environment, *command, "anna", "--password", CANARY)
        assert code == 2
        assert "--password" in err


def test_password_from_stdin(gateway: MemoryGateway, environment: dict[str, str], files: str) -> None:
    code, out, err = run(environment, "user", "create", "anna", "--password-stdin", "--json", stdin=f"{CANARY}\n")
    assert code == 0, err
    assert gateway.passwords == {f"{files}/users/anna": CANARY}
    assert CANARY not in out + err
    code, out, err = run(environment, "user", "reset-password", "anna", "--password-stdin", stdin="n3w\r\n")
    assert (code, gateway.passwords[f"{files}/users/anna"]) == (0, "n3w")
    for wrong in ("", "\n", f"{CANARY}\nmore\n"):
        code, out, err = run(environment, "user", "create", "ben", "--password-stdin", stdin=wrong)
        assert code == 2
        assert CANARY not in out + err
    assert len(gateway.asked("CreateUser")) == 1


def test_passwords_of_first_users_come_one_a_line(gateway: MemoryGateway, environment: dict[str, str]) -> None:
    first = ("--share", "projects", "--user", "anna", "--user", "ben:read", "--password-stdin")
    code, _, err = run(environment, "server", "create", "files", *first, stdin="one\ntwo\n")
    assert code == 0, err
    assert gateway.passwords == {f"{SERVER}/users/anna": "one", f"{SERVER}/users/ben": "two"}
    rules = gateway.resources[f"{SERVER}/shares/projects"].access
    assert [rule.user for rule in rules] == ["anna", "ben"]


def test_password_from_a_descriptor(gateway: MemoryGateway, environment: dict[str, str], files: str) -> None:
    read, write = os.pipe()
    os.write(write, CANARY.encode())
    os.close(write)
    process = start(environment, "user", "create", "anna", "--password-fd", str(read), fds=[read])
    os.close(read)
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, err
    assert gateway.passwords == {f"{files}/users/anna": CANARY}
    assert CANARY not in out + err
    code, _, err = run(environment, "user", "create", "ben", "--password-fd", "99")
    assert (code, "99" in err) == (2, True)
    assert run(environment, "user", "create", "ben", "--password-fd", "0", "--password-stdin")[0] == 2


def test_without_a_terminal_nothing_is_asked(gateway: MemoryGateway, environment: dict[str, str], files: str) -> None:
    code, _, err = run(environment, "user", "create", "anna", stdin=f"{CANARY}\n")
    assert code == 2
    assert "--password-stdin" in err
    assert not gateway.asked("CreateUser")


def test_the_password_is_nowhere_to_be_seen_while_it_runs(
    gateway: MemoryGateway, environment: dict[str, str], files: str
) -> None:
    gateway.held = True
    process = start(environment, "user", "create", "anna", "--password-stdin", stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(f"{CANARY}\n")
    process.stdin.close()
    process.stdin = None
    name = gateway.wait_for_operation()
    for view in ("cmdline", "environ"):
        assert CANARY.encode() not in Path(f"/proc/{process.pid}/{view}").read_bytes()
    gateway.end(name)
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0
    assert CANARY not in out + err


class Terminal:
    """The command on a terminal of its own."""

    def __init__(self, environment: dict[str, str], *arguments: str) -> None:
        self.fd, other = os.openpty()
        # setsid makes the terminal the controlling one, which is where getpass asks (/dev/tty).
        self._process = subprocess.Popen(
            ["setsid", "--ctty", *COMMAND, *arguments], env=environment, stdin=other, stdout=other, stderr=other
        )
        os.close(other)
        self.seen = ""

    def until(self, text: str) -> None:
        """Reads until the text has come."""
        while text not in self.seen:
            assert self._more(), self.seen

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def end(self) -> int:
        while self._more():
            pass
        return self._process.wait(SECONDS)

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self.fd)

    def _more(self) -> bool:
        ready, _, _ = select.select([self.fd], [], [], SECONDS)
        assert ready, self.seen
        try:
            data = os.read(self.fd, 4096)
        except OSError:  # the other side is closed
            return False
        self.seen += data.decode("utf-8", "replace")
        return bool(data)


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        terminal.close()


def test_password_by_hidden_prompt(
    gateway: MemoryGateway, environment: dict[str, str], files: str, terminals: list[Terminal]
) -> None:
    terminal = Terminal(environment, "user", "create", "anna")
    terminals.append(terminal)
    terminal.until("Password for anna: ")
    terminal.type(f"{CANARY}\n")
    terminal.until("The same again: ")
    terminal.type(f"{CANARY}\n")
    assert terminal.end() == 0, terminal.seen
    assert gateway.passwords == {f"{files}/users/anna": CANARY}
    assert CANARY not in terminal.seen


def test_two_different_passwords_are_refused(
    gateway: MemoryGateway, environment: dict[str, str], files: str, terminals: list[Terminal]
) -> None:
    terminal = Terminal(environment, "user", "create", "anna")
    terminals.append(terminal)
    terminal.until("Password for anna: ")
    terminal.type("one\n")
    terminal.until("The same again: ")
    terminal.type("two\n")
    assert terminal.end() == 2
    assert not gateway.asked("CreateUser")


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 10), ("", 10)])
def test_a_removal_is_asked_for(
    gateway: MemoryGateway, environment: dict[str, str], files: str, terminals: list[Terminal], answer: str, code: int
) -> None:
    gateway.add("Share", f"{files}/shares/projects")
    terminal = Terminal(environment, "share", "delete", "projects", "--delete-data")
    terminals.append(terminal)
    terminal.until("]: ")
    assert "its files" in terminal.seen
    terminal.type(f"{answer}\n")
    assert terminal.end() == code
    assert (f"{files}/shares/projects" in gateway.resources) == (code != 0)


def test_a_bar_shows_the_step(
    gateway: MemoryGateway, environment: dict[str, str], files: str, terminals: list[Terminal]
) -> None:
    gateway.held = True
    terminal = Terminal({**environment, "TERM": "xterm", "COLUMNS": "120"}, "share", "create", "projects")
    terminals.append(terminal)
    for step in ("directory", "registry", "confirm"):
        terminal.until(step)
        gateway.advance(gateway.wait_for_operation())
    assert terminal.end() == 0


def test_no_bar_where_nobody_looks(gateway: MemoryGateway, environment: dict[str, str], files: str) -> None:
    code, out, err = run(environment, "share", "create", "projects", "--everyone", "read")
    assert (code, err) == (0, "")
    assert "projects" in out


@pytest.mark.parametrize("as_json", [False, True])
def test_ctrl_c_leaves_the_operation(
    gateway: MemoryGateway, environment: dict[str, str], files: str, as_json: bool
) -> None:
    gateway.held = True
    process = start(environment, "share", "create", "projects", "--everyone", "read", *(["--json"] if as_json else []))
    name = gateway.wait_for_operation()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, out) == (130, "")
    if as_json:
        assert json.loads(err)["operation"] == name
    for text in (name, f"pvesmb operation wait {name}", f"pvesmb operation cancel {name}"):
        assert text in err
    assert "Traceback" not in err
    assert not gateway.asked("CancelOperation")
    gateway.end(name)
    assert run(environment, "operation", "wait", name)[0] == 0


@pytest.mark.parametrize("shares", [1, 300])
def test_a_reader_that_has_enough(environment: dict[str, str], gateway: MemoryGateway, files: str, shares: int) -> None:
    """One line is written when the program ends, many are while it runs."""
    for number in range(shares):
        gateway.add("Share", f"{files}/shares/s{number}", comment="x" * 250)
    read, write = os.pipe()
    os.close(read)
    listing = subprocess.run([*COMMAND, "share", "list"], env=environment, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (listing.returncode, listing.stderr) == (1, "")


def test_names_are_completed(gateway: MemoryGateway, environment: dict[str, str], files: str) -> None:
    gateway.add("Share", f"{files}/shares/projects")
    asking = {
        **environment,
        "_PVESMB_COMPLETE": "complete_bash",
        "COMP_WORDS": "pvesmb share get nat",
        "COMP_CWORD": "3",
    }
    assert run(asking)[1].split() == ["native/files/projects"]
    nowhere = {**asking, "PVESMB_GATEWAY": "unix:/nowhere.sock"}
    assert run(nowhere)[1].split() == []
    words = f"pvesmb --gateway {gateway.target} share get nat"
    assert run({**nowhere, "COMP_WORDS": words, "COMP_CWORD": "5"})[1].split() == ["native/files/projects"]
