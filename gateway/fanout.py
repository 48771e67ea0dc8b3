"""Lists over all backends: `backends/-/…`.

All backends are asked at once and their answers put one after the other in the order of their names, so that a page holds
what a single list would. A page token remembers the backend and its own token; backends that come later are asked again
with the next page. Nothing is lost or doubled while the backends stay as they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from logging import getLogger
from typing import Any

import grpc
from google.protobuf.message_factory import GetMessageClass
from google.rpc import status_pb2

from gateway.backends import Backend, Backends, Metadata, Reply
from gateway.failures import DETAILS_KEY
from gateway.router import EVERY, Method, parse
from services.core.errors import InvalidField, NotFound, PvesmbError
from services.kit import pages
from services.kit.status import from_status

#: Longest wait for one backend, so that one that hangs does not hold up the others; less when the caller has less time.
_DEADLINE = 10.0
_SHARE_OF_TIME = 0.8
_log = getLogger(__name__)


@dataclass
class _Cursor:
    """Where a page begins: at this backend (empty: the first), with this token of its own."""

    backend: str = ""
    token: str = ""


@dataclass
class _Question:
    """One request for a page, taken apart."""

    method: Method
    request: Any
    size: int
    cursor: _Cursor
    timeout: float
    metadata: Metadata

    @property
    def parent(self) -> str:
        return str(getattr(self.request, self.method.field))

    def token_of(self, backend: str) -> str:
        """The backend's own token at the begin of this page."""
        return self.cursor.token if backend == self.cursor.backend else ""

    @property
    def items_field(self) -> str:
        return next(f.name for f in self.method.output.fields if f.is_repeated and f.message_type is not None)


@dataclass
class _Page:
    """What one backend answered: a list response, None where it has no such parent, or that it could not be asked."""

    backend: Backend
    response: Any = None
    unreachable: bool = False
    error: PvesmbError | None = None


@dataclass
class FanOut:
    """Answers wildcard lists."""

    backends: Backends
    deadline: float = _DEADLINE

    async def __call__(self, method: Method, request: bytes, timeout: float | None, metadata: Metadata) -> bytes:
        question = self._question(method, request, timeout, metadata)
        self.backends.refresh_if_old()
        start = f"{question.cursor.backend}/"
        asked = [b for b in self.backends.all() if not question.cursor.backend or f"{b.id}/" >= start]
        answers = await asyncio.gather(*(self._ask(question, b, question.size) for b in asked))
        for page in answers:
            if page.error is not None:
                raise page.error
        below_backend = question.parent != f"backends/{EVERY}"
        if (
            below_backend
            and not question.cursor.backend
            and not any(p.response is not None or p.unreachable for p in answers)
        ):
            raise NotFound.of(question.parent)
        return bytes((await self._merge(question, answers)).SerializeToString())

    def _question(self, method: Method, request: bytes, timeout: float | None, metadata: Metadata) -> _Question:
        message = parse(method, request)
        size = pages.page_size(message.page_size)
        parent = getattr(message, method.field)
        if EVERY in parent.split("/")[2:]:
            raise InvalidField.of(method.field, "only the backend may be -")
        wait = min(self.deadline, timeout * _SHARE_OF_TIME) if timeout is not None else self.deadline
        cursor = _decode(message.page_token, _scope(method, message))
        return _Question(method, message, size, cursor, wait, metadata)

    async def _ask(self, question: _Question, backend: Backend, size: int) -> _Page:
        request = type(question.request)()
        request.CopyFrom(question.request)
        setattr(request, question.method.field, question.parent.replace(f"/{EVERY}", f"/{backend.id}", 1))
        request.page_size = size
        request.page_token = question.token_of(backend.id)
        raw = request.SerializeToString()
        answer = await backend.unary(question.method.path, raw, timeout=question.timeout, metadata=question.metadata)
        if answer.code is grpc.StatusCode.OK and answer.response is not None:
            response = GetMessageClass(question.method.output)()
            response.ParseFromString(answer.response)
            return _Page(backend, response)
        return self._failed(backend, answer)

    def _failed(self, backend: Backend, answer: Reply) -> _Page:
        """Faults of the request are the caller's; faults of the backend make it unreachable."""
        error = _error(answer)
        if answer.code is grpc.StatusCode.NOT_FOUND:
            return _Page(backend)
        if answer.code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.PERMISSION_DENIED) and error is not None:
            return _Page(backend, error=error)
        _log.warning(
            "backend left out of a list", extra={"backend": backend.id, "code": answer.code.name, "details": answer.details}
        )
        return _Page(backend, unreachable=True)

    async def _merge(self, question: _Question, answers: Sequence[_Page]) -> Any:
        merged: Any = GetMessageClass(question.method.output)()
        items, scope = getattr(merged, question.items_field), _scope(question.method, question.request)
        merged.unreachable.extend(f"backends/{page.backend.id}" for page in answers if page.unreachable)
        for page in answers:
            if page.response is None:
                continue
            id, room = page.backend.id, question.size - len(items)
            if len(getattr(page.response, question.items_field)) > room > 0:
                page = await self._ask(question, page.backend, room)  # only the backend can say where its page ends
                if page.unreachable:
                    merged.unreachable.append(f"backends/{id}")
            if page.response is None or room == 0:
                if page.response is None or page.response.next_page_token or getattr(page.response, question.items_field):
                    merged.next_page_token = _encode(_Cursor(id, question.token_of(id)), scope)
                    break
                continue
            items.extend(getattr(page.response, question.items_field))
            if page.response.next_page_token:
                merged.next_page_token = _encode(_Cursor(id, page.response.next_page_token), scope)
                break
        return merged


def _error(answer: Reply) -> PvesmbError | None:
    for key, value in answer.trailing:
        if key == DETAILS_KEY and isinstance(value, bytes):
            return from_status(status_pb2.Status.FromString(value))
    return None


def _scope(method: Method, request: Any) -> str:
    """What ties a token to its list: method, parent, filter."""
    return f"{method.path}\n{getattr(request, method.field)}\n{request.filter}"


def _encode(cursor: _Cursor, scope: str) -> str:
    return pages.encode(scope, cursor.backend, cursor.token)


def _decode(token: str, scope: str) -> _Cursor:
    if not token:
        return _Cursor()
    backend, inner = pages.decode(token, scope, parts=2)
    if not backend:
        raise pages.invalid()
    return _Cursor(backend, inner)
