"""Ids that others take, at once or at the last moment."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from services.core.domain.guest import GuestPlacement
from services.core.errors import (
    PreconditionFailed,
)
from services.core.steps import Claim
from tests.contract.lxc.trouble import (
    TroubledApi,
    assert_only_ours,
    assert_removes_to_nothing,
)
from tests.contract.lxc.world import (
    Bench,
    foreign,
    mutations,
    server,
)
from tests.fakes import MemoryClaims


def test_an_id_that_a_stranger_takes_at_the_last_moment(bench: Bench) -> None:
    class Racing(TroubledApi):
        def call(self, method, path, params=None, **more):  # type: ignore[no-untyped-def]
            if method == "POST" and path[-1] == "lxc" and params["vmid"] < 103:
                foreign(bench.fake, params["vmid"])
            return super().call(method, path, params, **more)

    bench.api = Racing(bench.api)
    bench.make()
    assert bench.vmid == 103
    assert_only_ours(bench, 100, 101, 102)
    assert_removes_to_nothing(bench, 100, 101, 102)


def test_an_id_that_was_asked_for_and_is_taken(bench: Bench) -> None:
    bench.server = server(GuestPlacement(vmid=200))
    foreign(bench.fake, 200)
    with pytest.raises(PreconditionFailed, match="200 is taken"):
        bench.make()
    assert bench.claims.rows == {} and mutations(bench.fake, 200) == []


def test_an_id_that_was_asked_for_and_is_taken_at_the_last_moment(bench: Bench) -> None:
    bench.server = server(GuestPlacement(vmid=200))

    class Racing(TroubledApi):
        def call(self, method, path, params=None, **more):  # type: ignore[no-untyped-def]
            if method == "POST" and path[-1] == "lxc":
                foreign(bench.fake, 200)
            return super().call(method, path, params, **more)

    bench.api = Racing(bench.api)
    with pytest.raises(PreconditionFailed, match="200 is taken"):
        bench.make()
    assert bench.claims.rows == {} and mutations(bench.fake, 200) == []


def test_ten_at_once_get_ten(bench: Bench) -> None:
    class SharedClaims(MemoryClaims):
        lock = threading.Lock()

        def put(self, claim: Claim) -> Claim:
            with self.lock:
                return super().put(claim)

    claims = SharedClaims()
    benches = [replace(bench, server=server(), claims=claims) for _ in range(10)]
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(Bench.make, benches))
    assert len({each.vmid for each in benches}) == len(bench.fake.cts) == 10
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(Bench.remove, benches))
    assert bench.fake.cts == [] and claims.rows == {}
