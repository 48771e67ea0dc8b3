"""Every command of the command line, in this process, against a gateway in memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from pvesmb.cli.__main__ import main
from pvesmb.v1 import common_pb2
from pvesmb.v1.common_pb2 import Demand
from pvesmb.v1.file_server_pb2 import FileServer, SmbSettings
from pvesmb.v1.share_pb2 import AccessRule, Share

from tests.wire.client.conftest import SERVER
from tests.wire.client.memory_gateway import MemoryGateway, status

SHARE = f"{SERVER}/shares/projects"
ID = "12345678-1234-1234-1234-123456789abc"


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        return json.loads(self.err)


Run = Callable[..., Ran]


@pytest.fixture
def run(gateway: MemoryGateway, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("GRPC_VERBOSITY", "NONE")

    def run(*arguments: str) -> Ran:
        code = main(["--gateway", gateway.target, *arguments])
        return Ran(code, *capsys.readouterr())

    return run


def access(share: Any) -> list[tuple[str, int]]:
    return [(rule.user or f"@{rule.group}" if not rule.everyone else "everyone", rule.level) for rule in share.access]


# Backends, version.


@pytest.mark.parametrize("arguments", [("backends",), ("backends", "list")])
def test_backends_are_listed(gateway: MemoryGateway, run: Run, arguments: tuple[str, ...]) -> None:
    gateway.backends = ["lxc", "native"]
    gateway.unreachable = ["backends/lxc"]
    header, *rows = run(*arguments).out.splitlines()
    assert header.split()[:4] == ["NAME", "MODE", "HEALTH", "VERSION"]
    assert [row.split()[:3] for row in rows] == [["lxc", "lxc", "unreachable"], ["native", "native", "serving"]]
    ran = run(*arguments, "--json")
    assert [b["name"] for b in ran.json["backends"]] == ["backends/lxc", "backends/native"]
    assert ran.json["unreachable"] == []


def test_a_backend_is_got(run: Run) -> None:
    assert run("backends", "get", "native", "--json").json["health"] == "HEALTH_SERVING"
    assert "backends/native" in run("backends", "get", "backends/native").out
    assert run("backends", "get", "none").code == 3


def test_version(run: Run) -> None:
    assert run("version").out.startswith("pvesmb ")
    assert run("version", "--json").json["backends"] == {"backends/native": "1.2"}


# File servers.


def test_a_server_with_all_options(gateway: MemoryGateway, run: Run) -> None:
    options = (
        "--backend native --listen 127.0.0.5 --listen 127.0.0.6 --port 4450 --min-protocol 3.1.1 --encryption required"
        " --signing required --allow-guests --drift-policy report --description Files --label team=a"
    )
    ran = run("server", "create", "files", *options.split(), "--json")
    assert ran.code == 0
    assert ran.json["name"] == SERVER
    made = gateway.resources[SERVER]
    assert list(made.native.listen_addresses) == ["127.0.0.5", "127.0.0.6"]
    assert made.native.port == 4450
    assert made.smb.min_protocol == SmbSettings.DIALECT_SMB3_11
    assert (made.smb.encryption, made.smb.signing) == (Demand.DEMAND_REQUIRED, Demand.DEMAND_REQUIRED)
    assert made.smb.allow_guests
    assert made.drift_policy == FileServer.DRIFT_POLICY_REPORT
    assert (made.description, dict(made.labels)) == ("Files", {"team": "a"})


@pytest.mark.parametrize("name", ["files", "native/files"])
def test_the_only_backend_need_not_be_named(gateway: MemoryGateway, run: Run, name: str) -> None:
    assert run("server", "create", name).code == 0
    assert SERVER in gateway.resources


def test_one_of_several_backends_must_be_named(gateway: MemoryGateway, run: Run) -> None:
    gateway.backends = ["lxc", "native"]
    ran = run("server", "create", "files")
    assert ran.code == 2
    assert "lxc, native" in ran.err
    assert not gateway.asked("CreateFileServer")


def test_servers_are_listed(gateway: MemoryGateway, run: Run, files: str) -> None:
    gateway.add("FileServer", "backends/lxc/fileServers/other")
    out = run("server", "list").out
    assert "native/files" in out
    assert "127.0.0.1:4450" in out
    assert [s["name"] for s in run("server", "list", "--backend", "native", "--json").json["fileServers"]] == [files]
    gateway.unreachable = ["backends/lxc"]
    ran = run("server", "list", "--json", "--filter", "state = READY")
    assert ran.json["unreachable"] == ["backends/lxc"]
    assert gateway.asked("ListFileServers")[-1].filter == "state = READY"
    plain = run("server", "list")
    assert "lxc" in plain.err
    assert "other" not in plain.out


def test_an_empty_list_prints_nothing_on_stdout(run: Run) -> None:
    ran = run("server", "list")
    assert (ran.code, ran.out) == (0, "")


def test_a_server_is_got_updated_and_deleted(gateway: MemoryGateway, run: Run, files: str) -> None:
    assert "Files" in run("server", "get", "files").out
    assert run("server", "update", "files", "--description", "New", "--port", "4451").code == 0
    [request] = gateway.asked("UpdateFileServer")
    assert sorted(request.update_mask.paths) == ["description", "native.port"]
    assert gateway.resources[files].native.port == 4451
    assert run("server", "update", "files").code == 2
    ran = run("server", "delete", "files", "--force", "--delete-data", "--yes")
    assert (ran.code, files in gateway.resources) == (0, False)
    [removal] = gateway.asked("DeleteFileServer")
    assert (removal.force, removal.delete_data) == (True, True)


# Shares.


def test_a_share_with_all_options(gateway: MemoryGateway, run: Run, files: str) -> None:
    ran = run(
        *("share", "create", "projects", "--size", "10GiB", "--comment", "Our projects", "--read-only", "--encrypt"),
        *("--user", "anna", "--user", "ben:read", "--group", "staff:admin", "--everyone", "deny", "--guest", "read"),
        *("--hosts-allow", "10.0.0.0/8", "--hosts-allow", "fd00::/8", "--hosts-deny", "10.1.0.0/16"),
        *("--max-connections", "5", "--option", "veto files = /*.exe/", "--label", "team=a", "--hidden"),
        *("--force-user", "anna", "--force-group", "staff", "--create-mask", "0640", "--directory-mask", "2750"),
    )
    assert ran.code == 0, ran.err
    made = gateway.resources[SHARE]
    assert made.volume.size_bytes == 10 * 2**30
    assert access(made) == [
        ("anna", AccessRule.ACCESS_LEVEL_READ_WRITE),
        ("ben", AccessRule.ACCESS_LEVEL_READ),
        ("@staff", AccessRule.ACCESS_LEVEL_ADMIN),
        ("everyone", AccessRule.ACCESS_LEVEL_DENY),
    ]
    assert (made.comment, made.read_only, made.encryption_required) == ("Our projects", True, True)
    assert made.max_connections == 5
    assert (made.HasField("browseable"), made.browseable) == (True, False)
    assert list(made.hosts_allow) == ["10.0.0.0/8", "fd00::/8"]
    assert list(made.hosts_deny) == ["10.1.0.0/16"]
    assert dict(made.smb_options) == {"veto files": "/*.exe/"}
    assert dict(made.labels) == {"team": "a"}
    creation = made.file_creation
    assert (creation.force_user, creation.force_group) == ("anna", "staff")
    assert (creation.create_mask, creation.directory_mask) == ("0640", "2750")


def test_a_share_in_a_directory(gateway: MemoryGateway, run: Run, files: str) -> None:
    where = ("--path", "/srv/p", "--owner", "anna", "--owner-group", "staff", "--mode", "2775")
    assert run("share", "create", "projects", *where).code == 0
    made = gateway.resources[SHARE].directory
    assert (made.path, made.owner, made.group, made.mode) == ("/srv/p", "anna", "staff", "2775")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--size", "10G"),
        ("--size", "much"),
        ("--size", "1GiB", "--path", "/srv"),
        ("--user", "anna:owner"),
        ("--option", "veto files"),
        ("--guest", "write"),
        ("--max-connections", "-1"),
        ("--password", "x"),
    ],
)
def test_wrong_values_never_reach_the_gateway(
    gateway: MemoryGateway, run: Run, files: str, arguments: tuple[str, ...]
) -> None:
    ran = run("share", "create", "projects", *arguments)
    assert ran.code == 2
    assert ran.err.startswith("Error: ")
    assert not gateway.asked("CreateShare")


@pytest.mark.parametrize(
    "arguments",
    [
        (SHARE,),
        ("native/files/projects",),
        ("files/projects",),
        ("projects",),
        ("projects", "--server", "files"),
        ("projects", "--server", "native/files"),
        ("projects", "--server", SERVER),
    ],
)
def test_a_share_by_each_form_of_its_name(gateway: MemoryGateway, run: Run, files: str, arguments: tuple[str, ...]) -> None:
    gateway.add("Share", SHARE, comment="P")
    assert run("share", "get", *arguments, "--json").json["name"] == SHARE


def test_names_that_are_not_clear_are_refused(gateway: MemoryGateway, run: Run, files: str) -> None:
    gateway.add("FileServer", "backends/lxc/fileServers/files")
    for arguments in (("files/projects",), ("projects",), ("projects", "--server", "files")):
        ran = run("share", "get", *arguments)
        assert ran.code == 2
        assert "lxc/files, native/files" in ran.err
    assert run("share", "get", "none/projects").code == 3
    assert run("share", "get", "a/b/c/d").code == 2
    assert run("share", "get", "files/projects", "--server", "files").code == 2


def test_a_name_is_not_guessed_while_a_backend_is_away(gateway: MemoryGateway, run: Run, files: str) -> None:
    gateway.add("Share", SHARE)
    gateway.unreachable = ["backends/lxc"]
    ran = run("share", "delete", "files/projects", "--yes")
    assert ran.code == 7
    assert SHARE in gateway.resources
    assert run("share", "delete", "native/files/projects", "--yes").code == 0


def test_shares_of_all_servers_are_listed(gateway: MemoryGateway, run: Run, files: str) -> None:
    gateway.add("Share", SHARE, comment="P", volume={"size_bytes": 3 * 2**29})
    gateway.add("FileServer", "backends/lxc/fileServers/other")
    gateway.add("Share", "backends/lxc/fileServers/other/shares/data")
    ran = run("share", "list")
    assert "native/files/projects" in ran.out
    assert "1.5 GiB" in ran.out
    assert "lxc/other/data" in ran.out
    for only in (("files",), ("--server", "native/files")):
        assert [s["name"] for s in run("share", "list", *only, "--json").json["shares"]] == [SHARE]
    gateway.unreachable = ["backends/lxc"]
    ran = run("share", "list", "--json")
    assert ([s["name"] for s in ran.json["shares"]], ran.json["unreachable"]) == ([SHARE], ["backends/lxc"])


def test_an_update_sends_only_what_is_given(gateway: MemoryGateway, run: Run, files: str) -> None:
    gateway.add("Share", SHARE, comment="P", read_only=True, volume={"size_bytes": 2**30})
    ran = run("share", "update", "projects", "--comment", "Q", "--size", "2GiB", "--hosts-allow", "10.0.0.0/8", "--json")
    assert ran.json["comment"] == "Q"
    [request] = gateway.asked("UpdateShare")
    assert sorted(request.update_mask.paths) == ["comment", "hosts_allow", "volume.size_bytes"]
    made = gateway.resources[SHARE]
    assert (made.volume.size_bytes, made.read_only) == (2 * 2**30, True)
    assert run("share", "update", "projects", "--hosts-allow", "", "--force-user", "anna").code == 0
    assert (list(made.hosts_allow), gateway.resources[SHARE].file_creation.force_user) == (["10.0.0.0/8"], "anna")
    assert list(gateway.resources[SHARE].hosts_allow) == []
    assert run("share", "update", "projects").code == 2


def test_rules_are_changed_one_by_one_under_an_etag(gateway: MemoryGateway, run: Run, files: str) -> None:
    read = AccessRule.ACCESS_LEVEL_READ
    rules = [AccessRule(user="anna", level=read), AccessRule(group="staff", level=read)]
    gateway.add("Share", SHARE, access=rules, labels={"a": "1", "b": "2"}, smb_options={"veto files": "/x/"})
    ran = run(
        *("share", "update", "projects", "--add-user", "ben:admin", "--remove-user", "anna", "--add-group", "guests:deny"),
        *("--remove-label", "a", "--label", "c=3", "--remove-option", "veto files"),
    )
    assert ran.code == 0, ran.err
    [request] = gateway.asked("UpdateShare")
    assert request.share.etag == "e1"
    assert sorted(request.update_mask.paths) == ["access", "labels", "smb_options"]
    made = gateway.resources[SHARE]
    assert access(made) == [
        ("@staff", read),
        ("ben", AccessRule.ACCESS_LEVEL_ADMIN),
        ("@guests", AccessRule.ACCESS_LEVEL_DENY),
    ]
    assert (dict(made.labels), dict(made.smb_options)) == ({"b": "2", "c": "3"}, {})
    assert run("share", "update", "projects", "--remove-user", "nobody").code == 2
    assert run("share", "update", "projects", "--comment", "x", "--etag", "e1").code == 4


def test_a_share_is_deleted_only_when_it_is_meant(gateway: MemoryGateway, run: Run, files: str) -> None:
    gateway.add("Share", SHARE)
    ran = run("share", "delete", "projects")
    assert ran.code == 2
    assert "--yes" in ran.err
    assert not gateway.asked("DeleteShare")
    assert run("share", "delete", "projects", "--dry-run").code == 0
    assert SHARE in gateway.resources
    ran = run("share", "delete", "projects", "--delete-data", "--yes", "--json")
    assert (ran.json, SHARE in gateway.resources) == ({}, False)
    assert gateway.asked("DeleteShare")[-1].delete_data


# Users and groups.


def test_users(gateway: MemoryGateway, run: Run, files: str) -> None:
    anna = f"{files}/users/anna"
    gateway.add("User", anna, full_name="Anna", labels={"a": "1"})
    assert "native/files/anna" in run("user", "list").out
    assert run("user", "list", "files", "--json").json["users"][0]["fullName"] == "Anna"
    assert "Anna" in run("user", "get", "anna").out
    ran = run("user", "update", "anna", "--full-name", "Anna B", "--disabled", "--label", "b=2")
    assert ran.code == 0
    made = gateway.resources[anna]
    assert (made.full_name, made.disabled, dict(made.labels)) == ("Anna B", True, {"a": "1", "b": "2"})
    assert run("user", "delete", "anna").code == 2
    assert run("user", "delete", "anna", "--yes").code == 0
    assert anna not in gateway.resources


def test_groups(gateway: MemoryGateway, run: Run, files: str) -> None:
    staff = f"{files}/groups/staff"
    assert run("group", "create", "staff", "--member", "anna", "--member", "ben", "--description", "S").code == 0
    assert list(gateway.resources[staff].members) == ["anna", "ben"]
    assert "native/files/staff" in run("group", "list").out
    assert run("group", "get", "staff", "--json").json["members"] == ["anna", "ben"]
    assert run("group", "update", "staff", "--member", "carl", "--remove-member", "anna").code == 0
    assert list(gateway.resources[staff].members) == ["ben", "carl"]
    assert gateway.asked("UpdateGroup")[0].group.etag == "e1"
    assert run("group", "delete", "staff", "--yes").code == 0
    assert staff not in gateway.resources


def test_templates(gateway: MemoryGateway, run: Run) -> None:
    gateway.backends = ["native", "lxc"]
    name = "backends/lxc/templates/pvesmb-debian-13"
    for backend, release in (("", "13"), ("lxc", "12")):
        assert run("template", "build", *filter(None, [backend]), "--debian", release, "--rebuild").code == 0
    assert [(r.parent, r.debian_release, r.rebuild) for r in gateway.asked("BuildTemplate")] == [
        ("backends/lxc", 13, True),
        ("backends/lxc", 12, True),
    ]
    out = run("template", "list").out
    assert "lxc/pvesmb-debian-13" in out and "71 MiB" in out
    assert len(run("template", "list", "lxc", "--json").json["templates"]) == 2
    for text in ("pvesmb-debian-13", "lxc/pvesmb-debian-13", name):
        assert run("template", "get", text, "--json").json["name"] == name
    assert "is valid" in run("template", "validate", "pvesmb-debian-13").out
    assert "steps" in run("template", "build", "lxc", "--dry-run", "--json").json
    assert run("template", "delete", "pvesmb-debian-13").code == 2
    assert run("template", "delete", "pvesmb-debian-13", "--yes", "--etag", "e1").code == 0
    assert name not in gateway.resources
    assert run("template", "get", "pvesmb-debian-13").code == 3
    gateway.unreachable = ["backends/native"]
    assert run("template", "get", "pvesmb-debian-12").code == 7


def test_a_template_that_is_not_as_it_should_be(gateway: MemoryGateway, run: Run) -> None:
    wrong = common_pb2.Condition(
        type="TemplateMissing", severity=common_pb2.Condition.SEVERITY_ERROR, message="is gone", action="build it again"
    )
    gateway.add("Template", "backends/native/templates/t", conditions=[wrong])
    ran = run("template", "validate", "t")
    assert ran.code == 5 and "is not valid" in ran.out and "What to do: build it again" in ran.out


# Operations, and how changes end.


def test_no_wait_prints_the_name(gateway: MemoryGateway, run: Run, files: str) -> None:
    gateway.held = True
    name = run("share", "create", "a", "--no-wait").out.strip()
    assert name in gateway.operations
    document = run("share", "create", "b", "--no-wait", "--json").json
    assert document["name"] in gateway.operations
    assert document["metadata"]["verb"] == "VERB_CREATE"
    assert not gateway.asked("WaitOperation")


def test_a_timeout_leaves_the_operation(gateway: MemoryGateway, run: Run, files: str) -> None:
    gateway.held = True
    ran = run("share", "create", "a", "--timeout", "0.01")
    [name] = gateway.operations
    assert ran.code == 7
    assert f"pvesmb operation wait {name}" in ran.err
    assert not gateway.operations[name].done


def test_operations(gateway: MemoryGateway, run: Run, files: str) -> None:
    gateway.held = True
    name = run("share", "create", "a", "--no-wait").out.strip()
    id = name.rsplit("/", 1)[-1]
    assert "native/files/a" in run("operation", "list").out
    gateway.unreachable = ["backends/lxc"]
    ran = run("operation", "list", "--backend", "native", "--json")
    assert [o["name"] for o in ran.json["operations"]] == [name]
    for form in (name, f"native/{id}", id):
        assert run("operation", "get", form, "--json").json["name"] == name
    assert "directory" in run("operation", "get", id).out
    assert run("operation", "wait", id, "--timeout", "0.01").code == 7
    assert run("operation", "cancel", id).code == 0
    ran = run("operation", "wait", id, "--json")
    assert (ran.code, ran.error["reason"], ran.error["operation"]) == (10, "OPERATION_CANCELLED", name)
    assert run("operation", "get", "none").code == 3


def test_waiting_for_an_operation_gives_its_result(gateway: MemoryGateway, run: Run, files: str) -> None:
    gateway.held = True
    name = run("share", "create", "a", "--no-wait").out.strip()
    gateway.end(name)
    assert run("operation", "wait", name, "--json").json["name"] == f"{files}/shares/a"


def test_dry_run_shows_the_plan(gateway: MemoryGateway, run: Run, files: str) -> None:
    ran = run("share", "create", "projects", "--dry-run")
    assert ran.code == 0
    for part in ("directory", "registry", "confirm", "+[projects]", "a directory is made"):
        assert part in ran.out
    assert run("share", "create", "projects", "--dry-run", "--json").json["smbConfDiff"].startswith("--- now\n")
    assert SHARE not in gateway.resources


def test_a_repetition_by_request_id_is_one_change(gateway: MemoryGateway, run: Run, files: str) -> None:
    for _ in range(2):
        assert run("share", "create", "projects", "--request-id", ID).code == 0
    assert [r.request_id for r in gateway.asked("CreateShare")] == [ID, ID]
    assert len(gateway.operations) == 1
    assert run("share", "create", "projects").code == 4


# Errors.


@pytest.mark.parametrize(
    ("code", "exit"),
    [(1, 10), (2, 1), (3, 2), (4, 7), (5, 3), (6, 4), (7, 6), (8, 8), (9, 5), (10, 4), (12, 9), (13, 1), (14, 7), (16, 6)],
)
def test_exit_codes_of_calls_and_operations(gateway: MemoryGateway, run: Run, files: str, code: int, exit: int) -> None:
    if code != 14:  # would be tried again, with real pauses
        gateway.fail("CreateShare", status(code, "no"))
        assert run("share", "create", "a").code == exit
    gateway.held = True
    name = run("share", "create", "b", "--no-wait").out.strip()
    gateway.end(name, status(code, "no"))
    assert run("operation", "wait", name).code == exit


def test_an_error_for_people(gateway: MemoryGateway, run: Run, files: str) -> None:
    fields = [("share_id", "too long"), ("share.comment", "two lines")]
    gateway.fail("CreateShare", status(3, "two fields", reason="FIELD_INVALID", help="Correct them.", fields=fields))
    ran = run("share", "create", "a", "--everyone", "read")
    assert ran.out == ""
    assert ran.err.splitlines() == [
        "Error: two fields (FIELD_INVALID)",
        "  share_id: too long",
        "  share.comment: two lines",
        "What to do: Correct them.",
    ]


def test_an_error_for_programs(gateway: MemoryGateway, run: Run, files: str) -> None:
    fields = [("share_id", "too long")]
    bad = status(3, "bad", reason="FIELD_INVALID", help="Correct it.", fields=fields, metadata={"field": "share_id"})
    gateway.fail("CreateShare", bad)
    ran = run("share", "create", "a", "--json")
    assert ran.out == ""
    assert ran.error == {
        "code": "INVALID_ARGUMENT",
        "reason": "FIELD_INVALID",
        "message": "bad",
        "help": "Correct it.",
        "metadata": {"field": "share_id"},
        "fieldViolations": [{"field": "share_id", "description": "too long"}],
    }
    assert run("share", "--bogus", "--json").error["code"] == "INVALID_ARGUMENT"


def test_nothing_from_the_server_steers_the_terminal(gateway: MemoryGateway, run: Run, files: str) -> None:
    evil = "\x1b[31mred\x9b2J [bold]b[/bold] \u202egnp"
    gateway.add("Share", SHARE, comment=evil)
    gateway.fail("GetFileServer", status(5, evil, help=evil))
    for ran in (run("share", "list"), run("share", "get", SHARE), run("server", "get", "native/none")):
        text = ran.out + ran.err
        assert "[bold]b[/bold]" in text
        assert not {"\x1b", "\x9b", "\u202e"} & set(text)
    ran = run("share", "get", SHARE, "--json")
    assert not {"\x1b", "\x9b", "\u202e"} & set(ran.out)
    assert ran.json["comment"] == evil


def test_a_fault_of_ours_tells_no_contents(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("canary")

    monkeypatch.setattr("pvesmb._resources.Backends.list", broken)
    monkeypatch.delenv("PVESMB_DEBUG", raising=False)
    ran = run("backends")
    assert ran.code == 1
    assert "canary" not in ran.out + ran.err
    assert "RuntimeError" in ran.err


def test_an_argument_that_is_no_text(run: Run, files: str) -> None:
    assert run("share", "create", "\udcff").code == 2


def test_a_share_is_what_json_says(gateway: MemoryGateway, run: Run, files: str) -> None:
    gateway.add("Share", SHARE, volume={"size_bytes": 2**30})
    document = run("share", "get", "projects", "--json").json
    assert document["volume"] == {"sizeBytes": str(2**30)}
    assert document["state"] == "RESOURCE_STATE_READY"
    assert set(document) <= {field.camelcase_name for field in Share.DESCRIPTOR.fields}
