"""TLS credentials from files that may be replaced while we run.

Server: new handshakes get the new certificate, connections that exist live on. A new pair that cannot be used (half
written, key of another certificate) leaves the old one in force and is logged.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from logging import getLogger
from pathlib import Path
from typing import cast

import grpc

from services.kit.config import ConfigError, TlsConfig
from services.kit.watch import Watched

_log = getLogger(__name__)


def read_files(tls: TlsConfig) -> tuple[bytes, bytes, bytes]:
    """Authority, certificate and key, checked to belong together; ConfigError if they are unusable."""
    try:
        # The standard library checks that key and certificate fit, without another dependency in memory.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tls.cert_file, tls.key_file)
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(tls.ca_file)
        return Path(tls.ca_file).read_bytes(), Path(tls.cert_file).read_bytes(), Path(tls.key_file).read_bytes()
    except (OSError, ssl.SSLError) as e:
        reason = e.strerror if isinstance(e, OSError) and e.strerror else str(e)
        files = f"{tls.ca_file}, {tls.cert_file}, {tls.key_file}"
        raise ConfigError(
            f"tls: {reason} ({files}). Give the PEM files of an authority, a certificate and its key."
        ) from None


def watched(tls: TlsConfig) -> Watched:
    """The files, watched."""
    return Watched([tls.ca_file, tls.cert_file, tls.key_file])


def server_credentials(tls: TlsConfig, *, client_certificates: bool) -> grpc.ServerCredentials:
    """Credentials that follow the files. With `client_certificates`, who shows none of the authority is refused."""
    files = watched(tls)
    initial = _configuration(tls, client_certificates)

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        # Called by gRPC at each handshake; None keeps what is in force.
        if not files.changed():
            return None
        try:
            configuration = _configuration(tls, client_certificates)
        except ConfigError as e:
            _log.error("new certificate not used, the former one stays in force", extra={"error": str(e)})
            return None
        _log.info("certificate replaced", extra={"file": tls.cert_file})
        return configuration

    fetcher = cast(
        Callable[[], grpc.ServerCertificateConfiguration], fetch
    )  # the stubs do not know that it may return None
    return grpc.dynamic_ssl_server_credentials(initial, fetcher, require_client_authentication=client_certificates)


def client_credentials(tls: TlsConfig) -> grpc.ChannelCredentials:
    """Credentials of a channel that shows our certificate. Read once: make a new channel when the files change."""
    ca, cert, key = read_files(tls)
    return grpc.ssl_channel_credentials(ca, key, cert)


def _configuration(tls: TlsConfig, client_certificates: bool) -> grpc.ServerCertificateConfiguration:
    ca, cert, key = read_files(tls)
    return grpc.ssl_server_certificate_configuration([(key, cert)], ca if client_certificates else None)
