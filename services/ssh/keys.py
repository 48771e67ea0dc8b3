"""The key with which we come to a guest: derived, so that it lies on no disk."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, field

import paramiko
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat


@dataclass(frozen=True)
class Key:
    """`public_line` is what authorized_keys(5) takes, without a comment."""

    private: paramiko.PKey = field(repr=False)
    public_line: str


def key_from(secret: str | bytes) -> Key:
    """The Ed25519 key whose seed (RFC 8032, 5.1.5) is the SHA-256 of `secret`: always the same."""
    seed = hashlib.sha256(secret.encode() if isinstance(secret, str) else secret).digest()
    key = Ed25519PrivateKey.from_private_bytes(seed)
    # paramiko takes a private key only as the text of a file.
    text = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return Key(paramiko.Ed25519Key(file_obj=io.StringIO(text)), public)
