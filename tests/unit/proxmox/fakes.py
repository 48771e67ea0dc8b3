"""An `Api` that answers from a script, and notes what it was asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.proxmox.session import TIMEOUT, Value


@dataclass
class ScriptedApi:
    """`answer` gets method, path and parameters; what it returns is the `data`, what it raises is raised."""

    answer: Callable[[str, str, Mapping[str, Value]], Any]
    asked: list[tuple[str, str, dict[str, Value]]] = field(default_factory=list)

    def call(
        self,
        method: str,
        path: Sequence[str | int],
        params: Mapping[str, Value] | None = None,
        *,
        subject: str = "",
        needs: str = "",
        timeout: float = TIMEOUT,
    ) -> Any:
        where = "/" + "/".join(map(str, path))
        self.asked.append((method, where, dict(params or {})))
        return self.answer(method, where, params or {})
