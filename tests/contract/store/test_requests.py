"""Repetitions of a request that reach several replicas at once, on both databases."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from services.core.control import Call, Control
from services.core.domain.file_server import FileServerSpec
from services.core.domain.names import Kind, Name
from services.core.domain.operation import Operation
from services.core.domain.resource import Resource, State
from services.core.domain.share import ShareSpec
from services.core.runs import Tools
from services.core.store import Store
from services.core.worker import Worker
from tests.fakes import FakeClock, FakeMode, FakeTelemetry, FakeVault

SERVER = Name("b", "fs")
DATA = SERVER.child(Kind.SHARE, "Data")


def replica(store: Store) -> Control:
    mode, vault, clock = FakeMode(), FakeVault(), FakeClock()
    return Control(store, mode, vault, clock, Worker(Tools(store, mode, vault, clock, FakeTelemetry(), "w")), "b")


@pytest.mark.parametrize("method", ["create", "update", "delete"])
def test_they_are_one_operation(store: Store, method: str) -> None:
    with store.transaction() as tx:
        tx.insert(Resource(SERVER, "u1", FileServerSpec(), State.READY, 1, 1, 1.0, 1.0))
        if method != "create":
            tx.insert(Resource(DATA, "u2", ShareSpec(), State.READY, 1, 1, 1.0, 1.0, {"path": "/x"}))
    barrier, answers, errors = threading.Barrier(6), [], []

    def send(control: Control, call: Call) -> None:
        barrier.wait(30)
        try:
            if method == "create":
                answers.append(control.create_share(call, SERVER, "Data", ShareSpec()))
            elif method == "update":
                answers.append(control.update_share(call, DATA, lambda old: replace(old.spec, comment="new")))
            else:
                answers.append(control.delete_share(call, DATA, delete_data=False))
        except Exception as error:
            errors.append(error)

    call = Call(request_id="0b9e5b5c-6d6e-4f0e-8f5c-2f6f3f5d8a11", fingerprint="f")
    threads = [threading.Thread(target=send, args=(replica(store), call)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(answers) == 6
    assert len({answer.id for answer in answers if isinstance(answer, Operation)}) == 1
