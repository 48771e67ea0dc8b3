"""The service is killed at every command of a volume's making, growing and removal; afterwards there is the wanted state,
or nothing."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from services.core.domain.operation import Verb
from services.core.domain.resource import Resource
from services.core.domain.share import ShareSpec, VolumeStorage
from services.core.ports import Completed
from services.core.steps import Claim
from services.native.host import LocalHost
from services.native.settings import NativeSettings
from services.native.volume_step import VolumeStep
from services.native.volumes import Volumes
from tests.fakes import MemoryClaims
from tests.unit.native import builders
from tests.unit.native.builders import MIB

pytestmark = pytest.mark.root


class DurableClaims(MemoryClaims):
    """Claims in a file, which survive a kill."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path
        if os.path.exists(path):
            with open(path, "rb") as file:
                self.rows = pickle.load(file)

    def put(self, claim: Claim) -> Claim:
        result = super().put(claim)
        self._save()
        return result

    def release(self, kind: str, value: str, owner: str) -> None:
        super().release(kind, value, owner)
        self._save()

    def _save(self) -> None:
        with open(self._path, "wb") as file:
            pickle.dump(self.rows, file)


class DeadlyHost(LocalHost):
    """Kills its own process at the given one of the moments before and after each command and file."""

    def __init__(self, moment: int) -> None:
        super().__init__()
        self._left = moment

    def _pass(self) -> None:
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self._left -= 1

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 30.0) -> Completed:
        self._pass()
        result = super().run(argv, stdin=stdin, timeout=timeout)
        self._pass()
        return result

    def write_file(self, path: str, data: bytes, mode: int = 0o600) -> None:
        self._pass()
        super().write_file(path, data, mode)
        self._pass()


class Bench:
    def __init__(self, settings: NativeSettings, place: str) -> None:
        self.settings = settings
        self.place = place
        self.server = builders.server()
        os.makedirs(settings.data_root, exist_ok=True)
        self.share = builders.volume(self.server, f"{settings.server_root(self.server.name)}/v")
        self.path = str(self.share.assigned["path"])

    def act(self, host: LocalHost, share: Resource[ShareSpec], verb: Verb, **options: bool) -> None:
        claims = DurableClaims(f"{self.place}/claims")
        step = VolumeStep(self.settings, Volumes(host, self.settings.image_dir))
        work = builders.work(self.server, claims, shares=[share], verb=verb, options=options)
        (step.remove if verb is Verb.DELETE else step.ensure)(work)
        if work.changes[0].error is not None:
            raise work.changes[0].error

    def killed(self, moment: int, share: Resource[ShareSpec], verb: Verb, **options: bool) -> bool:
        """Does it in a process that is killed at this moment; false if it ended before."""
        child = os.fork()
        if child == 0:
            status = 1
            try:
                self.act(DeadlyHost(moment), share, verb, **options)
                status = 0
            finally:
                os._exit(status)
        _, ended = os.waitpid(child, 0)
        assert ended in (0, signal.SIGKILL), "it failed by itself"
        return ended == signal.SIGKILL

    def assert_nothing_left(self) -> None:
        assert os.listdir(self.settings.data_root) == []
        assert not os.path.isdir(self.settings.image_dir) or os.listdir(self.settings.image_dir) == []
        assert DurableClaims(f"{self.place}/claims").rows == {}
        told = LocalHost().run(["losetup", "-n", "-O", "BACK-FILE"]).stdout.decode()
        assert self.share.uid not in told


@pytest.fixture
def bench(settings: NativeSettings, place: str) -> Callable[[], Bench]:
    return lambda: Bench(settings, place)


def moments(kill: Callable[[int], bool]) -> int:
    """Runs it with every moment until it is not killed any more; how many there were."""
    moment = 0
    while kill(moment):
        moment += 1
    return moment


def test_making(bench: Callable[[], Bench]) -> None:
    host = LocalHost()

    def kill(moment: int) -> bool:
        undone, made = bench(), bench()
        undone.killed(moment, undone.share, Verb.CREATE)
        undone.act(host, undone.share, Verb.DELETE, rollback=True)
        undone.assert_nothing_left()
        killed = made.killed(moment, made.share, Verb.CREATE)
        made.act(host, made.share, Verb.CREATE)
        assert os.listdir(made.settings.image_dir) == [f"{made.share.uid}.img"] and os.path.ismount(made.path)
        made.act(host, made.share, Verb.DELETE, delete_data=True)
        made.assert_nothing_left()
        return killed

    assert moments(kill) >= 6


def test_growing_and_removing(bench: Callable[[], Bench]) -> None:
    host = LocalHost()

    def kill(moment: int) -> bool:
        one = bench()
        larger = replace(one.share, spec=ShareSpec(storage=VolumeStorage(700 * MIB)))
        one.act(host, one.share, Verb.CREATE)
        killed = one.killed(moment, larger, Verb.UPDATE)
        one.act(host, larger, Verb.UPDATE)
        assert Volumes(host, one.settings.image_dir).file_system_size(one.path) == 700 * MIB
        killed |= one.killed(moment, larger, Verb.DELETE, delete_data=True)
        one.act(host, larger, Verb.DELETE, delete_data=True)
        one.assert_nothing_left()
        return killed

    assert moments(kill) >= 6


def test_undoing(bench: Callable[[], Bench]) -> None:
    host = LocalHost()

    def kill(moment: int) -> bool:
        one = bench()
        one.act(host, one.share, Verb.CREATE)
        killed = one.killed(moment, one.share, Verb.DELETE, rollback=True)
        one.act(host, one.share, Verb.DELETE, rollback=True)
        one.assert_nothing_left()
        return killed

    assert moments(kill) >= 4
