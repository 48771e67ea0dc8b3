"""What the node knows, in one JSON file: users, tokens, roles, grants, pools, storages, the configuration of guests.

Every change is written before it is answered (a new file, renamed over the old one), so that a killed process comes
back with what it had said; a machine that loses its power is not what this is for. Guests keep running meanwhile: whether
one runs is asked of its driver, never kept here.
Secrets of tokens are kept as digests.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from services.localnode.api.permissions import BUILTIN_ROLES, AccessFacts, AclEntry


@dataclass
class Guest:
    """One container: its configuration as the API shows it, without digest."""

    vmid: int
    config: dict[str, Any]
    #: Changes that wait for the container's next start: new values, and None for what goes away.
    pending: dict[str, Any] = field(default_factory=dict)
    #: By name: `config` as it was then, `snaptime`, `description`.
    snapshots: dict[str, dict[str, Any]] = field(default_factory=dict)

    def digest(self) -> str:
        """SHA-1 over everything, as a node digests a guest's file."""
        text = json.dumps([self.config, self.pending, self.snapshots], sort_keys=True)
        return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


@dataclass
class Token:
    digest: str
    privsep: bool = True
    comment: str = ""


@dataclass
class Store:
    """One configured storage."""

    path: str
    content: list[str]
    kind: str = "dir"


@dataclass
class Facts:
    """The content of the file."""

    users: dict[str, str] = field(default_factory=lambda: {"root@pam": ""})
    tokens: dict[str, Token] = field(default_factory=dict)
    roles: dict[str, list[str]] = field(default_factory=dict)
    acl: list[AclEntry] = field(default_factory=list)
    pools: dict[str, str] = field(default_factory=dict)
    pool_of: dict[int, str] = field(default_factory=dict)
    storages: dict[str, Store] = field(default_factory=dict)
    guests: dict[int, Guest] = field(default_factory=dict)

    def snapshot(self) -> AccessFacts:
        """The part that rights are judged by, as it is now."""
        return AccessFacts(
            acl=tuple(self.acl),
            roles={**BUILTIN_ROLES, **{name: frozenset(privs) for name, privs in self.roles.items()}},
            privsep={name: token.privsep for name, token in self.tokens.items()},
            pool_of=dict(self.pool_of),
            pools=tuple(self.pools),
        )


class State:
    """The facts, their file, and the lock around both."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.RLock()
        self._facts = _load(json.loads(file.read_text())) if file.exists() else Facts()

    @contextmanager
    def read(self) -> Iterator[Facts]:
        """The facts, which nobody changes meanwhile. Take out what is needed; do not keep them."""
        with self._lock:
            yield self._facts

    @contextmanager
    def change(self) -> Iterator[Facts]:
        """The facts, to be changed; written at the end. After an exception the file's content holds again."""
        with self._lock:
            before = asdict(self._facts)
            try:
                yield self._facts
                self._write()
            except BaseException:
                self._facts = _load(before)
                raise

    def _write(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._file.with_name(f".{self._file.name}.new")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "w") as f:
            json.dump(asdict(self._facts), f, indent=1)
        os.rename(temporary, self._file)


def new_secret() -> str:
    """As a node makes them: a random UUID."""
    return str(uuid.UUID(bytes=secrets.token_bytes(16), version=4))


def secret_digest(secret: str) -> str:
    """Plain SHA-256 is enough: the secret has 122 random bits."""
    return hashlib.sha256(secret.encode()).hexdigest()


def secret_matches(token: Token, secret: str) -> bool:
    return hmac.compare_digest(token.digest, secret_digest(secret))


def _load(data: Mapping[str, Any]) -> Facts:
    return Facts(
        users=dict(data["users"]),
        tokens={name: Token(**token) for name, token in data["tokens"].items()},
        roles={name: list(privs) for name, privs in data["roles"].items()},
        acl=[AclEntry(**entry) for entry in data["acl"]],
        pools=dict(data["pools"]),
        pool_of={int(vmid): pool for vmid, pool in data["pool_of"].items()},
        storages={name: Store(**store) for name, store in data["storages"].items()},
        guests={int(vmid): Guest(**guest) for vmid, guest in data["guests"].items()},
    )
