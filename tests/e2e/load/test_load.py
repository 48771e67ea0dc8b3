"""Many clients at once: every answer agrees with a model, and the processes hold afterwards what they held before."""

from __future__ import annotations

import base64
import itertools
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import Any

import grpc
import pvesmb
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.samba.shares import PROBE_SHARE
from tests.e2e import smb
from tests.e2e.deployment import Deployment
from tests.e2e.load import common, vitals
from tests.e2e.load.common import Event
from tests.e2e.load.crew import Orders, Report, name_of
from tests.e2e.process import CLONE
from tests.e2e.waiting import until
from tests.e2e.words import Server, password
from tests.figures import Figures

#: Clients, processes for them, file servers, seconds.
SHORT, FULL = (16, 2, 2, 8.0), (64, 8, 4, 120.0)
#: gRPC's own threads are some more or some less by themselves; one for each client or call would be far more.
SPARE_THREADS = 4


def sail(orders: Orders) -> list[Report]:
    """One process with its clients, to the end of its time."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.e2e.load.crew", orders.target],
        cwd=CLONE, input=json.dumps(asdict(orders)), capture_output=True, text=True, timeout=orders.seconds + 300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return [Report.from_json(report) for report in json.loads(done.stdout)]


def begin_all_threads(deployment: Deployment) -> None:
    """Has the pool of the backend's threads, which only grows, as large as it will be: each watcher of health holds one."""
    with grpc.insecure_channel(f"unix:{deployment.service.socket}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watches = [stub.Watch(health_pb2.HealthCheckRequest()) for _ in range(24)]
        for watch in watches:
            next(watch)
        for watch in watches:
            watch.cancel()


def check_all(deployment: Deployment, servers: Sequence[Server], reports: Sequence[Report]) -> int:
    """The whole as Samba and the gateway have it, against what all models say: how many resources there are."""
    wanted: dict[str, Any] = {}
    secrets: dict[str, str] = {}
    kinds = {"share": pvesmb.Share, "user": pvesmb.User, "group": pvesmb.Group}
    for report in reports:
        for kind, packed, secret in report.left:
            message = kinds[kind].FromString(base64.b64decode(packed))  # type: ignore[attr-defined]
            wanted[message.name] = message
            secrets[message.name] = password(name_of(report.number), secret)
    client = deployment.client
    for server in servers:
        shares = {share.name: share for share in client.shares.list(server.name)}
        fought_for = {name: share for name, share in shares.items() if name.rpartition("/")[2] in common.NAMES}
        events = [event for report in reports for event in report.events if event.name.startswith(server.name + "/")]
        assert list(common.faults(events, fought_for)) == []
        mine = {name: message for name, message in wanted.items() if name.startswith(server.name + "/")}
        there = {**shares, **{r.name: r for r in client.users.list(server.name)}}
        there |= {group.name: group for group in client.groups.list(server.name)}
        assert there.keys() == mine.keys() | fought_for.keys()
        assert comments(deployment, server) == {name.rpartition("/")[2]: share.comment for name, share in shares.items()}
        users = {name.rpartition("/")[2] for name in mine if "/users/" in name}
        assert deployment.accounts_of(server.uid) == users
        check_access(server, mine, secrets)
    return len(wanted)


def comments(deployment: Deployment, server: Server) -> Mapping[str, str]:
    """Comments of the shares that Samba has, but for its own."""
    found: dict[str, str] = {}
    section = ""
    for line in deployment.tool(server, "net", "-s", deployment.conf(server), "conf", "list").stdout.splitlines():
        if line.startswith("["):
            section = line.strip("[]")
            found[section] = ""
        elif (parts := line.strip("\t").partition(" = "))[0] == "comment":
            found[section] = parts[2].strip('"')
    return {name: comment for name, comment in found.items() if name != PROBE_SHARE}


def check_access(server: Server, there: Mapping[str, Any], secrets: Mapping[str, str]) -> None:
    """Of some shares: who may come in by the model can, with his last password, and who may not cannot."""
    shares = [message for name, message in there.items() if "/shares/" in name and message.access]
    for share in shares[:4]:
        for name in [name for name in there if "/users/" in name][:2]:
            id, groups = name.rpartition("/")[2], [m for n, m in there.items() if "/groups/" in n]
            mine = {group.name.rpartition("/")[2] for group in groups if id in group.members}
            may = any(rule.user == id or (rule.group and rule.group in mine) for rule in share.access)
            told = smb.smbclient(server.endpoint, share.name.rpartition("/")[2], id, secrets[name], "ls")
            assert told.ok == (may and not there[name].disabled), (share, there[name], told)


@pytest.mark.timeout(900)
def test_many_clients(deploy: Callable[..., Deployment], full: bool, seed: int, figures: Figures) -> None:
    clients, processes, shared, seconds = FULL if full else SHORT
    deployment = deploy()
    servers = [deployment.new_server() for _ in range(shared)]
    pids = {"gateway": deployment.gateway.pid, "service": deployment.service.pid}
    target, names = f"unix:{deployment.gateway.socket}", [server.name for server in servers]
    begin_all_threads(deployment)
    before = {name: vitals.look(pid) for name, pid in pids.items()}
    limits = dict(before)
    living = len(deployment.processes())
    crews = [Orders(target, names, list(range(first, clients, processes)), seed, seconds) for first in range(processes)]
    with vitals.recording(pids) as record, ThreadPoolExecutor(processes) as pool:
        reports = sorted(itertools.chain.from_iterable(pool.map(sail, crews)), key=lambda report: report.number)
    calls, errors = Counter[str](), Counter[str]()
    for report in reports:
        calls.update(report.calls)
        errors.update(report.errors)
    print(f"seed {seed}; {calls.total()} calls: {dict(calls)}; refused: {dict(errors)}")
    for name, pid in pids.items():
        print(name, "before:", before[name], "after:", vitals.look(pid))
    assert [line for report in reports for line in report.wrong] == []
    left = check_all(deployment, servers, reports)
    for name in pids if full else ():
        flat(record, name, figures)
        limits[name] = replace(limits[name], threads=int(record.in_last(60.0, name)["threads"][0]))
    limits["service"] = replace(limits["service"], files=limits["service"].files + deployment.pooled_files)
    until(lambda: all(returned(limits[name], vitals.look(pid)) for name, pid in pids.items()), f"what was before: {limits}")
    until(lambda: len(deployment.processes()) <= living, "no process more than before")
    assert (deployment.gateway.running, deployment.service.running) == (True, True)
    figures.put("load", "clients (file servers, seconds)", f"{clients} ({shared}, {seconds:g})")
    figures.put("load", "calls", calls.total())
    figures.put("load", "of them refused as the model says", errors.total())
    for error, times in errors.most_common():
        figures.put("load", f"refused with {error.split()[1]} ({error.split()[0]})", times)
    figures.put("load", "resources at the end, compared with Samba's registry and accounts", left)
    figures.put("load", "answers that disagree with the model, INTERNAL and UNKNOWN among them", 0)
    for name, pid in pids.items():
        figures.put("load", f"{name} before, and after the clients have left", f"{before[name]}; {vitals.look(pid)}")


def flat(record: vitals.Record, name: str, figures: Figures) -> None:
    """In the second minute a process holds at its end what it held at its beginning."""
    for what, (early, late) in record.in_last(60.0, name).items():
        memory = what == "resident"
        shown = [f"{n / vitals.MIB:.1f} MiB" if memory else f"{n:g}" for n in (early, late)]
        print(name, what, shown)
        spare = 0.05 * early + 2 * vitals.MIB if memory else SPARE_THREADS
        assert late <= early + spare, f"{what} of {name} grow: from {shown[0]} to {shown[1]}"
        figures.put("load", f"{name}, second minute: {what}, first and last quarter", " → ".join(shown))


def returned(before: vitals.Vitals, now: vitals.Vitals) -> bool:
    """Whether a process holds no more than before, and of the store at most a connection (a file and its journal) for each
    thread. SQLite keeps files open that it might need again."""
    threads = now.threads <= before.threads + SPARE_THREADS
    return now.files <= before.files and threads and now.store_files <= 2 * now.threads + 2


def test_the_history_of_a_fight_can_be_wrong() -> None:
    """Else the check of the test above would say nothing."""
    a, b = "backends/b/fileServers/f/shares/common-0", pvesmb.Share
    made, changed = Event("created", a, "u1", 1, "x"), Event("updated", a, "u1", 2, "y")
    there = {a: b(name=a, uid="u1", generation=2, comment="y")}
    assert list(common.faults([made, changed], there)) == []
    assert list(common.faults([made, changed, Event("deleted", a, "u1", 2, "y")], {})) == []
    wrong: Sequence[tuple[list[Event], Mapping[str, pvesmb.Share]]] = (
        ([made, changed], {}),
        ([made, changed, Event("created", a, "u2", 1, "z")], there),
        ([made, changed, Event("updated", a, "u1", 2, "z")], there),
        ([made, changed, Event("read", a, "u1", 2, "z")], there),
        ([made, changed, Event("updated", a, "u1", 3, "z")], there),
        ([made, changed, *2 * [Event("deleted", a, "u1", 2, "y")]], {}),
        ([changed], there),
    )
    for events, final in wrong:
        assert list(common.faults(events, final)), events
