"""A private certificate authority in a directory: for `make run`, tests, and sites that have none of their own."""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from services.kit.config import TlsConfig
from services.kit.identity import GATEWAY_URI, Role

_SKEW = datetime.timedelta(minutes=5)


def role_uri(role: Role, name: str) -> str:
    """The URI in a client certificate that gives its holder a role."""
    return f"pvesmb://role/{role.name.lower()}/{name}"


@dataclass(frozen=True)
class Authority:
    """The directory of an authority: `ca.pem`, `ca.key`, and what `issue` makes."""

    directory: Path

    @property
    def ca_file(self) -> Path:
        return self.directory / "ca.pem"

    def issue(self, name: str, *, uris: Sequence[str] = (), hosts: Sequence[str] = (), days: int = 825) -> TlsConfig:
        """Makes (or replaces) NAME.pem and NAME.key, for servers (`hosts`: DNS names, addresses) and clients (`uris`)."""
        ca = x509.load_pem_x509_certificate(self.ca_file.read_bytes())
        ca_key = serialization.load_pem_private_key((self.directory / "ca.key").read_bytes(), None)
        assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
        names += [_host(host) for host in hosts]
        key = ec.generate_private_key(ec.SECP256R1())
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        certificate = (
            _builder(_name(name), ca.subject, key.public_key(), days)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .sign(ca_key, hashes.SHA256())
        )
        cert_file, key_file = self.directory / f"{name}.pem", self.directory / f"{name}.key"
        _write(key_file, _pem(key), 0o600)
        _write(cert_file, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
        return TlsConfig(ca_file=str(self.ca_file), cert_file=str(cert_file), key_file=str(key_file))

    def issue_gateway(self, hosts: Sequence[str]) -> TlsConfig:
        """The gateway's certificate: backends believe its holder about who asked."""
        return self.issue("gateway", uris=[GATEWAY_URI], hosts=hosts)


def authority(directory: Path) -> Authority:
    """The authority in the directory, made if there is none (key mode 0600)."""
    directory.mkdir(parents=True, exist_ok=True)
    made = Authority(directory)
    if not made.ca_file.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name("PVE SMB Gateway private CA")
        certificate = (
            _builder(subject, subject, key.public_key(), 3650)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        _write(directory / "ca.key", _pem(key), 0o600)
        _write(made.ca_file, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
    return made


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.not_valid_before(now - _SKEW).not_valid_after(now + datetime.timedelta(days=days))
    return builder.serial_number(x509.random_serial_number())


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    pkcs8 = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, pkcs8, serialization.NoEncryption())


def _write(path: Path, data: bytes, mode: int) -> None:
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(fd, "wb") as f:
        f.write(data)
    os.rename(temporary, path)
