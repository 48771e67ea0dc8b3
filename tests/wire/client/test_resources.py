"""Every method of the typed client, against a gateway in memory."""

from __future__ import annotations

import threading
from pathlib import Path

import pvesmb
import pytest
from pvesmb import AccessRule, FileServer, Group, Plan, Share, User

from tests.wire.client.conftest import SERVER
from tests.wire.client.memory_gateway import STEPS, MemoryGateway, status

SHARE = f"{SERVER}/shares/projects"


def test_backends_are_listed_and_got(gateway: MemoryGateway, client: pvesmb.Client) -> None:
    gateway.backends = ["lxc", "native"]
    gateway.unreachable = ["backends/lxc"]
    assert [(b.name, b.health) for b in client.backends.list()] == [
        ("backends/lxc", pvesmb.Backend.HEALTH_UNREACHABLE),
        ("backends/native", pvesmb.Backend.HEALTH_SERVING),
    ]
    assert client.backends.get("backends/native").version == "1.2"
    with pytest.raises(pvesmb.NotFound) as caught:
        client.backends.get("backends/none")
    assert caught.value.reason == "BACKEND_UNKNOWN"


def test_a_file_server_with_first_contents(gateway: MemoryGateway, client: pvesmb.Client) -> None:
    made = client.file_servers.create(
        "backends/native",
        "files",
        FileServer(description="Files"),
        shares={"projects": Share(comment="P")},
        users={"anna": User(password="s3cret")},
        groups={"staff": Group(members=["anna"])},
    ).result(10)
    assert (made.name, made.description) == (SERVER, "Files")
    [request] = gateway.asked("CreateFileServer")
    assert [(f.share_id, f.share.comment) for f in request.shares] == [("projects", "P")]
    assert [(f.group_id, list(f.group.members)) for f in request.groups] == [("staff", ["anna"])]
    assert gateway.passwords == {f"{SERVER}/users/anna": "s3cret"}
    assert client.file_servers.get(SERVER).etag == "e1"
    changed = client.file_servers.update(FileServer(name=SERVER, description="New"), ["description"]).result(10)
    assert (changed.description, changed.generation) == ("New", 2)
    assert client.file_servers.delete(SERVER, force=True, delete_data=True, etag="e2").result(10) is None
    [removal] = gateway.asked("DeleteFileServer")
    assert (removal.force, removal.delete_data, removal.etag) == (True, True, "e2")


def test_shares(gateway: MemoryGateway, client: pvesmb.Client, files: str) -> None:
    rule = AccessRule(user="anna", level=AccessRule.ACCESS_LEVEL_READ)
    share = client.shares.create(files, "projects", Share(comment="P", access=[rule])).result(10)
    assert share.name == SHARE
    assert client.shares.get(SHARE) == share
    assert list(client.shares.list(files)) == [share]
    changed = client.shares.update(Share(name=SHARE, comment="Q", read_only=True), ["comment"]).result(10)
    assert (changed.comment, changed.read_only, len(changed.access)) == ("Q", False, 1)
    assert client.shares.delete(SHARE, delete_data=True).result(10) is None
    assert gateway.asked("DeleteShare")[0].delete_data
    assert list(client.shares.list(files)) == []


def test_users_and_groups(gateway: MemoryGateway, client: pvesmb.Client, files: str) -> None:
    anna = f"{files}/users/anna"
    user = client.users.create(files, "anna", User(full_name="Anna", password="s3cret")).result(10)
    assert (user.name, user.password) == (anna, "")
    assert client.users.update(User(name=anna, disabled=True), ["disabled"]).result(10).disabled
    client.users.reset_password(anna, "n3w", end_sessions=True, etag="e2").result(10)
    assert gateway.passwords[anna] == "n3w"
    assert gateway.asked("ResetPassword")[0].end_sessions
    staff = client.groups.create(files, "staff", Group(members=["anna"])).result(10)
    assert client.groups.get(staff.name) == staff
    assert [u.name for u in client.users.list(files)] == [anna]
    assert [g.name for g in client.groups.list(files)] == [staff.name]
    client.groups.update(Group(name=staff.name, description="All"), ["description"]).result(10)
    client.groups.delete(staff.name).result(10)
    client.users.delete(anna, etag="e2").result(10)
    assert list(gateway.resources) == [files]


def test_an_old_etag_is_refused(client: pvesmb.Client, files: str) -> None:
    with pytest.raises(pvesmb.Aborted) as caught:
        client.file_servers.update(FileServer(name=files, etag="e0", description="x"), ["description"])
    assert caught.value.reason == "ETAG_MISMATCH"


def test_validate_only_answers_with_the_plan(gateway: MemoryGateway, client: pvesmb.Client, files: str) -> None:
    plan = client.shares.create(files, "projects", validate_only=True)
    assert isinstance(plan, Plan)
    assert tuple(plan.steps) == STEPS
    assert "+[projects]" in plan.smb_conf_diff
    assert isinstance(client.file_servers.delete(files, validate_only=True), Plan)
    assert list(gateway.resources) == [files]


def test_lists_fetch_page_after_page(gateway: MemoryGateway, client: pvesmb.Client, files: str) -> None:
    for number in range(5):
        gateway.add("Share", f"{files}/shares/s{number}")
    listing = client.shares.list(files, page_size=2)
    assert [s.name[-2:] for s in listing] == ["s0", "s1", "s2", "s3", "s4"]
    assert [r.page_token for r in gateway.asked("ListShares")] == ["", "2", "4"]
    assert [len(page) for page in listing.pages()] == [2, 2, 1]


def test_lists_over_all_name_what_is_missing(gateway: MemoryGateway, client: pvesmb.Client, files: str) -> None:
    gateway.add("FileServer", "backends/lxc/fileServers/other")
    gateway.unreachable = ["backends/lxc"]
    listing = client.file_servers.list(filter="state = READY")
    assert listing.unreachable == []
    assert [s.name for s in listing] == [files]
    assert listing.unreachable == ["backends/lxc"]
    assert gateway.asked("ListFileServers")[0].filter == "state = READY"


def test_a_lost_answer_does_not_make_it_twice(
    gateway: MemoryGateway, client: pvesmb.Client, files: str, naps: list[float]
) -> None:
    gateway.fail("CreateShare", status(14, "gone", reason="BACKEND_UNAVAILABLE"), times=2, after=True)
    assert client.shares.create(files, "projects").result(10).name == SHARE
    requests = gateway.asked("CreateShare")
    assert len(requests) == 3
    assert len({r.request_id for r in requests}) == 1
    assert len(gateway.operations) == 1
    assert naps[0] < naps[1]


def test_a_given_request_id_is_sent_and_new_ones_differ(gateway: MemoryGateway, client: pvesmb.Client, files: str) -> None:
    for id in ("a", "b"):
        client.shares.create(files, id)
    client.shares.create(files, "c", request_id="12345678-1234-1234-1234-123456789abc")
    first, second, third = (r.request_id for r in gateway.asked("CreateShare"))
    assert first != second
    assert third == "12345678-1234-1234-1234-123456789abc"


def test_other_errors_are_not_tried_again(gateway: MemoryGateway, client: pvesmb.Client, files: str) -> None:
    gateway.fail("CreateShare", status(8, "full", reason="STORAGE_FULL", help="Make room."))
    with pytest.raises(pvesmb.ResourceExhausted, match="full"):
        client.shares.create(files, "projects")
    assert len(gateway.asked("CreateShare")) == 1


def test_an_unreachable_backend_stays_an_error(gateway: MemoryGateway, client: pvesmb.Client, files: str) -> None:
    gateway.unreachable = ["backends/native"]
    with pytest.raises(pvesmb.Unavailable) as caught:
        client.shares.create(files, "projects")
    assert caught.value.metadata == {"backend": "native"}
    assert len(gateway.asked("CreateShare")) > 1


def test_details_of_an_error_reach_the_caller(gateway: MemoryGateway, client: pvesmb.Client, files: str) -> None:
    bad = status(
        3,
        "two fields are wrong",
        reason="FIELD_INVALID",
        help="Correct them.",
        metadata={"field": "share_id"},
        fields=[("share_id", "too long"), ("share.comment", "two lines")],
    )
    gateway.fail("CreateShare", bad)
    with pytest.raises(pvesmb.InvalidArgument) as caught:
        client.shares.create(files, "projects")
    error = caught.value
    assert (error.code_name, error.reason, error.message) == ("INVALID_ARGUMENT", "FIELD_INVALID", "two fields are wrong")
    assert (error.help, error.metadata) == ("Correct them.", {"field": "share_id"})
    assert [(v.field, v.description) for v in error.field_violations] == [
        ("share_id", "too long"),
        ("share.comment", "two lines"),
    ]


def test_preconditions_name_their_subjects(gateway: MemoryGateway, client: pvesmb.Client, files: str) -> None:
    gateway.fail("DeleteFileServer", status(9, "not empty", reason="PRECONDITION_FAILED", subjects=[(SHARE, "is in it")]))
    with pytest.raises(pvesmb.FailedPrecondition) as caught:
        client.file_servers.delete(files)
    assert [(v.field, v.description) for v in caught.value.field_violations] == [(SHARE, "is in it")]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (1, pvesmb.Cancelled),
        (3, pvesmb.InvalidArgument),
        (4, pvesmb.DeadlineExceeded),
        (5, pvesmb.NotFound),
        (6, pvesmb.AlreadyExists),
        (7, pvesmb.PermissionDenied),
        (8, pvesmb.ResourceExhausted),
        (9, pvesmb.FailedPrecondition),
        (10, pvesmb.Aborted),
        (12, pvesmb.Unimplemented),
        (13, pvesmb.Internal),
        (16, pvesmb.Unauthenticated),
        (15, pvesmb.PvesmbError),
    ],
)
def test_every_code_has_its_class(
    gateway: MemoryGateway, client: pvesmb.Client, files: str, code: int, kind: type[pvesmb.PvesmbError]
) -> None:
    gateway.fail("GetFileServer", status(code, "no"))
    with pytest.raises(pvesmb.PvesmbError) as caught:
        client.file_servers.get(files)
    assert type(caught.value) is kind


def test_a_token_is_shown_with_each_call(gateway: MemoryGateway) -> None:
    with pvesmb.Client(gateway.target, token="t0ken") as client:
        list(client.backends.list())
    assert gateway.metadata[0]["authorization"] == "Bearer t0ken"


def test_threads_may_share_a_client(client: pvesmb.Client, files: str) -> None:
    failed: list[BaseException] = []

    def make(number: int) -> None:
        try:
            client.shares.create(files, f"s{number}").result(10)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=make, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not failed
    assert len(list(client.shares.list(files))) == 4


def test_a_gateway_that_is_not_there(place: object) -> None:
    with pvesmb.Client(f"unix:{place}/none.sock") as client, pytest.raises(pvesmb.Unavailable) as caught:
        client.file_servers.get(SERVER)
    assert "does not answer" in caught.value.message
    assert caught.value.help


def test_the_example_of_the_readme_runs(
    gateway: MemoryGateway, files: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = Path(__file__).parents[3] / "clients" / "python" / "README.md"
    example = readme.read_text().split("```python\n")[1].split("```")[0]
    monkeypatch.setenv("PVESMB_GATEWAY", gateway.target)
    exec(compile(example, "README.md", "exec"), {})
    assert capsys.readouterr().out == "\n"
    [rule] = gateway.resources[SHARE].access
    assert (rule.user, rule.level) == ("anna", AccessRule.ACCESS_LEVEL_READ_WRITE)
