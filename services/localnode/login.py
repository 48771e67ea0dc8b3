"""Who calls: API tokens, and tickets of root@pam, whose password login alone may do some things."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping
from urllib.parse import unquote

from services.localnode.api.permissions import Caller
from services.localnode.api.refusal import unauthorized
from services.localnode.state import State, secret_matches

#: Proxmox VE's tickets live for two hours.
TICKET_SECONDS = 7200


class Logins:
    """Checks credentials. Tickets end with the process: their key is made at its start and kept nowhere."""

    def __init__(self, state: State, root_password: str) -> None:
        self._state = state
        self._password = root_password
        self._key = secrets.token_bytes(32)

    def caller(self, method: str, headers: Mapping[str, str]) -> Caller:
        """The caller of a request, or 401 with the words of a node. Writing by ticket needs the CSRF token."""
        authorization = headers.get("Authorization", "")
        if authorization.startswith("PVEAPIToken"):
            return self._by_token(authorization.removeprefix("PVEAPIToken").lstrip("= "))
        ticket = _cookie(headers.get("Cookie", ""))
        if not ticket:
            raise unauthorized("No ticket")
        user = self._by_ticket(ticket)
        given = headers.get("CSRFPreventionToken", "")
        if method != "GET" and not hmac.compare_digest(given.encode(), self._csrf(user).encode()):
            raise unauthorized("Permission denied - invalid csrf token")
        return Caller(user)

    def ticket(self, username: str, password: str) -> dict[str, str]:
        """A ticket for the right password; the ticket itself is taken in its place, to renew it."""
        good = bool(self._password) and hmac.compare_digest(password.encode(), self._password.encode())
        if password.startswith("PVE:"):
            good = self._by_ticket(password) == username
        if username != "root@pam" or not good:
            raise unauthorized("Authentication failed!")
        text = f"PVE:{username}:{int(time.time()):08X}"
        return {
            "username": username,
            "ticket": f"{text}::{self._sign(text)}",
            "CSRFPreventionToken": self._csrf(username),
        }

    def _by_token(self, text: str) -> Caller:
        name, _, secret = text.partition("=")
        user, _, token = name.partition("!")
        with self._state.read() as facts:
            known = facts.tokens.get(name)
            good = known is not None and user in facts.users and secret_matches(known, secret)
        if not good:
            raise unauthorized("Authentication failed!")
        return Caller(user, token)

    def _by_ticket(self, ticket: str) -> str:
        text, _, signature = ticket.partition("::")
        parts = text.split(":")
        if len(parts) != 3 or not hmac.compare_digest(signature.encode(), self._sign(text).encode()):
            raise unauthorized("Authentication failed!")
        if time.time() - int(parts[2], 16) > TICKET_SECONDS:
            raise unauthorized("Authentication failed!")
        return parts[1]

    def _csrf(self, user: str) -> str:
        return self._sign(f"csrf:{user}")

    def _sign(self, text: str) -> str:
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()


def _cookie(header: str) -> str:
    """The ticket among the cookies; clients send it percent-encoded or plain."""
    for part in header.split(";"):
        name, _, value = part.strip().partition("=")
        if name == "PVEAuthCookie":
            return unquote(value)
    return ""
