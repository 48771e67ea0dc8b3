"""The recorded answers of a real node, by id."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

Record = dict[str, Any]
_PLACE = Path(__file__).parents[2] / "data" / "pve"


@cache
def records(name: str) -> dict[str, Record]:
    """`lxc`, `errors`...: id to record."""
    return {record["id"]: record for record in json.loads((_PLACE / f"{name}.json").read_text())}


def record(id: str) -> Record:
    """`lxc-018`"""
    return records(id.partition("-")[0])[id]


def data(id: str) -> Any:
    """The `data` that was answered."""
    return record(id)["response"]["body"]["data"]
