"""Bearer tokens: a TOML file that holds the SHA-256 of each token, never the token.

    [tokens.backup-job]
    sha256 = "…64 hexadecimal digits…"     # printf %s "$TOKEN" | sha256sum
    role = "viewer"                        # viewer, operator or admin

The file is read again when it changes. A broken new file keeps the old one in force, except that a file that is gone
or unreadable at start is an error.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import threading
from logging import getLogger
from typing import Literal

from pydantic import Field, ValidationError

from services.kit.config import Config, ConfigError, read_toml
from services.kit.watch import Watched

#: Names of callers: they go from the gateway to backends as metadata, and into logs.
PRINCIPAL = re.compile(r"[A-Za-z0-9._@:-]{1,80}\Z")
_log = getLogger(__name__)


class _Token(Config):
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    role: Literal["viewer", "operator", "admin"]


class _File(Config):
    tokens: dict[str, _Token] = Field(default={})


def _parse(path: str) -> dict[str, _Token]:
    try:
        tokens = _File.model_validate(read_toml(path)).tokens
    except ValidationError as e:
        places = sorted({".".join(map(str, item["loc"])) for item in e.errors(include_input=False)})
        raise ConfigError(f"{path}: {', '.join(places)}: each token needs sha256 (64 hex digits) and role") from None
    for name in tokens:
        if not PRINCIPAL.match(name):
            raise ConfigError(f"{path}: tokens.{name!r}: a name is 1 to 80 of A-Z a-z 0-9 . _ @ : -; rename the token")
    return tokens


class Tokens:
    """The tokens of one file. Threads may share it."""

    def __init__(self, path: str) -> None:
        self._lock = threading.Lock()
        self._file = Watched([path])
        self._path = path
        self._tokens = _parse(path)

    def find(self, token: str) -> tuple[str, str] | None:
        """Name and role of a token, in a time that does not depend on how much of it is right."""
        self._refresh()
        digest = hashlib.sha256(token.encode()).hexdigest()
        found = None
        for name, known in self._tokens.items():
            if hmac.compare_digest(known.sha256, digest):
                found = name, known.role
        return found

    def _refresh(self) -> None:
        with self._lock:
            if not self._file.changed():
                return
            try:
                self._tokens = _parse(self._path)
            except ConfigError as e:
                _log.error("tokens file not used, the former one stays in force", extra={"error": str(e)})
            else:
                _log.info("tokens file read", extra={"tokens": len(self._tokens)})
