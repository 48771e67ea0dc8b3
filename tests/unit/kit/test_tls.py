"""TLS with a private authority: roles from certificates, refusals, rotation."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from prometheus_client import CollectorRegistry

from services.kit import pki, server, tls
from services.kit.config import ConfigError, ServerConfig, TlsConfig
from services.kit.identity import Identity, Role
from services.kit.policy import ROLES
from tests.unit.kit import echo
from tests.unit.kit.echo import Echo, Ping, call


@contextlib.contextmanager
def serving(service: Echo, certificate: TlsConfig, **config: Any) -> Iterator[str]:
    settings = ServerConfig.model_validate({"listen": ["127.0.0.1:0"], "tls": certificate, **config})
    registry, roles = CollectorRegistry(), {**ROLES, **echo.ROLES}
    running = server.start(settings, register=service.add_to, checks={}, registry=registry, roles=roles)
    try:
        yield running.targets[0]
    finally:
        running.stop(0)


def served_serial(target: str, client: TlsConfig) -> int:
    """The serial number of the certificate that a new connection gets."""
    import socket
    import ssl

    context = ssl.create_default_context(cafile=client.ca_file)
    context.load_cert_chain(client.cert_file, client.key_file)
    context.set_alpn_protocols(["h2"])
    host, _, port = target.rpartition(":")
    with socket.create_connection((host, int(port))) as raw, context.wrap_socket(raw, server_hostname=host) as s:
        der = s.getpeercert(binary_form=True)
    assert der
    return x509.load_der_x509_certificate(der).serial_number


def test_role_of_the_certificate(place: Path) -> None:
    ca = pki.authority(place)
    service = Echo()
    with serving(service, ca.issue("server", hosts=["127.0.0.1", "localhost"])) as target:
        client = ca.issue("bob", uris=[pki.role_uri(Role.OPERATOR, "bob")])
        with grpc.secure_channel(target, tls.client_credentials(client)) as channel:
            call(channel, "Unary")(Ping(), metadata=[("x-pvesmb-principal", "eve")])
        assert service.caller == Identity("bob", Role.OPERATOR)
        with grpc.secure_channel(target, tls.client_credentials(ca.issue_gateway(["127.0.0.1"]))) as channel:
            asked = [("x-pvesmb-principal", "alice"), ("x-pvesmb-role", "viewer")]
            call(channel, "Unary")(Ping(), metadata=asked)
            assert service.caller == Identity("alice", Role.VIEWER)
            with pytest.raises(grpc.RpcError) as refused:
                call(channel, "Unary")(Ping(), metadata=asked[:1])
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_no_certificate_and_a_foreign_one_are_refused(place: Path) -> None:
    ca = pki.authority(place)
    other = pki.authority(place / "other").issue("eve", uris=[pki.role_uri(Role.ADMIN, "eve")])
    with serving(Echo(), ca.issue("server", hosts=["127.0.0.1"])) as target:
        authority = ca.ca_file.read_bytes()
        none = grpc.ssl_channel_credentials(authority)
        _, certificate, key = tls.read_files(other)
        foreign = grpc.ssl_channel_credentials(authority, key, certificate)
        for credentials in (none, foreign):
            with grpc.secure_channel(target, credentials) as channel, pytest.raises(grpc.RpcError) as caught:
                call(channel, "Unary")(Ping())
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_certificate_without_a_role_is_unauthenticated(place: Path) -> None:
    ca = pki.authority(place)
    with serving(Echo(), ca.issue("server", hosts=["127.0.0.1"])) as target:
        credentials = tls.client_credentials(ca.issue("nobody", hosts=["nobody"]))
        with grpc.secure_channel(target, credentials) as channel, pytest.raises(grpc.RpcError) as caught:
            call(channel, "Unary")(Ping())
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_rotation(place: Path) -> None:
    ca = pki.authority(place)
    certificate = ca.issue("server", hosts=["127.0.0.1"])
    client = ca.issue("bob", uris=[pki.role_uri(Role.VIEWER, "bob")])
    with serving(Echo(), certificate) as target:
        with grpc.secure_channel(target, tls.client_credentials(client)) as old:
            call(old, "Unary")(Ping())
            before = served_serial(target, client)
            ca.issue("server", hosts=["127.0.0.1"])
            after = served_serial(target, client)
            assert after != before
            call(old, "Unary")(Ping())  # the connection that exists lives on
        # A key that does not fit: what was in force stays so.
        spare = ca.issue("spare", hosts=["127.0.0.1"])
        shutil.copy(spare.key_file, f"{place}/k")
        os.rename(f"{place}/k", certificate.key_file)
        assert served_serial(target, client) == after
        shutil.copy(spare.cert_file, f"{place}/c")
        os.rename(f"{place}/c", certificate.cert_file)
        wanted = x509.load_pem_x509_certificate(Path(spare.cert_file).read_bytes()).serial_number
        assert served_serial(target, client) == wanted


def test_unusable_files_are_named(place: Path) -> None:
    ca = pki.authority(place)
    good, other = ca.issue("a", hosts=["a"]), ca.issue("b", hosts=["b"])
    with pytest.raises(ConfigError, match=r"a\.pem"):
        tls.read_files(good.model_copy(update={"key_file": other.key_file}))
    with pytest.raises(ConfigError, match="No such file"):
        tls.read_files(good.model_copy(update={"key_file": "/nowhere"}))
    with pytest.raises(ConfigError):
        tls.read_files(good.model_copy(update={"ca_file": good.key_file}))


def test_authority_is_made_once_and_keys_are_private(place: Path) -> None:
    first = pki.authority(place / "ca").ca_file.read_bytes()
    ca = pki.authority(place / "ca")
    assert ca.ca_file.read_bytes() == first
    issued = ca.issue("x", uris=[pki.role_uri(Role.VIEWER, "x")], hosts=["localhost", "127.0.0.1"])
    for key in (issued.key_file, str(place / "ca" / "ca.key")):
        assert os.stat(key).st_mode & 0o777 == 0o600
    certificate = x509.load_pem_x509_certificate(Path(issued.cert_file).read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["pvesmb://role/viewer/x"]
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert certificate.public_bytes(Encoding.PEM)
