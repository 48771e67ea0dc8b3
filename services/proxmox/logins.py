"""How we say who we are to Proxmox VE: by API token, or by the password of a user.

proxmoxer's own password login is not used: it opens connections of its own, which would not know a pinned certificate, and
it does so when it is constructed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import requests
from requests.auth import AuthBase
from requests.cookies import RequestsCookieJar

#: Seconds after which a ticket is renewed; it lives twice as long.
_TICKET_AGE = 3600.0


@dataclass(frozen=True)
class Token:
    """An API token: `user` with realm (`smbgw@pve`), `name` without the user."""

    user: str
    name: str
    value: str = field(repr=False)


@dataclass(frozen=True)
class Password:
    """A password login; only that of root@pam may make bind mounts."""

    user: str
    value: str = field(repr=False)


class Auth(AuthBase):
    """What proxmoxer's session asks of an authentication."""

    def __init__(self, verify: bool | str) -> None:
        self.verify_ssl = verify

    def get_cookies(self) -> RequestsCookieJar:
        return RequestsCookieJar()


class Anonymous(Auth):
    """For the login itself."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


class TokenAuth(Auth):
    """One header for all calls."""

    def __init__(self, token: Token, verify: bool | str) -> None:
        super().__init__(verify)
        self._header = f"PVEAPIToken={token.user}!{token.name}={token.value}"

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = self._header
        return request


class TicketAuth(Auth):
    """Logs in when a ticket is needed and none younger than half its life of two hours is there."""

    def __init__(self, log_in: Callable[[], tuple[str, str]], verify: bool | str) -> None:
        super().__init__(verify)
        self._log_in = log_in
        self._lock = threading.Lock()
        self._ticket: tuple[str, str] | None = None
        self._since = 0.0

    def forget(self) -> bool:
        """Drops the ticket; False if there was none, so that a wrong password is not tried twice."""
        with self._lock:
            had, self._ticket = self._ticket is not None, None
            return had

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        with self._lock:
            if self._ticket is None or time.monotonic() - self._since > _TICKET_AGE:
                self._ticket = self._log_in()
                self._since = time.monotonic()
            ticket, csrf = self._ticket
        request.headers["Cookie"] = f"PVEAuthCookie={ticket}"
        if request.method != "GET":
            request.headers["CSRFPreventionToken"] = csrf
        return request
