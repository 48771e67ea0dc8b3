"""Who calls: from the peer's certificate, a bearer token, or the way in which the call came.

A role is a claim of the certificate authority or of the administrator who wrote the token file, never of the caller.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from enum import IntEnum

from services.core.errors import Unauthenticated
from services.kit.tokens import PRINCIPAL, Tokens

#: Metadata by which the gateway tells a backend who asked it. Anybody else's are ignored.
PRINCIPAL_KEY = "x-pvesmb-principal"
ROLE_KEY = "x-pvesmb-role"
GATEWAY_URI = "pvesmb://gateway"
_ROLE_URI = re.compile(r"pvesmb://role/(viewer|operator|admin)/([A-Za-z0-9._@-]{1,64})\Z")


class Role(IntEnum):
    """What a caller may do; each includes those below it."""

    VIEWER = 1
    OPERATOR = 2
    ADMIN = 3


@dataclass(frozen=True)
class Identity:
    """An authenticated caller."""

    principal: str
    role: Role


@dataclass(frozen=True)
class Peer:
    """What the transport says about the other side of a call, and the call's metadata."""

    address: str
    auth: Mapping[str, Iterable[bytes]]
    metadata: Mapping[str, str]

    @property
    def is_unix(self) -> bool:
        return self.address.startswith("unix:")

    @property
    def is_tls(self) -> bool:
        return b"ssl" in self.auth.get("transport_security_type", ())

    @property
    def uris(self) -> list[str]:
        """The URIs of its certificate; gRPC has verified the certificate when there are any."""
        return [uri.decode("ascii", "replace") for uri in self.auth.get("peer_uri", ())]


_current: ContextVar[Identity | None] = ContextVar("pvesmb_identity", default=None)


def current() -> Identity:
    """The caller of the RPC that this thread or task serves; `Unauthenticated` outside of one."""
    identity = _current.get()
    if identity is None:
        raise Unauthenticated("no caller is known here")
    return identity


def set_current(identity: Identity | None) -> None:
    """For the authentication middleware only."""
    _current.set(identity)


def authenticate(peer: Peer, tokens: Tokens | None, *, behind_gateway: bool) -> Identity:
    """The caller, or `Unauthenticated`.

    A bearer token that is given decides, even where a certificate or a socket would do: who shows a lesser identity wants
    to be that. `behind_gateway` is set in backends, which believe the gateway about who asked it; on the gateway itself
    those metadata are ignored from everybody.
    """
    authorization = peer.metadata.get("authorization")
    if authorization is not None:
        return _by_token(authorization, tokens)
    if not peer.is_tls:
        local = Identity("local", Role.ADMIN)
        return _forwarded(peer, local) if behind_gateway and peer.is_unix else local
    for uri in peer.uris:
        if match := _ROLE_URI.match(uri):
            return Identity(match[2], Role[match[1].upper()])
        if behind_gateway and uri == GATEWAY_URI:
            return _forwarded(peer, Identity("gateway", Role.ADMIN))
    if peer.uris:
        raise Unauthenticated("the client certificate names no role (URI pvesmb://role/ROLE/NAME)")
    raise Unauthenticated("no client certificate and no bearer token was given")


def _by_token(authorization: str, tokens: Tokens | None) -> Identity:
    scheme, _, token = authorization.partition(" ")
    if tokens is None or scheme.lower() != "bearer":
        raise Unauthenticated("the server takes no such credentials" if tokens else "bearer tokens are not accepted here")
    found = tokens.find(token.strip())
    if found is None:
        raise Unauthenticated("the bearer token is not valid")
    name, role = found
    return Identity(name, Role[role.upper()])


def _forwarded(peer: Peer, own: Identity) -> Identity:
    """Whom the gateway asks for: `own` only where it names nobody, never for want of understanding whom it names."""
    principal, role = peer.metadata.get(PRINCIPAL_KEY), peer.metadata.get(ROLE_KEY)
    if principal is None and role is None:
        return own
    if principal is None or role is None or not PRINCIPAL.match(principal) or role.upper() not in Role.__members__:
        raise Unauthenticated(f"{PRINCIPAL_KEY} and {ROLE_KEY} do not name a caller and a role")
    return Identity(principal, Role[role.upper()])
