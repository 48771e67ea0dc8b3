"""The certificate: from a private authority in the state directory, whose `ca.pem` clients are given to trust."""

from __future__ import annotations

import ssl
from pathlib import Path

from services.kit.pki import authority

NAME = "localnode"
HOSTS = ("localhost", "127.0.0.1", "::1")


def server_context(directory: Path) -> ssl.SSLContext:
    """The server's side, with the certificate made at first use and kept."""
    pki = authority(directory)
    cert, key = directory / f"{NAME}.pem", directory / f"{NAME}.key"
    if not (cert.exists() and key.exists()):
        pki.issue(NAME, hosts=HOSTS)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(cert, key)
    return context
