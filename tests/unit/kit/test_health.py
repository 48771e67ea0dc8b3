"""Checks: failing, hanging, recovering."""

from __future__ import annotations

import threading

from services.kit.health import Monitor


def test_all_well_and_failing() -> None:
    seen: list[bool] = []
    ill = threading.Event()

    def check() -> None:
        if ill.is_set():
            raise RuntimeError

    monitor = Monitor({"a": check, "b": lambda: None}, seen.append)
    monitor.look()
    ill.set()
    monitor.look()
    ill.clear()
    monitor.look()
    assert seen == [True, False, True]


def test_no_checks_means_well() -> None:
    seen: list[bool] = []
    Monitor({}, seen.append).look()
    assert seen == [True]


def test_a_hanging_check_fails_and_is_not_started_again() -> None:
    seen: list[bool] = []
    release, runs = threading.Event(), []

    def check() -> None:
        runs.append(1)
        release.wait(30)

    monitor = Monitor({"a": check}, seen.append, timeout=0.05)
    monitor.look()
    monitor.look()
    assert (seen, len(runs)) == ([False, False], 1)
    release.set()
    monitor.timeout = 10
    monitor.look()  # the run that hung ends now
    monitor.look()
    assert seen[-1]
    assert len(runs) >= 2


def test_started_monitor_looks_again() -> None:
    twice = threading.Event()
    seen: list[bool] = []

    def report(serving: bool) -> None:
        seen.append(serving)
        if len(seen) >= 3:
            twice.set()

    monitor = Monitor({}, report, ttl=0.01)
    monitor.start()
    assert twice.wait(10)
    monitor.stop()
