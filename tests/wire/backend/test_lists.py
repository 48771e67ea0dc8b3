"""Pages, filters and page tokens of every list."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from google.longrunning import operations_pb2
from pvesmb.v1 import (
    backend_service_pb2,
    common_pb2,
    file_server_pb2,
    file_server_service_pb2,
    group_service_pb2,
    share_pb2,
    share_service_pb2,
    user_service_pb2,
)

from services.core.domain.names import Kind, Name
from services.core.domain.resource import Resource, State
from services.core.domain.share import ShareSpec
from services.wire.lists import Position
from tests.wire.backend.backend import BACKEND, SERVER, Backend, refused
from tests.wire.backend.conftest import running

#: Each list: stub, method, request, the field that holds the collection's owner, and the field with the rows.
LISTS: dict[str, tuple[str, str, Any, str, str]] = {
    "servers": ("servers", "ListFileServers", file_server_service_pb2.ListFileServersRequest, BACKEND, "file_servers"),
    "shares": ("shares", "ListShares", share_service_pb2.ListSharesRequest, SERVER, "shares"),
    "users": ("users", "ListUsers", user_service_pb2.ListUsersRequest, SERVER, "users"),
    "groups": ("groups", "ListGroups", group_service_pb2.ListGroupsRequest, SERVER, "groups"),
}
ALL = [*LISTS, "operations", "backends"]
IDS = {
    "servers": ["fs", "zz"],
    "shares": ["alpha", "Beta", "delta", "Gamma", "Äpfel", "ärger"],
    "users": ["a", "b-1", "b.1", "b_1", "c"],
    "groups": ["g1", "g2", "g3"],
}


@pytest.fixture(scope="module")
def filled() -> Iterator[Backend]:
    """A backend with several of everything, made out of order."""
    with running() as backend:
        backend.done(backend.create_server("zz", file_server={"labels": {"team": "b"}}), file_server_pb2.FileServer)
        backend.done(backend.create_server("fs", file_server={"labels": {"team": "a"}}), file_server_pb2.FileServer)
        operations = [
            backend.create_share(id, share_pb2.Share(labels={"team": id[0].lower(), "all": "yes"}))
            for id in reversed(IDS["shares"])
        ]
        operations += [backend.create_user(id) for id in reversed(IDS["users"])]
        operations += [backend.create_group(id) for id in reversed(IDS["groups"])]
        for operation in operations:
            assert backend.wait(operation).HasField("response")
        yield backend


def listing(backend: Backend, of: str, **fields: Any) -> tuple[Callable[..., Any], Any]:
    """The call and its request."""
    if of == "operations":
        return backend.operations.ListOperations, operations_pb2.ListOperationsRequest(**{"name": BACKEND, **fields})
    if of == "backends":
        return backend.backends.ListBackends, backend_service_pb2.ListBackendsRequest(**fields)
    stub, method, request, parent, _ = LISTS[of]
    return getattr(getattr(backend, stub), method), request(**{"parent": parent, **fields})


def rows(answer: Any, of: str) -> list[str]:
    """Last segments of the names in an answer."""
    field = LISTS[of][4] if of in LISTS else of
    return [row.name.rpartition("/")[2] for row in getattr(answer, field)]


def page(backend: Backend, of: str, **fields: Any) -> tuple[list[str], str]:
    call, request = listing(backend, of, **fields)
    answer = call(request)
    return rows(answer, of), answer.next_page_token


@pytest.mark.parametrize("of", LISTS)
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_pages_hold_everything_once_in_order(filled: Backend, of: str, size: int) -> None:
    pages, token = [], ""
    while True:
        found, token = page(filled, of, page_size=size, page_token=token)
        pages.append(found)
        if not token:
            break
    assert [id for found in pages for id in found] == IDS[of]
    assert all(len(found) == size for found in pages[:-1])
    assert pages[-1], "no empty page at the end"


@pytest.mark.parametrize("of", LISTS)
def test_a_list_is_whole_without_a_size_and_has_nothing_unreachable(filled: Backend, of: str) -> None:
    call, request = listing(filled, of)
    answer = call(request)
    assert (rows(answer, of), answer.next_page_token, list(answer.unreachable)) == (IDS[of], "", [])


def test_a_page_goes_on_by_key_where_its_last_row_is_gone(backend: Backend) -> None:
    backend.ready()
    for id in ("B", "a", "c"):
        backend.done(backend.create_share(id), share_pb2.Share)
    found, token = page(backend, "shares", page_size=2)
    assert found == ["a", "B"]
    backend.done(backend.delete_share("B"))
    backend.done(backend.create_share("AA"), share_pb2.Share)
    assert page(backend, "shares", page_size=2, page_token=token) == (["c"], "")


def test_operations_come_newest_first_and_in_pages(filled: Backend) -> None:
    every, token = page(filled, "operations")
    assert token == ""
    assert len(every) == 16
    got: list[str] = []
    while True:
        found, token = page(filled, "operations", page_size=5, page_token=token)
        got += found
        if not token:
            break
    assert got == every
    first = filled.operations.GetOperation(operations_pb2.GetOperationRequest(name=f"{BACKEND}/operations/{every[-1]}"))
    assert first.response.TypeName() == "pvesmb.v1.FileServer", "the oldest made the first file server"


def test_the_default_is_50_and_more_than_1000_is_read_as_1000(backend: Backend) -> None:
    backend.ready()
    with backend.store.transaction() as tx:
        for i in range(1001):
            name = Name("b", "fs", Kind.SHARE, f"s{i:04}")
            tx.insert(Resource(name, str(i), ShareSpec(), State.READY, 1, 1, 1.0, 1.0))
    assert len(page(backend, "shares")[0]) == 50
    for size in (1000, 1001, 2**31 - 1):
        found, token = page(backend, "shares", page_size=size)
        assert len(found) == 1000
        assert page(backend, "shares", page_size=size, page_token=token) == (["s1000"], "")


@pytest.mark.parametrize("of", ALL)
def test_a_negative_size_is_refused(filled: Backend, of: str) -> None:
    for size in (-1, -(2**31)):
        found = refused(*listing(filled, of, page_size=size))
        assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
        assert found.fields == {"page_size": "must not be negative"}


def _token(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


GARBAGE = {
    "text": "x",
    "umlaut": "ä",
    "padding": "====",
    "no JSON": base64.urlsafe_b64encode(b"\xff\xfe").decode(),
    "nested": base64.urlsafe_b64encode(b"[" * 200_000).decode(),
    "number": _token(7),
    "null": _token(None),
    "object": _token({"a": 1, "b": 2}),
    "too long": _token(["a", "b", "c"]),
    "wrong scope": Position("somewhere else", "a").token(),
}


@pytest.mark.parametrize("token", GARBAGE.values(), ids=GARBAGE.keys())
@pytest.mark.parametrize("of", ALL)
def test_garbage_is_no_page_token(filled: Backend, of: str, token: str) -> None:
    found = refused(*listing(filled, of, page_token=token))
    assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID")


@pytest.mark.parametrize("place", ["x", "-1", "0", "1" * 30, "1.5", "\u0661", "a\0"])
def test_a_made_up_place_among_operations_is_refused(filled: Backend, place: str) -> None:
    found = refused(*listing(filled, "operations", page_token=Position("b/operations", place).token()))
    assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID")


def test_a_made_up_place_with_control_characters_is_refused(filled: Backend) -> None:
    token = Position(f"{SERVER}/shares?", "a\0").token()
    assert refused(*listing(filled, "shares", page_token=token)).reason == "PAGE_TOKEN_INVALID"
    assert page(filled, "shares", page_token=Position(f"{SERVER}/shares?", "gamma").token())[0] == ["Äpfel", "ärger"]


def test_a_page_token_is_for_its_list_and_filter_only(filled: Backend) -> None:
    _, shares = page(filled, "shares", page_size=1)
    _, filtered = page(filled, "shares", page_size=1, filter="labels.all = yes")
    _, operations = page(filled, "operations", page_size=1)
    assert shares and filtered and operations
    for of, fields in [
        ("users", {"page_token": shares}),
        ("groups", {"page_token": shares}),
        ("servers", {"page_token": shares}),
        ("operations", {"page_token": shares}),
        ("backends", {"page_token": shares}),
        ("shares", {"page_token": operations}),
        ("shares", {"page_token": filtered}),
        ("shares", {"page_token": shares, "filter": "labels.all = yes"}),
        ("shares", {"page_token": shares, "parent": f"{BACKEND}/fileServers/zz"}),
    ]:
        found = refused(*listing(filled, of, **fields))
        assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID")


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ("", IDS["shares"]),
        ("  ", IDS["shares"]),
        ("state = READY", IDS["shares"]),
        ("state=READY", IDS["shares"]),
        ('state = "READY"', IDS["shares"]),
        ("state = CREATING", []),
        ("state = ready", []),
        ("labels.team = d", ["delta"]),
        ('labels.team = "d" AND state = READY', ["delta"]),
        ("labels.team = d AND labels.team = g", []),
        ("labels.none = d", []),
        ('labels.team = ""', []),
    ],
)
def test_filters(filled: Backend, filter: str, expected: list[str]) -> None:
    assert page(filled, "shares", filter=filter) == (expected, "")


@pytest.mark.parametrize("of", [*LISTS, "operations"])
@pytest.mark.parametrize(
    "filter", ["x", "name = a", "state != READY", "state = READY OR state = READY", "state = a b", "labels. = a", "state ="]
)
def test_filters_that_are_refused(filled: Backend, of: str, filter: str) -> None:
    found = refused(*listing(filled, of, filter=filter))
    assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    assert list(found.fields) == ["filter"]


def test_a_filter_that_fits_little_is_paged_all_the_same(filled: Backend) -> None:
    found, token = page(filled, "shares", page_size=1, filter='labels.all = "yes" AND labels.team = ä')
    assert found == ["Äpfel"]
    found, token = page(filled, "shares", page_size=1, filter='labels.all = "yes" AND labels.team = ä', page_token=token)
    assert (found, token) == (["ärger"], "")
    assert page(filled, "servers", filter="labels.team = b") == (["zz"], "")


def test_unfinished_ones_are_listed(backend: Backend) -> None:
    backend.ready()
    gate = backend.hold()
    operation = backend.create_share("Data")
    gate.reached()
    call, request = listing(backend, "shares", filter="state = CREATING")
    (share,) = call(request).shares
    assert (share.name, share.state) == (f"{SERVER}/shares/Data", common_pb2.RESOURCE_STATE_CREATING)
    gate.open()
    backend.done(operation, share_pb2.Share)


@pytest.mark.parametrize("of", ["shares", "users", "groups"])
def test_the_parent_must_be_there(filled: Backend, of: str) -> None:
    missing = f"{BACKEND}/fileServers/none"
    found = refused(*listing(filled, of, parent=missing))
    assert (found.code, found.reason, found.metadata) == (
        grpc.StatusCode.NOT_FOUND,
        "RESOURCE_NOT_FOUND",
        {"name": missing},
    )


@pytest.mark.parametrize("of", LISTS)
def test_what_is_of_another_backend_is_not_here(filled: Backend, of: str) -> None:
    for backend in ("other", "-", "B"):
        parent = LISTS[of][3].replace(BACKEND, f"backends/{backend}")
        found = refused(*listing(filled, of, parent=parent))
        assert (found.code, found.reason) == (grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND")
        assert found.metadata == {"name": parent}
        assert "which is b" in found.message


def test_operations_of_another_backend_are_not_here(filled: Backend) -> None:
    found = refused(*listing(filled, "operations", name="backends/other"))
    assert (found.code, found.fields) == (grpc.StatusCode.INVALID_ARGUMENT, {"name": "must be backends/b"})
    assert page(filled, "operations", name="") == page(filled, "operations")
