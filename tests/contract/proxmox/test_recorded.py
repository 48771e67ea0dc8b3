"""Whether what stands in for a node refuses as a real one was recorded to. Where it does not, the recorded answer counts:
our code is held to that one in `tests/unit/proxmox`, and the difference is named here."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from services.core.errors import PvesmbError
from services.proxmox.containers import read_config, start
from services.proxmox.failures import kind_of
from services.proxmox.tasks import wait
from tests.contract.proxmox.place import Place
from tests.unit.proxmox.recorded import record
from tests.unit.proxmox.test_failures import mapped

LXC = ("nodes", "pve1", "lxc")
Act = Callable[[Place, int], object]


def ask(method: str, *path: str | int, **params: str | int) -> Act:
    """`vmid`, `new-root` and `template` stand for those of the place and its container."""

    def act(place: Place, vmid: int) -> object:
        named = [vmid if part == "vmid" else part for part in path]
        standing: dict[str, str | int] = {"vmid": vmid, "new-root": f"{place.storage}:1", "template": place.template}
        sent = {key.replace("_", "-"): standing.get(str(value), value) for key, value in params.items()}
        return place.api.call(method, named, sent, subject="it")

    return act


def running(then: Act) -> Act:
    def act(place: Place, vmid: int) -> object:
        wait(place.api, start(place.api, place.guest(vmid)), timeout=60)
        return then(place, vmid)

    return act


def locked(then: Act) -> Act:
    def act(place: Place, vmid: int) -> object:
        place.api.call("PUT", (*LXC, vmid, "config"), {"lock": "backup"})
        return then(place, vmid)

    return act


NEW: dict[str, str | int] = {"ostemplate": "template", "unprivileged": 1}
SITUATIONS: dict[str, Act] = {
    "errors-002": ask("GET", *LXC, 500, "config"),
    "errors-008": ask("GET", *LXC, 500, "status", "current"),
    "errors-013": ask("DELETE", *LXC, 500, purge=1, force=1),
    "errors-004": running(ask("DELETE", *LXC, "vmid")),
    "errors-014": ask("PUT", *LXC, "vmid", "config", memory=100, digest="0" * 40),
    "errors-025": ask("GET", "cluster", "nextid", vmid="vmid"),
    "errors-027": ask("POST", *LXC, vmid="vmid", rootfs="new-root", **NEW),
    "errors-029": ask("GET", "nodes", "pve1", "storage", "nope", "status"),
    "errors-041": ask("POST", *LXC, vmid=130, rootfs="new-root", tags="ü", **NEW),
    "errors-042": ask("POST", *LXC, vmid=130, rootfs="new-root", hostname="a_b", **NEW),
    "errors-057": ask("POST", "nodes", "pve1", "aplinfo", storage="local", template="none_1_amd64.tar.zst"),
    "errors-062": ask("GET", "nodes", "pve1", "tasks", "UPID:x", "status"),
    "errors-064": ask("PUT", *LXC, "vmid", "config", unprivileged=0),
    "errors-088": ask("POST", *LXC, vmid=300),
    "errors-090": ask("POST", *LXC, vmid=301, rootfs="zz:1", **NEW),
    "errors-093": running(ask("POST", *LXC, "vmid", "status", "start")),
    "errors-094": ask("PUT", *LXC, "vmid", "resize", disk="rootfs", size="10M"),
    "errors-096": locked(ask("PUT", *LXC, "vmid", "config", memory=128)),
    "errors-101": locked(ask("DELETE", *LXC, "vmid", purge=1, destroy_unreferenced_disks=1)),
    "errors-103": ask("POST", *LXC, "vmid", "exec", command="ls"),
    "errors-114": ask("GET", "nodes", "pveX", "lxc"),
}
#: Record to what the stand-in does instead.
DIFFERS: dict[str, dict[str, str]] = {
    "fake_node": {
        "errors-057": "takes any template's name",
        "errors-062": "500 instead of 400",
        "errors-103": "404 instead of 501",
    },
    "btrfs_node": {"errors-057": "501: it has no catalogue, and we do not ask for one"},
}


@pytest.fixture
def rooted(place: Place) -> Place:
    """As root@pam, as whom these refusals were recorded."""
    place.api = place.root
    return place


@pytest.mark.parametrize("place", DIFFERS, indirect=True)
@pytest.mark.parametrize("id", SITUATIONS)
def test_it_refuses_as_a_real_node_does(id: str, rooted: Place, request: pytest.FixtureRequest) -> None:
    guest = rooted.made(pool="")
    assert read_config(rooted.api, guest).digest
    differs = DIFFERS[request.node.callspec.params["place"]].get(id)
    expected = mapped(record(id))
    refused: PvesmbError | None = None
    try:
        SITUATIONS[id](rooted, guest.vmid)
    except PvesmbError as error:
        refused = error
    same = refused is not None and (kind_of(refused), words(refused)) == (kind_of(expected), words(expected))
    assert same == (differs is None), (refused, differs)


def words(error: PvesmbError) -> str:
    """The text without what differs from node to node: names and numbers, and what the resolver says."""
    text = error.message.partition(": ")[2].partition(" - failed to get")[0]
    return re.sub(r"nodes/\S+|/\S+|\d+", "#", text)


#: What we read of an answer; a recorded node has it, and so must what stands in for one.
READ = [
    ("lxc-052", ask("GET", *LXC, "vmid", "config"), {"digest", "description", "hostname", "tags", "rootfs", "net0"}),
    ("lxc-053", ask("GET", *LXC, "vmid", "status", "current"), {"status", "ha"}),
    ("lxc-049", ask("GET", *LXC, "vmid", "pending"), {"key", "value"}),
    ("lxc-057", running(ask("GET", *LXC, "vmid", "interfaces")), {"name", "hwaddr", "ip-addresses"}),
    ("storage-014", ask("GET", "nodes", "pve1", "storage"), {"storage", "type", "content", "active", "avail", "total"}),
    (
        "storage-020",
        ask("GET", "nodes", "pve1", "storage", "local", "content", content="vztmpl"),
        {"volid", "size", "content"},
    ),
    ("cluster-022", ask("GET", "version"), {"version"}),
    ("cluster-023", ask("GET", "nodes"), {"node", "status"}),
]


@pytest.mark.parametrize("place", DIFFERS, indirect=True)
@pytest.mark.parametrize(("id", "act", "keys"), READ, ids=[id for id, _, _ in READ])
def test_it_tells_what_we_read(id: str, act: Act, keys: set[str], rooted: Place) -> None:
    assert keys <= set(record(id)["response_keys"])
    answer = act(rooted, rooted.made(pool="").vmid)
    entries = answer if isinstance(answer, list) else [answer]
    assert entries
    assert keys <= set().union(*entries)
