"""The ways in which the API refuses a call, in the exact form of a Proxmox VE node.

These are answers of the stand-in, not errors of our services: they never meet `services.core.errors`, which
`services.proxmox` makes of what it reads here, as of what a real node sends.
"""

from __future__ import annotations

from collections.abc import Mapping


class Refusal(Exception):
    """An HTTP error answer: the status, its text (also the reason phrase), and for 400 the parameters at fault."""

    def __init__(self, status: int, text: str, errors: Mapping[str, str] | None = None, *, empty: bool = False) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.errors = dict(errors or {})
        self.empty = empty

    def body(self) -> dict[str, object] | None:
        """The JSON answer; None where the real node sends no body (401, 400 of its HTTP layer)."""
        if self.empty:
            return None
        answer: dict[str, object] = {"data": None, "message": f"{self.text}\n"}
        if self.errors:
            answer["errors"] = self.errors
        return answer


def bad_parameters(errors: Mapping[str, str]) -> Refusal:
    return Refusal(400, "Parameter verification failed.", errors)


def bad_request() -> Refusal:
    """What the HTTP layer refuses before any call is looked up."""
    return Refusal(400, "Bad Request", empty=True)


def denied(what: str = "") -> Refusal:
    return Refusal(403, f"Permission check failed ({what})" if what else "Permission check failed")


def failed(text: str) -> Refusal:
    return Refusal(500, text)


def unauthorized(text: str) -> Refusal:
    return Refusal(401, text, empty=True)


def not_implemented(method: str, path: str) -> Refusal:
    return Refusal(501, f"Method '{method} {path}' not implemented")
