"""Addresses of containers, as they are wanted and as they come."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.core.errors import (
    HostUnreachable,
    OperationCancelled,
)
from services.lxc.known import addresses
from services.lxc.steps import AddressStep
from tests.contract.lxc.trouble import (
    TroubledApi,
    addressed,
)
from tests.contract.lxc.world import (
    NETWORK,
    Bench,
    with_lxc,
)


def test_a_container_without_address(bench: Bench) -> None:
    bench.ensure()
    addressed(bench, "169.254.3.4/16", "fe80::1/64")
    with pytest.raises(HostUnreachable, match="has not got its address"):
        AddressStep(bench.api, 0.2).ensure(bench.work())
    assert addresses(bench.claims, bench.server.uid) == ()
    bench.cancelled = lambda: True
    with pytest.raises(OperationCancelled):
        AddressStep(bench.api, 5).ensure(bench.work())


def test_an_address_that_comes_late(bench: Bench) -> None:
    bench.ensure()
    session, looks = bench.api, iter([None, [], [{"name": "eth0", "hwaddr": "", "inet": "10.99.0.30/24"}]])

    class Late(TroubledApi):
        def call(self, method, path, params=None, **more):  # type: ignore[no-untyped-def]
            return next(looks) if path[-1] == "interfaces" else super().call(method, path, params, **more)

    AddressStep(Late(session), 5).ensure(bench.work())
    assert addresses(bench.claims, bench.server.uid) == ("10.99.0.30",)


@pytest.mark.parametrize(
    ("v4", "v6", "given", "found"),
    [
        ("10.99.0.30/24", "none", ["10.99.0.30/24"], ["10.99.0.30"]),
        ("10.99.0.30/24", "none", ["10.99.0.31/24"], []),
        ("dhcp", "none", ["10.99.0.77/24"], ["10.99.0.77"]),
        ("dhcp", "none", ["fd00::5/64"], []),
        ("dhcp", "auto", ["10.99.0.77/24"], ["10.99.0.77"]),
        ("dhcp", "auto", ["fd00::5/64", "10.99.0.77/24", "fe80::1/64"], ["10.99.0.77", "fd00::5"]),
        ("dhcp", "dhcp", ["10.99.0.77/24"], []),
        ("dhcp", "fd00::5/64", ["10.99.0.77/24", "fd00::6/64"], []),
        ("dhcp", "fd00::5/64", ["10.99.0.77/24", "fd00:0::5/64"], ["10.99.0.77", "fd00::5"]),
        ("none", "auto", [], []),
        ("none", "auto", ["fd00::5/64"], ["fd00::5"]),
        ("none", "dhcp", ["fd00::5/64"], ["fd00::5"]),
    ],
)
def test_addresses_as_they_are_wanted(bench: Bench, v4: str, v6: str, given: list[str], found: list[str]) -> None:
    bench.server = with_lxc(bench.server, network=replace(NETWORK, ipv4_address=v4, ipv6_address=v6))
    bench.ensure()
    addressed(bench, *given)
    if found:
        AddressStep(bench.api, 0.1).ensure(bench.work())
    else:
        with pytest.raises(HostUnreachable):
            AddressStep(bench.api, 0.1).ensure(bench.work())
    assert list(addresses(bench.claims, bench.server.uid)) == found


def test_only_the_loopback_has_one(bench: Bench) -> None:
    bench.ensure()
    addressed(bench, "10.99.0.30/24", name="lo")
    with pytest.raises(HostUnreachable):
        AddressStep(bench.api, 0.1).ensure(bench.work())
