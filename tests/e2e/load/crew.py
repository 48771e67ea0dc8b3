"""`python -m tests.e2e.load.crew`: some of the clients, each in a thread, with a connection of this process.

Reads from stdin what to do, writes to stdout what came of it, both as JSON.
"""

from __future__ import annotations

import base64
import json
import random
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

import pvesmb

from tests.e2e.load.common import Common, Event
from tests.e2e.load.model import Own
from tests.e2e.load.notes import Tally


@dataclass(frozen=True)
class Orders:
    """Clients with these numbers act for so long on these file servers, in turn."""

    target: str
    servers: Sequence[str]
    numbers: Sequence[int]
    seed: int
    seconds: float


@dataclass
class Report:
    """What one client has seen. `left` are its resources at the end: kind, serialised message, number of the password."""

    number: int
    calls: dict[str, int]
    errors: dict[str, int]
    wrong: list[str]
    events: list[Event] = field(default_factory=list)
    left: list[tuple[str, str, int]] = field(default_factory=list)

    @staticmethod
    def from_json(data: dict[str, Any]) -> Report:
        events = [Event(**event) for event in data["events"]]
        return Report(**{**data, "events": events, "left": [(k, m, n) for k, m, n in data["left"]]})


def name_of(number: int) -> str:
    return f"c{number:02}"


def play(orders: Orders, number: int) -> Report:
    """One client's time."""
    chance, tally, me = random.Random(f"{orders.seed}/{number}"), Tally(), name_of(number)
    server = orders.servers[number % len(orders.servers)]
    with pvesmb.Client(orders.target) as client:
        own, common = Own(client, server, me, chance, tally), Common(client, server, me, chance, tally)
        end = time.monotonic() + orders.seconds
        while time.monotonic() < end and not tally.wrong:
            (common if chance.random() < 0.15 else own).act()
    left = [
        (known.kind, base64.b64encode(known.message.SerializeToString()).decode(), known.password)
        for known in own.known.values()
    ]
    return Report(number, dict(tally.calls), dict(tally.errors), tally.wrong, common.events, left)


def main() -> int:
    orders = Orders(**json.load(sys.stdin))
    with ThreadPoolExecutor(len(orders.numbers)) as threads:
        reports = list(threads.map(lambda number: play(orders, number), orders.numbers))
    json.dump([asdict(report) for report in reports], sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
