"""Which of the statuses that grpc.aio reports is believed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import grpc
import pytest

from gateway.ends import Ends

_REAL = (grpc.StatusCode.NOT_FOUND, "gone", (("k", "v"),))
_FALSE = (grpc.StatusCode.INTERNAL, "Internal error from Core", ())
_Status = tuple[grpc.StatusCode, str, tuple[tuple[str, str], ...]]


@dataclass
class _Call:
    """A finished call, whose status may be replaced, as that of grpc.aio is."""

    status: _Status = _FALSE
    callback: Callable[[_Call], None] = field(default=lambda call: None)

    def add_done_callback(self, callback: Callable[[_Call], None]) -> None:
        self.callback = callback

    def report(self, status: _Status) -> None:
        self.status = status
        self.callback(self)

    async def code(self) -> grpc.StatusCode:
        return self.status[0]

    async def details(self) -> str:
        return self.status[1]

    async def initial_metadata(self) -> None:
        return None

    async def trailing_metadata(self) -> tuple[tuple[str, str], ...]:
        return self.status[2]


@pytest.mark.parametrize("order", [[_REAL], [_REAL, _FALSE], [_FALSE, _REAL]])
async def test_the_status_of_the_backend_counts(order: list[_Status]) -> None:
    call = _Call()
    ends = Ends(call, wait=30)
    for status in order:
        call.report(status)
    answer = await ends.reply(b"x")
    assert (answer.code, answer.details, answer.trailing, answer.response) == (*_REAL, None)


async def test_where_there_is_no_other_the_false_one_is_told() -> None:
    call = _Call()
    ends = Ends(call, wait=0.01)
    call.report(_FALSE)
    assert (await ends.reply(None)).code is grpc.StatusCode.INTERNAL


async def test_a_response_comes_with_ok_only() -> None:
    call = _Call()
    ends = Ends(call)
    call.report((grpc.StatusCode.OK, "", ()))
    assert (await ends.reply(b"x")).response == b"x"
