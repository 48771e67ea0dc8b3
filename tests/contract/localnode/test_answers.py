"""What a real node refused, refused in the same words: recorded requests, replayed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.contract.localnode.conftest import TEMPLATE, Client, Lab

RECORDED = Path(__file__).parents[2] / "data" / "pve"
OSTEMPLATE = f"local:vztmpl/{TEMPLATE}"
ROLE_OF_ALL = (
    "Pool.Audit Datastore.AllocateSpace VM.Config.HWType VM.PowerMgmt VM.Clone VM.Config.Cloudinit VM.Config.Network "
    "VM.Config.CPU VM.Backup VM.Config.Disk SDN.Use Pool.Allocate VM.Config.Memory Datastore.Audit VM.Audit VM.Allocate "
    "VM.Config.Options VM.Snapshot Datastore.AllocateTemplate VM.Config.CDROM Sys.Audit"
)

#: Refusals that need no guest, by the login that was refused.
BY_ROOT = (5, 15, 29, 62, 63, 71, 75, 86, 87, 88, 89, 90, 103, 113, 114, 115, 116)
BY_ROLE_ON_ROOT = (
    33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 117, 118, 119, 120, 121, 122,
)  # fmt: skip
WITHOUT_RIGHTS = (30, 31)


def record(name: str, number: int) -> dict[str, Any]:
    found = {entry["id"]: entry for entry in json.loads((RECORDED / f"{name}.json").read_text())}
    return dict(found[f"{name}-{number:03d}"])


def replay(client: Client, entry: dict[str, Any]) -> None:
    request, expected = entry["request"], entry["response"]
    got = _ask(client, request)
    assert (got.status, got.reason, got.body) == (expected["status"], expected["reason"], expected["body"])


def _ask(client: Client, request: dict[str, Any]) -> Any:
    params = dict(request["params"])
    if str(params.get("filename", "")).startswith("<file "):
        name = params.pop("filename").removeprefix("<file ").rstrip(">")
        return client.upload(request["path"], name, b"x", **params)
    return client.ask(request["method"], request["path"], **params)


@pytest.mark.parametrize("number", BY_ROOT)
def test_root_is_refused_as_by_a_node(lab: Lab, number: int) -> None:
    root = lab.root()
    root.ask("POST", "/pools", poolid="smbpool")
    root.ask("POST", "/access/users", userid="lp@pve")
    replay(root, record("errors", number))


@pytest.mark.parametrize("number", BY_ROLE_ON_ROOT)
def test_a_token_with_a_role_is_refused_as_by_a_node(lab: Lab, number: int) -> None:
    client = both(lab)
    replay(client, record("errors", number))


@pytest.mark.parametrize("number", WITHOUT_RIGHTS)
def test_a_token_without_rights_is_refused_as_by_a_node(lab: Lab, number: int) -> None:
    replay(lab.token("smb@pve", "gw", privsep=1), record("errors", number))


def test_credentials_are_refused_as_by_a_node(lab: Lab) -> None:
    for number, client in (
        (43, lab.client(Authorization="PVEAPIToken=smb@pve!gw=no")),
        (44, lab.client(Authorization="PVEAPIToken=smb@pve!zz=no")),
        (78, lab.client(Cookie="PVEAuthCookie=nonsense")),
        (79, lab.client()),
    ):
        expected = record("errors", number)["response"]
        got = client.ask("GET", "/nodes")
        assert (got.status, got.reason, got.body) == (401, expected["reason"], None)
    root = lab.root()
    got = lab.client(Cookie=root.headers["Cookie"]).ask("POST", "/pools", poolid="zz")
    assert (got.status, got.reason) == (401, record("errors", 77)["response"]["reason"])


def test_rights_of_a_token_are_those_of_both(lab: Lab) -> None:
    client = lab.token("smb@pve", "gw", privsep=1)
    root = lab.root()
    assert client.ask("GET", "/access/permissions").body == record("access", 3)["response"]["body"]
    root.ask("POST", "/access/roles", roleid="Role", privs=ROLE_OF_ALL.replace(" ", ","))
    root.must("PUT", "/access/acl", path="/", roles="Role", tokens="smb@pve!gw")
    assert client.ask("GET", "/access/permissions").body == record("access", 4)["response"]["body"]
    replay_status = client.ask("POST", "/nodes/pve1/lxc", vmid=120, ostemplate=OSTEMPLATE, rootfs="local:1")
    assert (replay_status.status, replay_status.reason) == (403, "Permission check failed")
    root.must("PUT", "/access/acl", path="/", roles="Role", users="smb@pve")
    assert client.ask("GET", "/access/permissions", path="/").body == record("access", 5)["response"]["body"]
    assert sorted(client.ask("GET", "/access/permissions").data) == record("access", 7)["response_keys"]


def test_a_token_of_least_privilege(lab: Lab) -> None:
    client = least(lab)
    assert client.ask("GET", "/nodes/pve1/lxc").data == []
    given = {"vmid": 520, "ostemplate": OSTEMPLATE, "rootfs": "local:1"}
    for number, more in ((18, {}), (19, {"pool": "nopool"})):
        got = client.ask("POST", "/nodes/pve1/lxc", **given, **more)
        assert (got.status, got.reason) == (403, record("errors", number)["response"]["reason"])
    net = "name=eth0,bridge=vmbr0,ip=dhcp"
    upid = client.ask("POST", "/nodes/pve1/lxc", pool="smbpool", net0=net, **given).data
    assert lab.wait(upid) == "OK"
    assert upid.split(":")[5:] == ["vzcreate", "520", "lp@pve!tok", ""]
    assert client.ask("GET", "/access/permissions").body == record("access", 1)["response"]["body"]
    assert client.ask("GET", "/access/permissions", path="/vms/520").body == record("access", 2)["response"]["body"]
    expected = dict(record("lxc", 13)["response"]["body"]["data"])
    config = client.ask("GET", "/nodes/pve1/lxc/520/config").data
    assert sorted(config) == sorted(expected)
    for changing in ("digest", "net0"):
        config.pop(changing), expected.pop(changing)
    assert config == expected
    lab.wait(create(lab.root(), 501))
    replay(client, record("errors", 20))
    replay(client, record("errors", 21))
    assert [entry["vmid"] for entry in client.ask("GET", "/nodes/pve1/lxc").data] == [520]
    assert client.ask("GET", f"/nodes/pve1/tasks/{upid}/status").data["tokenid"] == "tok"


def test_shapes_are_those_of_a_node(lab: Lab) -> None:
    root = lab.root()
    for name, number in (
        ("cluster", 22),
        ("cluster", 23),
        ("cluster", 24),
        ("cluster", 25),
        ("storage", 14),
        ("storage", 15),
    ):
        entry = record(name, number)
        data = root.ask("GET", entry["request"]["path"]).data
        shown = data[0] if entry.get("response_is_list") else data
        assert sorted(shown) == entry["response_keys"], entry["id"]
    bare = lab.token("smb@pve", "gw", privsep=1)
    for number in (15, 16):
        entry = record("cluster", number)
        got = bare.ask("GET", entry["request"]["path"]).data
        assert [sorted(shown) for shown in got] == [sorted(shown) for shown in entry["response"]["body"]["data"]]
    assert bare.ask("GET", "/nodes/pve1/storage").data == []
    assert bare.ask("GET", "/cluster/nextid").data == "100"


def test_an_upload_is_stored_and_listed(lab: Lab) -> None:
    root = lab.root()
    path = "/nodes/pve1/storage/local/upload"
    upid = root.upload(path, "seed.iso", b"\0seed\r\n--x" * 1000, content="iso").data
    assert upid.split(":")[5:7] == ["imgcopy", ""]
    assert lab.wait(upid) == "OK"
    (entry,) = root.ask("GET", "/nodes/pve1/storage/local/content", content="iso").data
    assert (entry["volid"], entry["size"], entry["format"]) == ("local:iso/seed.iso", 10000, "iso")
    assert (lab.directory / "local/template/iso/seed.iso").read_bytes() == b"\0seed\r\n--x" * 1000
    log = root.ask("GET", f"/nodes/pve1/tasks/{upid}/log").data
    assert [line["t"] for line in log][-2:] == record("tasks", 3)["task_log"][-2:]
    for volid in ("local:iso/seed.iso", "local:iso/none.iso"):
        gone = root.ask("DELETE", f"/nodes/pve1/storage/local/content/{volid}").data
        assert gone.split(":")[5:7] == ["imgdel", "local"]
        assert lab.wait(gone) == "OK"
    assert root.ask("GET", "/nodes/pve1/storage/local/content", content="iso").data == []


def create(client: Client, vmid: int, **more: Any) -> str:
    given = {"vmid": vmid, "ostemplate": OSTEMPLATE, "rootfs": "local:1", **more}
    return str(client.ask("POST", "/nodes/pve1/lxc", **given).data)


def both(lab: Lab) -> Client:
    """`smb@pve!gw` as recorded: privsep, and the role on / for both the user and the token."""
    client, root = lab.token("smb@pve", "gw", privsep=1), lab.root()
    root.must("POST", "/access/roles", roleid="Role", privs=ROLE_OF_ALL.replace(" ", ","))
    root.must("PUT", "/access/acl", path="/", roles="Role", users="smb@pve", tokens="smb@pve!gw")
    return client


def least(lab: Lab) -> Client:
    """`lp@pve!tok` as recorded: one pool, one storage, one SDN zone."""
    client, root = lab.token("lp@pve", "tok", privsep=0), lab.root()
    guest = (
        "VM.Allocate,VM.Audit,VM.Config.CPU,VM.Config.Memory,VM.Config.Disk,VM.Config.Network,VM.Config.Options,"
        "VM.PowerMgmt,VM.Snapshot,VM.Backup,Pool.Audit"
    )
    root.must("POST", "/pools", poolid="smbpool")
    root.must("POST", "/access/roles", roleid="LpCT", privs=guest)
    root.ask(
        "POST", "/access/roles", roleid="LpSt", privs="Datastore.AllocateSpace,Datastore.Audit,Datastore.AllocateTemplate"
    )
    for path, role in (("/pool/smbpool", "LpCT"), ("/storage/local", "LpSt"), ("/sdn/zones/localnetwork", "PVESDNUser")):
        root.must("PUT", "/access/acl", path=path, roles=role, users="lp@pve")
    return client


def test_bridges_are_told_to_who_may_use_them(lab: Lab) -> None:
    token = lab.token("gw@pve", "gw", privsep=0)
    assert token.must("GET", "/nodes/pve1/network", type="any_bridge") == []
    lab.root().must("PUT", "/access/acl", path="/sdn/zones/localnetwork/vmbr1", users="gw@pve", roles="PVESDNUser")
    [bridge] = token.must("GET", "/nodes/pve1/network", type="any_bridge")
    assert (bridge["iface"], bridge["type"]) == ("vmbr1", "bridge")
