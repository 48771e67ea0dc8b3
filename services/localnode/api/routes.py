"""The table of calls: which method on which path takes which parameters, and how a request finds its call."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from services.localnode.api import formats
from services.localnode.api.permissions import Rights
from services.localnode.api.refusal import Refusal, bad_parameters, failed, not_implemented
from services.localnode.api.schema import Table, Value, check

N = TypeVar("N")


@dataclass(frozen=True)
class Request:
    """What came in: the path without its base, decoded, and the parameters as sent."""

    method: str
    path: str
    given: Mapping[str, str | list[str]]
    #: The uploaded file, already on disk.
    upload: Path | None = None


@dataclass(frozen=True)
class Call:
    """A request that was looked up and whose parameters were checked."""

    rights: Rights
    where: Mapping[str, str]
    values: Mapping[str, Value]
    upload: Path | None = None

    @property
    def vmid(self) -> int:
        return int(self.where["vmid"])

    def text(self, name: str, default: str = "") -> str:
        return str(self.values.get(name, default))

    def number(self, name: str, default: int = 0) -> int:
        return int(str(self.values.get(name, default)))

    def flag(self, name: str, default: bool = False) -> bool:
        return bool(self.values.get(name, default))


@dataclass(frozen=True)
class Route(Generic[N]):
    """One call. `{x}` in the path is a part of its own, `{x*}` the rest."""

    method: str
    path: str
    parameters: Table
    handle: Callable[[N, Call], Any]

    def match(self, path: str) -> dict[str, str] | None:
        found = _pattern(self.path).fullmatch(path)
        return found.groupdict() if found else None


class Routes(Generic[N]):
    """The table, asked by request."""

    def __init__(self, table: Sequence[Route[N]], node: str) -> None:
        self._table = table
        self._node = node

    def find(self, request: Request) -> tuple[Route[N], dict[str, str]]:
        """The call of a request and the parts of its path; a node answers 501 for what it does not know."""
        for route in self._table:
            where = route.match(request.path) if route.method == request.method else None
            if where is not None:
                return route, where
        raise self._unknown(request)

    def check(self, route: Route[N], where: Mapping[str, str], given: Mapping[str, str | list[str]]) -> dict[str, Value]:
        """The typed parameters. A node looks at the parts of the path too, and at which node is meant first."""
        if where.get("node", self._node) != self._node:
            raise no_such_node(where["node"])
        wrong: dict[str, str] = {}
        if "vmid" in where and (text := formats.vmid(where["vmid"])) is not None:
            wrong["vmid"] = f"invalid format - {text}\n"
        if "tokenid" in where and not re.fullmatch(r"[A-Za-z][A-Za-z0-9._-]+", where["tokenid"]):
            wrong["tokenid"] = "value does not match the regex pattern"
        try:
            values = check(route.parameters, given)
        except Refusal as refusal:
            raise bad_parameters({**refusal.errors, **wrong}) from None
        if wrong:
            raise bad_parameters(wrong)
        return values

    def _unknown(self, request: Request) -> Refusal:
        return not_implemented(request.method, request.path)


def no_such_node(name: str) -> Refusal:
    text = f"hostname lookup '{name}' failed - failed to get address info for: {name}: "
    return failed(text + "Temporary failure in name resolution")


def _pattern(path: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+\*?)\}", path)
    out = ""
    for index, part in enumerate(parts):
        if index % 2 == 0:
            out += re.escape(part)
        else:
            out += f"(?P<{part.rstrip('*')}>{'.+' if part.endswith('*') else '[^/]+'})"
    return re.compile(out)
