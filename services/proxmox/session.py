"""The one place that speaks HTTP to Proxmox VE: proxmoxer, wrapped once.

A `Session` is shared by all threads of a backend: its connections are pooled, because a new one costs three times a call.
Each call has its own timeout. What comes back is the `data` of the answer; everything else is an error of ours (see
`failures`). Secrets are in no log and in no error: proxmoxer writes whole request bodies at INFO, so its loggers are kept
at WARNING, and values of secret parameters are taken out of what Proxmox echoes.
"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from logging import WARNING, getLogger
from typing import IO, Any, Protocol

import requests
from proxmoxer.backends.https import JsonSerializer, ProxmoxHttpSession
from proxmoxer.core import ProxmoxResource, ResourceException
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase

from services.core.errors import InvalidField, PvesmbError
from services.proxmox.failures import (
    CUT_OFF,
    NO_ANSWER,
    NO_CONNECTION,
    NO_JSON,
    NOT_TRUSTED,
    Kind,
    Refusal,
    error_of,
    kind_of,
)
from services.proxmox.logins import Anonymous, Password, TicketAuth, Token, TokenAuth

Value = str | int | bool | None | IO[bytes]
#: Long enough for a change of configuration that makes a volume, which the node does before it answers.
TIMEOUT = 60.0
SHA256 = re.compile(r"[0-9a-fA-F]{64}|[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){31}")
_SECRET = re.compile(r"password|secret|token|ticket")


@dataclass(frozen=True)
class Endpoint:
    """Where the API is and by what its certificate is known: `fingerprint` (SHA-256, as `pvenode cert info` shows it) pins
    this one certificate; else `ca_file`; else the authorities that the system trusts."""

    host: str
    port: int = 8006
    ca_file: str = ""
    fingerprint: str = ""

    def __post_init__(self) -> None:
        if self.fingerprint and not SHA256.fullmatch(self.fingerprint):
            raise InvalidField.of(
                "fingerprint", "must be a SHA-256 fingerprint: 64 hexadecimal digits, with colons or without"
            )


class Api(Protocol):
    """What the calls of this package need of a session."""

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
        """The `data` of the answer. `subject` begins an error's message; `needs` is `privilege on path`, told where Proxmox
        says only that the check failed. After a timeout or a cut connection a change may have happened
        (`failures.may_have_happened`); a read is tried once more on a new connection."""


class Session:
    """An `Api` over TLS. It does not connect before the first call, and may be used by any number of threads."""

    def __init__(self, endpoint: Endpoint, login: Token | Password, *, connections: int = 32) -> None:
        for name in ("proxmoxer", "proxmoxer.core", "proxmoxer.backends.https"):
            getLogger(name).setLevel(WARNING)
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        self._base = f"https://{host}:{endpoint.port}/api2/json"
        self._serializer = _Serializer()
        self._http = ProxmoxHttpSession()
        # A proxy or a CA bundle of the environment would quietly take the place of what is configured.
        self._http.trust_env = False
        self._http.max_redirects = 0
        self._http.headers["accept"] = self._serializer.get_accept_types()
        self._http.mount("https://", _Adapter(endpoint.fingerprint, connections))
        verify = False if endpoint.fingerprint else (endpoint.ca_file or True)
        self._login = login
        self._http.auth = TokenAuth(login, verify) if isinstance(login, Token) else TicketAuth(self._log_in, verify)

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
        form = _form(params or {})
        what = subject or f"{method} /{'/'.join(map(str, path))}"
        secrets = [value for key, value in form.items() if isinstance(value, str) and _SECRET.search(key)]
        try:
            return self._once(method, path, form, what, needs, timeout, secrets)
        except PvesmbError as error:
            again = method == "GET" and kind_of(error) is Kind.DROPPED
            again = again or (kind_of(error) is Kind.LOGIN and self._forget_ticket())
            if not again:
                raise
        return self._once(method, path, form, what, needs, timeout, secrets)

    def close(self) -> None:
        """Closes its connections; no call may follow."""
        self._http.close()

    def _log_in(self) -> tuple[str, str]:
        """A ticket and its CSRF token, over the same trusted connections as every call."""
        user, password = self._login.user, self._login.value
        form, subject = {"username": user, "password": password}, f"login of {user}"
        got = self._once("POST", ("access", "ticket"), form, subject, "", TIMEOUT, [], anonymous=True)
        if got.get("NeedTFA"):
            raise error_of(Refusal(401, "the login wants a second factor, which a service does not have", subject))
        return got["ticket"], got["CSRFPreventionToken"]

    def _forget_ticket(self) -> bool:
        auth = self._http.auth
        return isinstance(auth, TicketAuth) and auth.forget()

    def _once(
        self,
        method: str,
        path: Sequence[str | int],
        form: Mapping[str, Any],
        subject: str,
        needs: str,
        timeout: float,
        secrets: Sequence[str],
        *,
        anonymous: bool = False,
    ) -> Any:
        http = _Timed(self._http, timeout, Anonymous(self._http.auth.verify_ssl) if anonymous else None)
        resource = ProxmoxResource(base_url=self._base, session=http, serializer=self._serializer)
        verb = getattr(resource([str(part) for part in path]), method.lower())
        hidden = [*secrets, self._login.value]
        try:
            return verb(**form)
        except ResourceException as error:
            fields = error.errors if isinstance(error.errors, dict) else {}
            refused = {str(key): _without(str(text), hidden) for key, text in fields.items()}
            text = _without(str(error.content or error.status_message or error.status_code), hidden)
            raise error_of(Refusal(error.status_code, text, subject, refused, needs)) from None
        except _NoJson:
            raise error_of(Refusal(NO_JSON, "the answer is not that of a Proxmox VE API", subject)) from None
        except requests.RequestException as error:
            raise error_of(_below_http(error, subject)) from None


class _Timed:
    """A session with the timeout of one call, which proxmoxer's resources cannot hand through."""

    def __init__(self, http: ProxmoxHttpSession, timeout: float, auth: AuthBase | None) -> None:
        self._http, self._timeout, self._auth = http, timeout, auth

    def request(self, method: str, url: str, **options: Any) -> requests.Response:
        timeout = (min(10.0, self._timeout), self._timeout)
        response: requests.Response = self._http.request(method, url, timeout=timeout, auth=self._auth, **options)
        return response


class _NoJson(Exception):
    """A page of something else: a proxy, a captive portal."""


class _Serializer(JsonSerializer):  # type: ignore[misc]
    """proxmoxer's own hands back the bytes of what is no JSON as if it were an answer."""

    def loads(self, response: requests.Response) -> Any:
        body = _body(response)
        if "data" not in body:
            raise _NoJson
        return body["data"]

    def loads_errors(self, response: requests.Response) -> Any:
        return _body(response).get("errors")


def _body(response: requests.Response) -> dict[str, Any]:
    try:
        body = json.loads(response.content)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


class _Adapter(HTTPAdapter):
    """Connections to one certificate, or to one that verifies."""

    def __init__(self, fingerprint: str, connections: int) -> None:
        self._fingerprint = fingerprint.replace(":", "").lower()
        super().__init__(pool_connections=1, pool_maxsize=connections)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        if self._fingerprint:
            options["assert_fingerprint"] = self._fingerprint
        super().init_poolmanager(*args, **options)

    def close(self) -> None:
        """At once: urllib3 itself leaves connections open until its pools are collected."""
        pools = self.poolmanager.pools
        keys = pools.keys()
        for key in keys:
            if (pool := pools.get(key)) is not None:
                pool.close()
        super().close()


def _form(params: Mapping[str, Value]) -> dict[str, Any]:
    """As Proxmox reads it: 1 and 0 for booleans (`True` goes out as the word, which it refuses), nothing for None. Text
    throughout, because a streamed upload takes nothing else."""
    form: dict[str, Any] = {}
    for key, value in params.items():
        if isinstance(value, bool | int):
            form[key] = str(int(value))
        elif isinstance(value, str) or hasattr(value, "read"):
            form[key] = value
        elif value is not None:
            raise TypeError(f"{key} cannot be sent: {type(value).__name__}")
    return form


def _without(text: str, secrets: Sequence[str]) -> str:
    for secret in sorted(secrets, key=len, reverse=True):
        if secret:
            text = text.replace(secret, "***")
    return text


def _below_http(error: requests.RequestException, subject: str) -> Refusal:
    """Never with the words of the exception: they name addresses, and URLs with their parameters."""
    if isinstance(error, requests.exceptions.SSLError):
        if "ingerprint" in str(error):
            return Refusal(NOT_TRUSTED, "the certificate has not the fingerprint that is trusted", subject)
        if _verification(error):
            return Refusal(NOT_TRUSTED, "the certificate is not trusted", subject)
        return Refusal(CUT_OFF, "the TLS connection was cut", subject)
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return Refusal(NO_CONNECTION, "unreachable: no connection in time", subject)
    if isinstance(error, requests.exceptions.Timeout) or "timed out" in str(error):
        return Refusal(NO_ANSWER, "no answer in time", subject)
    if isinstance(error, requests.exceptions.TooManyRedirects):
        return Refusal(NO_JSON, "the answer is not that of a Proxmox VE API", subject)
    if "NewConnectionError" in repr(error) or "NameResolutionError" in repr(error):
        return Refusal(NO_CONNECTION, "unreachable: no connection", subject)
    return Refusal(CUT_OFF, "the connection was cut", subject)


def _verification(error: BaseException) -> bool:
    """Whether the certificate is what is wrong, wherever in the chain of reasons that stands."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return True
    inner = [error.__cause__, error.__context__, getattr(error, "reason", None), *error.args]
    return any(_verification(each) for each in inner if isinstance(each, BaseException))
