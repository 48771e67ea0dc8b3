"""The life of a container through the API, with guests that only remember."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from tests.contract.localnode.conftest import Answer, Client, Lab, close_lab, open_lab
from tests.contract.localnode.fake import FakeContainers, FakeVolumes
from tests.contract.localnode.test_answers import OSTEMPLATE, create, record, replay

CT = "/nodes/pve1/lxc"


def test_a_container_lives_and_goes(lab: Lab) -> None:
    root = lab.root()
    upid = create(
        root, 102, mp0="local:1,mp=/srv/share,backup=1", hostname="smb2", memory=1024, swap=0, cores=1, unprivileged=1,
        features="nesting=1", net0="name=eth0,bridge=vmbr0,ip=10.99.0.12/24,gw=10.99.0.1", tags="smb;gateway", start=1,
        ssh__public__keys="ssh-ed25519 AAAA x", description="made by us",
    )  # fmt: skip
    assert lab.wait(upid) == "OK"
    (started,) = [task for task in root.ask("GET", "/nodes/pve1/tasks", source="all").data if task["type"] == "vzstart"]
    assert lab.wait(started["upid"]) == "OK"
    status = root.ask("GET", f"{CT}/102/status/current").data
    recorded = record("lxc", 20)["response"]["body"]["data"]
    assert sorted(status) == sorted(recorded)
    for key in ("tags", "maxmem", "cpus", "maxswap", "type", "ha", "vmid", "status", "name"):
        assert status[key] == recorded[key], key
    loopback, eth0 = root.ask("GET", f"{CT}/102/interfaces").data
    lo, recorded_eth0 = record("lxc", 19)["response"]["body"]["data"]
    assert loopback == lo
    assert sorted(eth0) == sorted(recorded_eth0) and eth0["ip-addresses"] == []
    config = root.ask("GET", f"{CT}/102/config").data
    assert config["mp0"] == "local:102/vm-102-disk-1.raw,mp=/srv/share,backup=1,size=1G"
    assert (config["tags"], config["description"]) == ("gateway;smb", "made by us\n")
    got = root.ask("POST", f"{CT}/102/status/start")
    assert (got.status, got.reason) == (500, "CT 102 already running")
    got = root.ask("DELETE", f"{CT}/102")
    assert (got.status, got.reason) == (500, "unable to destroy CT 102 - container is running")
    assert lab.wait(root.ask("POST", f"{CT}/102/status/shutdown", timeout=30).data) == "OK"
    assert root.ask("GET", f"{CT}/102/interfaces").data is None
    assert lab.wait(root.ask("DELETE", f"{CT}/102", purge=1).data) == "OK"
    assert root.ask("GET", "/cluster/resources", type="vm").data == []
    assert lab.volumes.sizes == {}
    replay(root, {"request": {"method": "GET", "path": f"{CT}/998/config", "params": {}}, **_response(81)})


def test_a_plain_create_has_the_recorded_configuration(lab: Lab) -> None:
    root = lab.root()
    upid = create(root, 501)
    assert lab.wait(upid) == "OK"
    config, recorded = root.ask("GET", f"{CT}/501/config").data, record("lxc", 2)["response"]["body"]["data"]
    assert config.pop("digest") and recorded.pop("digest")
    assert config == recorded
    assert sorted(root.ask("GET", f"/nodes/pve1/tasks/{upid}/status").data) == sorted(
        record("tasks", 1)["response"]["body"]["data"]
    )


def test_a_failed_create_leaves_nothing(lab: Lab) -> None:
    root = lab.root()
    missing = "local:vztmpl/none.tar.gz"
    upid = create(root, 300, ostemplate=missing)
    assert lab.wait(upid) == record("lxc", 50)["task_exitstatus"]
    lab.containers.unpack_error = "tar: no space"
    assert lab.wait(create(root, 301, mp0="local:1,mp=/srv")) == "unable to create CT 301 - tar: no space"
    assert root.ask("GET", CT).data == []
    assert lab.volumes.sizes == {}
    assert root.ask("GET", "/cluster/nextid", vmid=300).data == "300"


def test_of_four_creates_of_one_id_one_wins(lab: Lab) -> None:
    clients = [lab.root() for _ in range(4)]
    answers: list[Answer] = []

    def ask(client: Client) -> None:
        answers.append(client.ask("POST", CT, vmid=510, ostemplate=OSTEMPLATE, rootfs="local:1"))

    threads = [threading.Thread(target=ask, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    won = [answer for answer in answers if answer.status == 200]
    assert len(won) == 1
    lost = {answer.reason for answer in answers if answer.status != 200}
    assert lost <= {record("errors", number)["response"]["reason"] for number in (69, 70)}
    assert lab.wait(won[0].data) == "OK"


def test_a_stale_digest_changes_nothing(lab: Lab) -> None:
    root = lab.root()
    lab.wait(create(root, 500))
    before = root.ask("GET", f"{CT}/500/config").data
    replay(root, record("errors", 14))
    assert root.ask("GET", f"{CT}/500/config").data == before
    assert root.ask("PUT", f"{CT}/500/config", memory=100, digest=before["digest"]).data is None
    after = root.ask("GET", f"{CT}/500/config").data
    assert after["memory"] == 100 and after["digest"] != before["digest"]


def test_a_lock_holds_off_everything_that_changes(lab: Lab) -> None:
    root = lab.root()
    lab.wait(create(root, 302, start=1))
    _until_running(lab, 302)
    assert root.ask("PUT", f"{CT}/302/config", lock="backup").data is None
    for number in (96, 97, 99, 101, 102):
        replay(root, record("errors", number))
    assert lab.wait(root.ask("POST", f"{CT}/302/status/stop").data) == record("lxc", 62)["task_exitstatus"]


def test_a_mount_point_is_added_to_a_running_container(lab: Lab) -> None:
    root = lab.root()
    lab.wait(create(root, 302, start=1))
    _until_running(lab, 302)
    assert root.ask("PUT", f"{CT}/302/config", mp0="local:1,mp=/srv/a").data is None
    assert lab.containers.mounted[302] == ["/srv/a"]
    replay(root, record("errors", 94))
    assert lab.wait(root.ask("PUT", f"{CT}/302/resize", disk="mp0", size="+512M").data) == "OK"
    assert root.ask("GET", f"{CT}/302/config").data["mp0"].endswith("size=1536M")
    assert root.ask("PUT", f"{CT}/302/config", delete="mp0").data is None
    assert {"key": "mp0", "delete": 1}.items() <= _pending(root, 302, "mp0").items()
    assert lab.wait(root.ask("POST", f"{CT}/302/status/stop").data) == "OK"
    assert "mp0" in root.ask("GET", f"{CT}/302/config", current=1).data
    assert lab.wait(root.ask("POST", f"{CT}/302/status/start").data) == "OK"
    config = root.ask("GET", f"{CT}/302/config").data
    assert "mp0" not in config and config["unused0"] == "local:302/vm-302-disk-1.raw"
    assert root.ask("PUT", f"{CT}/302/config", delete="unused0").data is None
    assert "vm-302-disk-1.raw" not in lab.volumes.sizes


def test_what_runs_takes_on_memory_at_once_and_a_resolver_at_its_next_start(lab: Lab) -> None:
    root = lab.root()
    lab.wait(create(root, 302, start=1))
    _until_running(lab, 302)
    root.must("PUT", f"{CT}/302/config", memory=99, nameserver="10.0.0.9")
    assert lab.containers.limits[302] == {"memory": 99}
    assert _pending(root, 302, "nameserver") == {"key": "nameserver", "pending": "10.0.0.9"}
    lab.wait(root.ask("POST", f"{CT}/302/status/stop").data)
    lab.wait(root.ask("POST", f"{CT}/302/status/start").data)
    assert lab.containers.started[302].nameservers == ["10.0.0.9"]


def test_tasks_tell_what_the_call_did_not(lab: Lab) -> None:
    root = lab.root()
    upid = root.ask("POST", f"{CT}/999/status/start").data
    assert lab.wait(upid) == record("lxc", 66)["task_exitstatus"]
    lab.wait(create(root, 102))
    upid = root.ask("POST", f"{CT}/102/snapshot", snapname="s1").data
    assert lab.wait(upid) == record("lxc", 25)["task_exitstatus"]
    log = [line["t"] for line in root.ask("GET", f"/nodes/pve1/tasks/{upid}/log").data]
    assert log == ["TASK ERROR: snapshot feature is not available"]
    other = lab.token("smb@pve", "gw", privsep=1)
    got = other.ask("GET", f"/nodes/pve1/tasks/{upid}/status")
    assert (got.status, got.reason) == (403, "Permission check failed (/nodes/pve1, Sys.Audit)")
    assert other.ask("GET", "/nodes/pve1/tasks").data == []
    lab.containers.start_error = "no bridge"
    assert lab.wait(root.ask("POST", f"{CT}/102/status/start").data) == "no bridge"
    replay(root, record("errors", 27))
    replay(root, record("errors", 25))
    replay(root, record("errors", 64))


def test_a_restart_keeps_guests_tokens_and_tasks(tmp_path: Path) -> None:
    lab = open_lab(tmp_path, *_fakes())
    lab.put_template()
    root = lab.root()
    token = lab.token("root@pam", "rt", privsep=0)
    done = create(root, 102, start=1)
    lab.wait(done)
    _until_running(lab, 102)
    config = root.ask("GET", f"{CT}/102/config").data
    close_lab(lab)
    again = open_lab(tmp_path, lab.containers, lab.volumes)
    token.url = again.url
    try:
        assert token.ask("GET", f"{CT}/102/config").data == config
        assert token.ask("GET", f"{CT}/102/status/current").data["status"] == "running"
        assert token.ask("GET", f"/nodes/pve1/tasks/{done}/status").data["exitstatus"] == "OK"
    finally:
        close_lab(again)


def test_a_create_that_the_process_did_not_finish_is_undone(tmp_path: Path) -> None:
    lab = open_lab(tmp_path, *_fakes())
    lab.put_template()
    root = lab.root()
    root.must("POST", "/pools", poolid="smbpool")
    lab.wait(create(root, 102, pool="smbpool"))
    lab.wait(create(root, 103))
    with lab.node.state.change() as facts:
        facts.guests[102].config["lock"] = "create"
    close_lab(lab)
    again = open_lab(tmp_path, lab.containers, lab.volumes)
    try:
        root = again.root()
        assert [entry["vmid"] for entry in root.must("GET", CT)] == [103]
        assert root.must("GET", "/pools/smbpool")["members"] == []
        left = root.must("GET", "/nodes/pve1/storage/local/content", content="rootdir")
        assert [entry["vmid"] for entry in left] == [103]
    finally:
        close_lab(again)


def _fakes() -> tuple[FakeContainers, FakeVolumes]:
    return FakeContainers(), FakeVolumes()


def _response(number: int) -> dict[str, Any]:
    return {"response": record("errors", number)["response"]}


def _pending(client: Client, vmid: int, key: str) -> dict[str, Any]:
    entries = client.ask("GET", f"{CT}/{vmid}/pending").data
    return dict(next(entry for entry in entries if entry["key"] == key))


def _until_running(lab: Lab, vmid: int) -> None:
    for task in lab.node.tasks.all():
        if task.type == "vzstart" and task.id == str(vmid):
            assert lab.wait(task.upid) == "OK"
