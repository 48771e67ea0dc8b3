"""What the store promises, on SQLite and on PostgreSQL."""

from __future__ import annotations

import sqlite3
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine

from services.core.claims import StoredClaims
from services.core.domain.account import UserSpec
from services.core.domain.file_server import FileServerSpec
from services.core.domain.names import Kind, Name
from services.core.domain.operation import Operation, OperationState, Verb
from services.core.domain.resource import Condition, Resource, Severity, State
from services.core.domain.share import AccessLevel, AccessRule, PrincipalKind, ShareSpec, VolumeStorage
from services.core.errors import AlreadyExists, NotFound, PreconditionFailed, StorageFull
from services.core.steps import Claim
from services.core.store import Store
from services.core.store.migrate import HEAD, migrate, upgrade
from services.core.store.tables import metadata
from services.core.worker import batch_length

SERVER = Name("b", "fs")


def resource(name: Name, spec: object) -> Resource[object]:
    return Resource(name, str(uuid.uuid4()), spec, State.CREATING, 1, 0, 10.0, 10.0, {"path": "/x"})


def operation(target: Name, verb: Verb = Verb.CREATE) -> Operation:
    return Operation(uuid.uuid4().hex, target, verb, OperationState.PENDING, 5.0)


def add_server(store: Store, name: Name = SERVER) -> None:
    with store.transaction() as tx:
        tx.insert(resource(name, FileServerSpec()))


def test_a_resource_comes_back_as_it_was_written(store: Store) -> None:
    rule = AccessRule(PrincipalKind.GROUP, "staff", AccessLevel.READ)
    spec = ShareSpec(comment="Ünïcode", storage=VolumeStorage(2**30), access=(rule,), smb_options={"a": "b"})
    condition = Condition("Drifted", Severity.ERROR, "DRIFTED", "message", "action", 3.5)
    row = replace(resource(SERVER.child(Kind.SHARE, "Müller"), spec), conditions=(condition,))
    with store.transaction() as tx:
        tx.insert(row, "op")
    with store.snapshot() as tx:
        assert tx.get(row.name) == row
        assert tx.by_uid(row.uid) == row
        assert tx.busy_with(row.name) == "op"


def test_names_that_differ_by_case_only_collide_but_do_not_find_each_other(store: Store) -> None:
    with store.transaction() as tx:
        tx.insert(resource(SERVER.child(Kind.SHARE, "Data"), ShareSpec()))
    with store.transaction() as tx, pytest.raises(AlreadyExists):
        tx.insert(resource(SERVER.child(Kind.SHARE, "dATA"), ShareSpec()))
    with store.snapshot() as tx, pytest.raises(NotFound):
        tx.get(SERVER.child(Kind.SHARE, "data"))


def test_a_block_that_raises_changes_nothing(store: Store) -> None:
    with pytest.raises(RuntimeError), store.transaction() as tx:
        tx.insert(resource(SERVER, FileServerSpec()))
        raise RuntimeError
    with store.snapshot() as tx:
        assert tx.servers() == []


def test_concurrent_counting_loses_nothing(store: Store) -> None:
    numbers: list[int] = []

    def count() -> None:
        for _ in range(20):
            with store.transaction() as tx:
                numbers.append(tx.next_number("n", 7))

    with store.transaction() as tx:
        numbers.append(tx.next_number("n", 7))
    threads = [threading.Thread(target=count) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(7, 7 + 121))


def test_pages_follow_each_other_by_key(store: Store) -> None:
    ids = ["b", "Ä", "a", "C", "z z", "Z9"]
    with store.transaction() as tx:
        tx.insert(resource(SERVER, FileServerSpec()))
        for id in ids:
            tx.insert(resource(SERVER.child(Kind.SHARE, id), ShareSpec()))
    seen: list[str] = []
    after = ""
    with store.snapshot() as tx:
        while rows := tx.page(Kind.SHARE, str(SERVER), after=after, limit=2):
            seen += [row.name.id for row in rows]
            after = rows[-1].name.key
    assert seen == sorted(ids, key=str.casefold)


def test_contents_leave_out_what_is_being_deleted(store: Store) -> None:
    keep, gone = SERVER.child(Kind.USER, "keep"), SERVER.child(Kind.USER, "gone")
    with store.transaction() as tx:
        tx.insert(resource(keep, UserSpec()))
        tx.insert(replace(resource(gone, UserSpec()), state=State.DELETING))
    with store.snapshot() as tx:
        assert [user.name for user in tx.contents(SERVER).users] == [keep]
        assert len(tx.members(SERVER, Kind.USER)) == 2


def test_work_is_leased_once_in_order_and_batched(store: Store) -> None:
    add_server(store)
    ops = [operation(SERVER.child(Kind.SHARE, f"s{i}")) for i in range(3)]
    last = operation(SERVER.child(Kind.SHARE, "s0"), Verb.DELETE)
    with store.transaction() as tx:
        for op in [*ops, last]:
            tx.add_operation(op)
    with store.transaction() as tx:
        taken = tx.lease("w1", 100.0, 30.0, batch_length)
        assert [op.id for op in taken] == [op.id for op in ops]
        assert all(op.state is OperationState.RUNNING and op.attempts == 1 for op in taken)
    with store.transaction() as tx:
        assert tx.lease("w2", 110.0, 30.0, batch_length) == [], "one worker for a file server at a time"
        assert tx.renew([op.id for op in ops], "w1", 200.0)
    with store.transaction() as tx:
        again = tx.lease("w2", 201.0, 30.0, batch_length)
        assert [op.id for op in again] == [op.id for op in ops], "a lease that ran out is taken over"
        assert not tx.renew([op.id for op in ops], "w1", 300.0), "and its former holder is told"
        assert [op.attempts for op in again] == [2, 2, 2]


def test_different_file_servers_are_leased_in_parallel(store: Store) -> None:
    for server in (SERVER, Name("b", "fs2")):
        add_server(store, server)
        with store.transaction() as tx:
            tx.add_operation(operation(server))
    with store.transaction() as tx:
        first = tx.lease("w1", 1.0, 30.0, batch_length)
        second = tx.lease("w2", 1.0, 30.0, batch_length)
        assert {op.target for op in [*first, *second]} == {SERVER, Name("b", "fs2")}


def test_a_cancel_is_not_overwritten_by_progress(store: Store) -> None:
    op = operation(SERVER)
    with store.transaction() as tx:
        tx.add_operation(op)
        tx.request_cancel(op.id)
        tx.save_operations([replace(op, attempts=3)])
    with store.snapshot() as tx:
        found = tx.operation(op.id)
        assert found is not None
        assert found.cancel_requested
        assert found.attempts == 3
        assert tx.cancels([op.id]) == {op.id}


def test_claims_belong_to_one_owner(store: Store) -> None:
    claim = Claim("directory", "/srv/x", "me", {"existed": True})
    with store.transaction() as tx:
        assert tx.put_claim(claim) == claim
        assert tx.put_claim(replace(claim, facts={})) == claim, "the first facts win"
    with store.transaction() as tx, pytest.raises(PreconditionFailed):
        tx.put_claim(replace(claim, owner="other"))
    with store.transaction() as tx:
        tx.release_claim("directory", "/srv/x", "other")
        assert tx.claims_of("me") == [claim]
        tx.release_claim("directory", "/srv/x", "me")
        assert tx.claim("directory", "/srv/x") is None


def test_claims_are_put_together(store: Store) -> None:
    stored = StoredClaims(store)
    mine = [Claim("directory", f"/srv/{name}", "me") for name in "cab"]
    taken = Claim("directory", "/srv/a", "other", {"existed": True})
    stored.put(taken)
    assert stored.put(replace(taken, facts={})) == taken, "the first facts win"
    again = Claim("directory", "/srv/c", "a third")
    first, second, third, fourth = stored.put_each([*mine, again])
    assert (first, third) == (mine[0], mine[2])
    assert isinstance(second, PreconditionFailed) and second.metadata["value"] == "/srv/a"
    assert isinstance(fourth, PreconditionFailed), "two of one batch want the same"
    with pytest.raises(PreconditionFailed):
        stored.put(replace(taken, owner="me"))
    assert list(stored.of("me")) == [mine[2], mine[0]]


def test_replicas_that_want_the_same_do_not_wait_for_each_other(store: Store, store_url: str) -> None:
    """Put in the order in which they are asked for, these would be a deadlock on PostgreSQL."""
    other = store if store.embedded else Store(store_url)
    for i in range(10):
        paths = [f"/srv/{i}/{k}" for k in range(40)]
        start = threading.Barrier(2)

        def claim(replica: Store, owner: str, paths: list[str], start: threading.Barrier = start) -> int:
            start.wait()
            answers = StoredClaims(replica).put_each([Claim("directory", path, owner) for path in paths])
            return sum(isinstance(answer, Claim) for answer in answers)

        with ThreadPoolExecutor(2) as pool:
            one, two = pool.submit(claim, store, "one", paths), pool.submit(claim, other, "two", paths[::-1])
            assert one.result() + two.result() == len(paths)
    if other is not store:
        other.close()


def test_writers_of_one_process_wait_for_the_lock_and_not_for_sqlite(tmp_path: Path) -> None:
    """SQLite's waiting would be seen as a statement that is under way."""
    store = Store(f"sqlite:///{tmp_path}/store.db")
    begun: list[str] = []

    def write() -> None:
        with store.transaction():
            begun.append("second")

    with store.transaction():
        second = threading.Thread(target=write)
        second.start()
        second.join(0.3)
        assert "Current Checked out connections: 1" in store._engine.pool.status(), "the second waits without one"
        assert begun == []
    second.join()
    assert begun == ["second"]
    store.close()


def test_several_may_make_the_tables_at_once(store_url: str) -> None:
    if store_url.startswith("sqlite"):
        return  # belongs to one process

    def begin(_: int) -> None:
        Store(store_url).close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(begin, range(4)))
    opened = Store(store_url)
    with opened.transaction() as tx:
        assert tx.servers() == []
    opened.close()


def test_requests_expire(store: Store) -> None:
    with store.transaction() as tx:
        tx.remember_request("r", "print", "op", expires=100.0)
        assert tx.request("r", 99.0) == ("print", "op")
        assert tx.request("r", 100.0) is None
        tx.purge(ended_before=0.0, now=100.0)
        tx.remember_request("r", "other", "op2", expires=300.0)
        assert tx.request("r", 200.0) == ("other", "op2")


def test_old_operations_are_purged_and_running_ones_are_not(store: Store) -> None:
    old, running = operation(SERVER), operation(SERVER)
    with store.transaction() as tx:
        tx.add_operation(replace(old, state=OperationState.DONE, end_time=10.0))
        tx.add_operation(running)
        tx.purge(ended_before=11.0, now=11.0)
        assert tx.operation(old.id) is None
        assert tx.operation(running.id) is not None


@pytest.mark.parametrize("make", [upgrade, migrate])
def test_the_migrations_make_exactly_the_tables(store_url: str, make: Callable[[Connection], None]) -> None:
    """One after the other, and all at once in an empty database."""
    engine = create_engine(store_url)
    with engine.begin() as connection:
        make(connection)
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, metadata) == []
        assert context.get_current_revision() == HEAD
    engine.dispose()
    Store(store_url).close()


def test_opening_again_finds_everything(store_url: str) -> None:
    first = Store(store_url)
    add_server(first)
    first.close()
    second = Store(store_url)
    with second.snapshot() as tx:
        assert [server.name for server in tx.servers()] == [SERVER]
    second.close()


def test_the_embedded_store_belongs_to_one_process(tmp_path: Path) -> None:
    first = Store(f"sqlite:///{tmp_path}/store.db")
    with pytest.raises(PreconditionFailed, match="in use"):
        Store(f"sqlite:///{tmp_path}/store.db")
    first.close()
    Store(f"sqlite:///{tmp_path}/store.db").close()


def test_the_embedded_store_is_durable_and_private(tmp_path: Path) -> None:
    opened = Store(f"sqlite:///{tmp_path}/store.db")
    with opened.snapshot() as tx:
        raw = tx._c.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        assert raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert raw.execute("PRAGMA synchronous").fetchone() == (2,)
        assert raw.execute("PRAGMA secure_delete").fetchone() == (1,)
    opened.close()
    assert (tmp_path / "store.db").stat().st_mode & 0o777 == 0o600


def test_readers_see_one_state(store: Store) -> None:
    add_server(store)
    user = SERVER.child(Kind.USER, "u")
    with store.snapshot() as reader:
        assert reader.members(SERVER, Kind.USER) == []
        with store.transaction() as tx:
            tx.insert(resource(user, UserSpec()))
        assert reader.members(SERVER, Kind.USER) == []


def test_the_first_number_can_be_asked_for_by_two_at_once(store: Store) -> None:
    begun, numbers = threading.Barrier(2), []

    def count() -> None:
        begun.wait(30)
        with store.transaction() as tx:
            numbers.append(tx.next_number("new", 7))

    threads = [threading.Thread(target=count) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == [7, 8]


def test_a_store_belongs_to_one_backend(store: Store) -> None:
    with store.transaction() as tx:
        tx.belong_to("a")
        tx.belong_to("a")
    with store.transaction() as tx, pytest.raises(PreconditionFailed, match="belongs to the backend 'a'"):
        tx.belong_to("b")


def test_claims_below_a_path(store: Store) -> None:
    with store.transaction() as tx:
        for path in ("/d/a", "/d/a/b", "/d/a%", "/d/ab"):
            tx.put_claim(Claim("directory", path, path))
        assert [claim.value for claim in tx.claims_below("directory", "/d/a")] == ["/d/a/b"]


def test_a_full_disk_is_said_and_changes_nothing(tmp_path: Path) -> None:
    opened = Store(f"sqlite:///{tmp_path}/store.db")
    add_server(opened)
    with opened.snapshot() as tx:
        pages = tx._c.exec_driver_sql("PRAGMA page_count").scalar_one()
    with pytest.raises(StorageFull), opened.transaction() as tx:
        tx._c.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        tx.insert(resource(SERVER.child(Kind.SHARE, "big"), ShareSpec(smb_options={str(i): "x" * 1000 for i in range(60)})))
    with opened.snapshot() as tx:
        assert tx.members(SERVER, Kind.SHARE) == []
    opened.close()
