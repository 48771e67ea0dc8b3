"""Secrets at rest: sealed with a key that lies beside the store, in a file of its own that only root reads."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.core.errors import PreconditionFailed

_KEY_BYTES = 32
_NONCE_BYTES = 12


class FileVault:
    """The `Vault` of a process. Replicas that share a store must share the key file."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._cipher = AESGCM(self._subkey("seal"))

    @classmethod
    def open_file(cls, path: str) -> FileVault:
        """With the key in this file, which is made with mode 0600 if there is none."""
        try:
            return cls(_read(path))
        except FileNotFoundError:
            pass
        directory = os.path.dirname(path) or "."
        os.makedirs(directory, mode=0o700, exist_ok=True)
        # Not the pid: in a container it is the same after every start, and a draft that a crash left would be in the way.
        draft = f"{path}.{secrets.token_hex(8)}"
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            # A link, not a rename: of two processes that start at once, the second takes the first one's key.
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            os.unlink(draft)
        _sync_directory(directory)
        return cls(_read(path))

    def seal(self, secret: str, context: str) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret.encode(), context.encode())

    def open(self, sealed: bytes, context: str) -> str:
        try:
            opened = self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], context.encode())
        except InvalidTag:
            raise PreconditionFailed(
                "a secret in the store cannot be opened with this key",
                help="Put the key file that belongs to this store back in its place.",
            ) from None
        return opened.decode()

    def derive(self, label: str) -> str:
        digest = hmac.digest(self._subkey("derive"), label.encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).decode()[:32]

    def _subkey(self, use: str) -> bytes:
        return hmac.digest(self._key, use.encode(), hashlib.sha256)


def _sync_directory(path: str) -> None:
    """Secrets are sealed with the key from now on, so its name must outlast a power cut as they do."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        key = file.read()
    if len(key) != _KEY_BYTES:
        raise PreconditionFailed(f"{path} is not a key of {_KEY_BYTES} bytes", help="Restore the key file.")
    return key
