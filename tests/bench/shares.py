"""Making shares, against `net conf addshare`, which does no more than write a section into the registry."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pvesmb

from tests.bench.measuring import Row, medians_ms, ratio, seconds
from tests.e2e.native import NativeDeployment
from tests.e2e.words import Server

CLIENTS = 16


def create(deployment: NativeDeployment, times: int) -> tuple[Row, float]:
    """One after the other; also how many milliseconds a confirmed create takes."""
    server = deployment.new_server()
    taken = medians_ms(
        times, {"ours": partial(_ours, deployment, server), "by hand": partial(_by_hand, deployment, server)}
    )
    row = ratio(
        "create a share through the gateway, call to done and confirmed, p50, over one `net conf addshare`",
        3, taken["ours"], taken["by hand"],
    )  # fmt: skip
    return row, taken["ours"]


def create_many(deployment: NativeDeployment, count: int) -> Row:
    """Each on a file server of its own that is empty at first. By hand half of them before ours, and half after."""
    ours, theirs = deployment.new_server(), deployment.new_server()

    def by_hand(first: int) -> None:
        for i in range(first, first + count // 2):
            _by_hand(deployment, theirs, i)

    def through_the_gateway() -> None:
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(partial(_ours, deployment, ours), range(count)))

    taken = seconds(lambda: by_hand(0))
    together = seconds(through_the_gateway)
    taken += seconds(lambda: by_hand(count // 2))
    made = deployment.tool(ours, "net", "-s", deployment.conf(ours), "conf", "listshares").stdout.split()
    assert len([name for name in made if name.startswith("s")]) == count, "not all of them are there"
    what = f"{count:,} shares by {CLIENTS} clients at once, over as many `net conf addshare` in sequence"
    return ratio(what, 0.5, together, taken, "s")


def _ours(deployment: NativeDeployment, server: Server, i: int) -> pvesmb.Share:
    return deployment.client.shares.create(server.name, f"s{i}").result(timeout=120)


def _by_hand(deployment: NativeDeployment, server: Server, i: int) -> None:
    command = ["net", "-s", deployment.conf(server), "conf", "addshare", f"hand{i}", "/tmp"]
    subprocess.run(command, check=True, capture_output=True)
