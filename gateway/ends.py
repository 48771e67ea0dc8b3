"""How a call to a backend ended, told truly.

grpc.aio has a fault (grpc/grpc#36066, open in 1.85): when a backend ends a call while we still write requests, the failed
write replaces the status that the backend sent by INTERNAL "Internal error from Core", details and trailers lost. Unary
requests are not touched. For streams of requests the first status is therefore kept when it comes, and one that comes after
that INTERNAL is waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import grpc

from gateway.backends import Reply

T = TypeVar("T")
_FALSE = "Internal error from Core"
#: The status of the backend is on its way when a write fails; where there is none, the caller gets the INTERNAL.
_WAIT = 1.0


class Ends:
    """The statuses that a call reports, in their order."""

    def __init__(self, call: Any, wait: float = _WAIT) -> None:
        self._wait = wait
        self._seen: list[Reply] = []
        self._true = asyncio.Event()
        call.add_done_callback(self._note)

    async def reply(self, response: bytes | None) -> Reply:
        """The true one; the call must be done."""
        try:
            async with asyncio.timeout(self._wait):
                await self._true.wait()
        except TimeoutError:
            seen = self._seen
        else:
            seen = [r for r in self._seen if r.details != _FALSE]
        first = seen[0]
        answer = response if first.code is grpc.StatusCode.OK else None
        return Reply(first.code, first.details, first.initial, first.trailing, answer)

    def _note(self, call: Any) -> None:
        initial, trailing = _now(call.initial_metadata()), _now(call.trailing_metadata())
        seen = Reply(_now(call.code()), _now(call.details()) or "", tuple(initial or ()), tuple(trailing or ()), None)
        self._seen.append(seen)
        if seen.details != _FALSE:
            self._true.set()


def _now(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that has nothing to wait for, as those of a finished call."""
    try:
        coroutine.send(None)
    except StopIteration as e:
        result: T = e.value
        return result
    coroutine.close()
    raise RuntimeError("the call is not finished")
