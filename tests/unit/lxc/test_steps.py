"""The steps within the container, against a host that is a dictionary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from services.core.errors import HostNotPrepared, HostUnreachable, OperationCancelled, SambaUnavailable
from services.core.ports import Completed, Host
from services.core.steps import Contents, Work
from services.lxc.settings import LAYOUT
from services.lxc.steps import DROP_IN, NSSWITCH, PACKAGES, RUNNING_CONF, Inside, PrepareStep, ProcessStep
from tests.fakes import FakeStep, MemoryClaims, World
from tests.unit.samba import builders

POLICY = "/usr/sbin/policy-rc.d"
CONF = b"[global]\n\tinterfaces = lo\n\tsmb ports = 445\n"


@dataclass
class FakeHost:
    """A Debian of files, packages and one unit. `hook` sees each command before it acts, and may raise."""

    files: dict[str, bytes] = field(
        default_factory=lambda: {NSSWITCH: b"passwd:         files\ngroup: files\nhosts: dns\n"}
    )
    packages: set[str] = field(default_factory=set)
    masked: set[str] = field(default_factory=set)
    active: bool = False
    enabled: bool = False
    network: bool = True
    commands: list[tuple[str, ...]] = field(default_factory=list)
    hook: Callable[[Sequence[str]], None] = lambda argv: None
    policy_seen: list[bool] = field(default_factory=list)

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 30.0) -> Completed:
        self.commands.append(tuple(argv))
        self.hook(argv)
        words = [word for word in argv if word != "env" and "=" not in word and not word.startswith("-")]
        code = self._run(words, argv)
        return Completed(code, b"", b"E: Failed to fetch\nE: no route\n" if code else b"")

    def _run(self, words: list[str], argv: Sequence[str]) -> int:
        match words:
            case ["dpkg", *names] if "--status" in argv:
                return int(not self.packages >= set(names))
            case ["apt-get", "update"]:
                return 0 if self.network else 100
            case ["apt-get", "install", *names]:
                self.policy_seen.append(POLICY in self.files)
                self.packages |= set(names)
                self.enabled = True
                self.active = POLICY not in self.files
            case ["systemctl", "is-active", "smbd"]:
                return 0 if self.active else 3
            case ["systemctl", "is-enabled", "smbd"]:
                return 0 if self.enabled else 1
            case ["systemctl", "mask", *names]:
                self.masked |= set(names)
            case ["systemctl", "enable" | "disable" as verb, "smbd"]:
                self.enabled = verb == "enable"
            case ["systemctl", "start" | "restart", "smbd"]:
                self.active = True
                self.files[RUNNING_CONF] = self.files[LAYOUT.conf]
        return 0

    def read_file(self, path: str) -> bytes:
        if path not in self.files:
            raise FileNotFoundError(path)
        return self.files[path]

    def write_file(self, path: str, data: bytes, mode: int = 0o600) -> None:
        self.files[path] = data

    def remove(self, path: str) -> None:
        self.files.pop(path, None)

    def did(self, *words: str) -> bool:
        return any(set(words) <= set(command) for command in self.commands)


def work(notes: list[str] | None = None, *, cancelled: bool = False, whole: bool = True) -> Work:
    note = (notes if notes is not None else []).append
    return Work(builders.server(), whole, [], Contents(), MemoryClaims(), note=note, cancelled=lambda: cancelled)


def prepared() -> FakeHost:
    return FakeHost(packages=set(PACKAGES))


def ensure(host: Host, notes: list[str] | None = None) -> None:
    PrepareStep(lambda _: host, seconds=0.2).ensure(work(notes))


# Prepare


def test_nothing_is_installed_where_all_is_there() -> None:
    host, notes = prepared(), list[str]()
    ensure(host, notes)
    assert not host.did("apt-get") and notes == []
    assert host.files[NSSWITCH] == b"passwd:         files extrausers\ngroup: files extrausers\nhosts: dns\n"
    before = dict(host.files)
    ensure(host)
    assert host.files == before


def test_what_a_debian_template_lacks_is_installed_and_nothing_of_it_starts() -> None:
    host, notes = FakeHost(), list[str]()
    ensure(host, notes)
    assert host.packages == set(PACKAGES) and host.policy_seen == [True]
    assert POLICY not in host.files
    assert host.masked == {"nmbd", "winbind", "samba-ad-dc"} and not host.enabled and not host.active
    assert len(notes) == 1 and "BuildTemplate" in notes[0]
    host.commands.clear()
    ensure(host)
    assert not host.did("apt-get")


def test_without_a_network_it_is_said_and_nothing_stays_behind() -> None:
    host = FakeHost(network=False)
    with pytest.raises(HostNotPrepared) as refused:
        ensure(host)
    assert refused.value.reason == "HOST_NOT_PREPARED" and "BuildTemplate" in refused.value.help
    assert refused.value.metadata["log"] == "E: Failed to fetch\nE: no route"
    assert POLICY not in host.files
    host.network = True
    ensure(host)
    assert host.packages == set(PACKAGES)


def test_an_installation_that_was_cut_off_is_taken_up_again() -> None:
    """Even where it had come as far as the packages: the rest of it is still to be done."""
    host = FakeHost()

    def cut(argv: Sequence[str]) -> None:
        if "mask" in argv:
            raise HostUnreachable("the connection was cut")

    def unreachable(path: str) -> None:
        raise HostUnreachable("the connection was cut")

    host.hook, host.remove = cut, unreachable  # type: ignore[method-assign]
    with pytest.raises(HostUnreachable):
        ensure(host)
    assert POLICY in host.files and host.masked == set()
    host.hook = lambda argv: None
    del host.remove
    ensure(host)
    assert POLICY not in host.files and host.masked and not host.enabled
    assert host.did("dpkg", "--configure", "-a")


def test_a_login_that_takes_its_time() -> None:
    host, tries = prepared(), list[int]()

    def late(_: Work) -> Host:
        tries.append(1)
        if len(tries) < 3:
            raise HostUnreachable("connection refused")
        return host

    PrepareStep(late, seconds=5).ensure(work())
    assert len(tries) == 3


def test_a_login_that_never_comes() -> None:
    def never(_: Work) -> Host:
        raise HostUnreachable("connection refused")

    with pytest.raises(HostUnreachable, match="connection refused"):
        PrepareStep(never, seconds=0.2).ensure(work())
    with pytest.raises(OperationCancelled):
        PrepareStep(never, seconds=5).ensure(work(cancelled=True))


# Process


def process(host: FakeHost) -> str:
    """The verb that smbd got."""
    host.commands.clear()
    ProcessStep(lambda _: host).ensure(work())
    assert host.active and host.enabled
    return next(command[1] for command in host.commands if command[1:] in (("start", "smbd"), ("restart", "smbd")))


def test_smbd_starts_with_the_container_and_is_left_alone() -> None:
    host = prepared()
    host.files[LAYOUT.conf] = CONF
    assert process(host) == "start"
    assert host.did("daemon-reload") and RUNNING_CONF.encode() in host.files[DROP_IN]
    assert process(host) == "start"
    assert not host.did("daemon-reload") and not host.did("enable")


@pytest.mark.parametrize(
    ("running", "verb"),
    [
        (CONF, "start"),
        (CONF.replace(b"445", b"1445"), "restart"),
        (CONF.replace(b"lo", b"eth0"), "restart"),
        (None, "restart"),
    ],
)
def test_it_is_restarted_only_where_a_reload_does_not_do(running: bytes | None, verb: str) -> None:
    host = prepared()
    host.files[LAYOUT.conf], host.active = CONF, True
    if running is not None:
        host.files[RUNNING_CONF] = running
    assert process(host) == verb


def test_one_that_does_not_run_is_started_whatever_it_ran_with() -> None:
    host = prepared()
    host.files |= {LAYOUT.conf: CONF, RUNNING_CONF: CONF.replace(b"445", b"1445")}
    assert process(host) == "start"


def test_a_new_configuration_may_be_asked_about() -> None:
    host = prepared()
    host.files |= {LAYOUT.conf: CONF, RUNNING_CONF: CONF}
    step = ProcessStep(lambda _: host)
    assert not step.would_restart(host)
    assert step.would_restart(host, CONF.replace(b"445", b"1445"))


def test_an_smbd_that_does_not_start_is_told() -> None:
    host = prepared()
    host.files[LAYOUT.conf] = CONF
    ran = host.run

    def run(argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 30.0) -> Completed:
        done = ran(argv, stdin=stdin, timeout=timeout)
        return Completed(1, b"", b"a\nb\nc\nJob for smbd failed\n") if "start" in argv else done

    host.run = run  # type: ignore[method-assign]
    with pytest.raises(SambaUnavailable) as refused:
        ProcessStep(lambda _: host).ensure(work())
    assert refused.value.metadata["log"] == "b\nc\nJob for smbd failed" and "journalctl" in refused.value.help


# Inside


def test_what_is_inside_is_not_undone_when_the_container_goes() -> None:
    seen: list[tuple[str, str, str]] = []
    step = Inside(FakeStep("apply", False, World(), lambda *what: seen.append(what), lambda name, resource: None))
    assert (step.name, step.server_only) == ("apply", False)
    step.remove(work())
    assert seen == []
    step.remove(work(whole=False))
    assert ("apply", "remove", "after") in seen
