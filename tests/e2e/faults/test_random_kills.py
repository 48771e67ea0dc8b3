"""`kill -9` of the backend at random moments, while clients make and remove file servers and shares.

Each client repeats its request until it is answered, with the same request_id, and keeps in mind what must be there. In the
end exactly that is there, is served, and nothing else.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import pvesmb
import pytest
from pvesmb._channel import Pace

from tests.e2e.deployment import Deployment
from tests.e2e.faults.orphans import orphans
from tests.e2e.waiting import until
from tests.e2e.words import MIB, Server, user_rule, users
from tests.figures import Figures

CLIENTS = 8
#: Kills and changes where there is no time for all.
SHORT = {"native": (6, 24), "lxc": (3, 14)}
#: A kill comes at most so long after the change that it waits for: long enough for each step of a create.
LATE_SECONDS = 0.8


@pytest.fixture
def deployment(new: Callable[..., Deployment]) -> Iterator[Deployment]:
    with closing(new()) as deployment:
        deployment.running()
        yield deployment


@pytest.fixture
def impatient(deployment: Deployment) -> Iterator[pvesmb.Client]:
    """Tries again soon: the backend is away for a moment only, but often."""
    pace = Pace(sleep=lambda seconds: time.sleep(min(seconds, 0.3)))
    with pvesmb.Client(f"unix:{deployment.gateway.socket}", pace=pace) as client:
        yield client


@dataclass
class Progress:
    """How many changes are done; whoever waits for a number is woken."""

    done: int = 0
    condition: threading.Condition = field(default_factory=threading.Condition)

    def one_more(self) -> None:
        with self.condition:
            self.done += 1
            self.condition.notify_all()

    def reached(self, number: int, seconds: float) -> bool:
        with self.condition:
            return self.condition.wait_for(lambda: self.done >= number, seconds)


@dataclass
class Changer:
    """One client with file servers of its own."""

    deployment: Deployment
    client: pvesmb.Client
    chance: random.Random
    progress: Progress
    #: What must be there: file servers, and the names of their shares.
    wanted: dict[str, set[str]] = field(default_factory=dict)
    servers: dict[str, Server] = field(default_factory=dict)
    removed: list[tuple[str, pvesmb.FileServer]] = field(default_factory=list)

    def change(self) -> None:
        """One create or delete, done and confirmed."""
        actions: list[Callable[[], None]] = [self.create_server]
        if self.wanted:
            actions = [self.create_share] * 6 + [self.delete_share] * 3 + [self.delete_server]
            if len(self.wanted) < 3:
                actions += [self.create_server] * 2
        self.chance.choice(actions)()
        self.progress.one_more()

    def create_server(self) -> None:
        id, spec = self.deployment.new_id(), self.deployment.spec()
        shares = {"first": pvesmb.Share(access=[user_rule("ann")])}
        backend, request = self.deployment.backend, str(uuid.uuid4())
        made = self._persist(
            lambda: self.client.file_servers.create(
                backend, id, spec, shares=shares, users=users("ann"), request_id=request
            )
        )
        self.servers[id] = Server(made)
        self.wanted[id] = {"first"}

    def create_share(self) -> None:
        id = self.chance.choice(sorted(self.wanted))
        name, server = f"s{self.chance.randrange(10**9)}", self.servers[id]
        volume = {"volume": pvesmb.VolumeStorage(size_bytes=512 * MIB)} if self.chance.random() < 0.15 else {}
        share = pvesmb.Share(access=[user_rule("ann")], **volume)  # type: ignore[arg-type]  # one of the fields
        shares, request = self.client.shares, str(uuid.uuid4())
        self._persist(lambda: shares.create(server.name, name, share, request_id=request))
        self.wanted[id].add(name)

    def delete_share(self) -> None:
        full = [id for id, names in sorted(self.wanted.items()) if names]
        if not full:
            return self.create_share()
        id = self.chance.choice(full)
        name = self.chance.choice(sorted(self.wanted[id]))
        shares, request, share = self.client.shares, str(uuid.uuid4()), self.servers[id].share(name)
        self._persist(lambda: shares.delete(share, delete_data=True, request_id=request))
        self.wanted[id].remove(name)

    def delete_server(self) -> None:
        id = self.chance.choice(sorted(self.wanted))
        server, request, delete = self.servers.pop(id), str(uuid.uuid4()), self.client.file_servers.delete
        self._persist(lambda: delete(server.name, force=True, delete_data=True, request_id=request))
        del self.wanted[id]
        self.removed.append((id, server.resource))

    def _persist(self, ask: Callable[[], pvesmb.OperationHandle[Any]]) -> Any:
        """Asks, and waits for the end, however often the backend goes away meanwhile."""

        def answered() -> list[Any] | None:
            try:
                return [ask().result(timeout=120)]
            except pvesmb.Unavailable:
                return None

        [result] = until(answered, "an answer", 300)
        return result


def kill_at_random(deployment: Deployment, chance: random.Random, progress: Progress, after: Sequence[int]) -> int:
    """Kills and starts the backend after each of these numbers of changes; how many of the kills met changes under way."""
    met = 0
    for number in after:
        assert progress.reached(number, 300), f"only {progress.done} changes were done"
        time.sleep(chance.uniform(0, LATE_SECONDS))  # the random moment itself
        deployment.kill()
        running = deployment.rows("SELECT count(*) FROM operations WHERE state = 'RUNNING'")[0][0]
        met += running > 0
        deployment.service.start()
        if chance.random() < 0.8:  # else the next one may come while it starts
            deployment.service.ready()
    deployment.service.ready()
    return met


@pytest.mark.timeout(900)
def test_random_kills(deployment: Deployment, impatient: pvesmb.Client, full: bool, figures: Figures) -> None:
    kills, changes = (50, 200) if full else SHORT[deployment.mode]
    seed = random.SystemRandom().randrange(10**9)
    print(f"seed {seed}")
    chance, progress = random.Random(seed), Progress()
    after = sorted(chance.sample(range(changes - CLIENTS), kills))
    clients = [Changer(deployment, impatient, random.Random(chance.random()), progress) for _ in range(CLIENTS)]
    left = iter(range(changes))
    lock = threading.Lock()

    def work(client: Changer) -> None:
        while True:
            with lock:
                if next(left, None) is None:
                    return
            client.change()

    with ThreadPoolExecutor(CLIENTS) as pool:
        working = [pool.submit(work, client) for client in clients]
        met = kill_at_random(deployment, chance, progress, after)
        for one in working:
            one.result()
    assert progress.done == changes
    wanted: Mapping[str, set[str]] = {id: names for client in clients for id, names in client.wanted.items()}
    servers = {id: server for client in clients for id, server in client.servers.items()}
    until(lambda: not deployment.rows("SELECT id FROM operations WHERE state != 'DONE'"), "the end of every operation", 120)
    for id, names in wanted.items():
        listed = list(deployment.client.shares.list(servers[id].name))
        assert {share.name.rpartition("/")[2] for share in listed} == names
        assert all(share.state == pvesmb.ResourceState.RESOURCE_STATE_READY for share in listed)
        for name in names:
            assert servers[id].smb("ann", name, "mkdir a; ls").ok, (id, name)
    assert {r.name.rpartition("/")[2] for r in deployment.client.file_servers.list(deployment.backend)} == wanted.keys()
    left_over = orphans(deployment, {servers[id].uid: names for id, names in wanted.items()})
    assert not left_over, left_over
    for id in sorted(wanted):
        deployment.client.file_servers.delete(servers[id].name, force=True, delete_data=True).result(timeout=60)
    for client in clients:
        for id, resource in [*client.removed, *((id, s.resource) for id, s in client.servers.items())]:
            assert deployment.traces(id, resource) == []
    figures.put("faults", "`kill -9` of the service at random, during creates and deletes", f"{kills} during {changes}")
    figures.put("faults", "of them while an operation ran", met)
    figures.put(
        "faults",
        "file servers, shares that had to be there in the end, and were served",
        f"{len(wanted)}, {sum(map(len, wanted.values()))}",
    )
    figures.put(
        "faults",
        "orphans after them: processes, directories, mounts, images, claims, registry entries, accounts, secrets",
        len(left_over),
    )
