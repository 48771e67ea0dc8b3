"""Resource names, ids, and what domain objects refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.domain.account import GroupSpec, UserSpec, check_password
from services.core.domain.file_server import Demand, FileServerSpec, NativeDeployment, SmbSettings
from services.core.domain.guest import GuestNetwork, GuestPlacement
from services.core.domain.names import CONTENTS, ROOTS, Kind, Name, check_id, parse_backend, parse_name, template_name
from services.core.domain.share import (
    MAX_VOLUME_BYTES,
    MIN_VOLUME_BYTES,
    AccessLevel,
    AccessRule,
    DirectoryStorage,
    FileCreation,
    GuestAccess,
    PrincipalKind,
    ShareSpec,
    VolumeStorage,
)
from services.core.errors import InvalidField

SERVER = Name("b", "fs")


def refused(make: Callable[[], object]) -> str:
    """The path of the field that is refused."""
    with pytest.raises(InvalidField) as caught:
        make()
    (violation,) = caught.value.violations
    assert caught.value.metadata == {"field": violation.subject}
    return violation.subject


@pytest.mark.parametrize("kind", Kind)
def test_a_name_is_what_it_is_written_as(kind: Kind) -> None:
    roots = {Kind.FILE_SERVER: SERVER, Kind.TEMPLATE: template_name("b", "debian-12_1.0")}
    name = roots[kind] if kind in ROOTS else SERVER.child(kind, "Data")
    assert parse_name(str(name), kind) == name
    assert name.server == roots.get(kind, SERVER)
    for other in Kind:
        if other is not kind:
            assert refused(lambda other=other: parse_name(str(name), other, "f")) == "f"  # type: ignore[misc]


def test_parts_of_a_name() -> None:
    share = SERVER.child(Kind.SHARE, "Größe")
    assert str(share) == "backends/b/fileServers/fs/shares/Größe"
    assert (share.last, share.parent, share.key) == ("Größe", "backends/b/fileServers/fs", "grösse")
    assert (SERVER.last, SERVER.parent, SERVER.key) == ("fs", "backends/b", "fs")
    template = template_name("b", "Debian-12")
    assert str(template) == "backends/b/templates/Debian-12"
    assert (template.last, template.parent, template.key) == ("Debian-12", "backends/b", "debian-12")


@given(st.text())
def test_what_can_be_parsed_is_written_the_same(text: str) -> None:
    for candidate in (text, f"backends/b/fileServers/fs/shares/{text}", f"backends/{text}/fileServers/fs/shares/x"):
        try:
            name = parse_name(candidate, Kind.SHARE)
        except InvalidField:
            continue
        assert str(name) == candidate
        assert candidate.isprintable()


@pytest.mark.parametrize("text", ["", "b", "backends", "backends/", "backends/b/", "/backends/b", "backends/b/x", "x/b"])
def test_names_of_backends(text: str) -> None:
    assert refused(lambda: parse_backend(text, "f")) == "f"
    assert parse_backend("backends/b") == "b"


@given(st.text())
def test_ids_that_pass_are_safe_wherever_they_are_written(text: str) -> None:
    """In a path, a section header of smb.conf, a line of passwd, a resource name."""
    for kind in (Kind.FILE_SERVER, *CONTENTS):
        try:
            check_id(kind, text, "f")
        except InvalidField:
            continue
        assert text and text.isprintable() and text == text.strip()
        assert not set(text) & set('/\\[]%:"*?<>|\0\n')
        assert text not in (".", "..") and not text.startswith((".", "pvesmb"))
        name = SERVER.child(kind, text) if kind is not Kind.FILE_SERVER else Name("b", text)
        assert parse_name(str(name), kind) == name


@pytest.mark.parametrize("id", ["a", "a1", "a-1", "a" * 40])
def test_ids_of_file_servers(id: str) -> None:
    check_id(Kind.FILE_SERVER, id, "f")


@pytest.mark.parametrize("id", ["", "A", "1a", "-a", "a-", "a_b", "a.b", "a/b", "a" * 41, "ä", "a\n", " a", ".."])
def test_ids_that_file_servers_may_not_have(id: str) -> None:
    assert refused(lambda: check_id(Kind.FILE_SERVER, id, "f")) == "f"


@pytest.mark.parametrize(
    ("field", "make"),
    [
        ("description", lambda: FileServerSpec(description="a\nb")),
        ("description", lambda: FileServerSpec(description="%h")),
        ("labels", lambda: FileServerSpec(labels={"ä": ""})),
        ("labels", lambda: FileServerSpec(labels={"a" * 64: ""})),
        ("labels[a]", lambda: FileServerSpec(labels={"a": "\0"})),
        ("signing", lambda: SmbSettings(signing=Demand.OFF)),
        ("netbios_name", lambda: SmbSettings(netbios_name="a_b")),
        ("workgroup", lambda: SmbSettings(workgroup="x" * 16)),
        ("allow_guests", lambda: SmbSettings(encryption=Demand.REQUIRED, allow_guests=True)),
        ("listen_addresses[0]", lambda: NativeDeployment(("fe80::1%eth0%",))),
        ("listen_addresses[0]", lambda: NativeDeployment(("fe80::1%x\ninclude = /etc/passwd",))),
        ("hosts_allow[0]", lambda: ShareSpec(hosts_allow=("fe80::1%x 0.0.0.0/0",))),
        ("listen_addresses[1]", lambda: NativeDeployment(("::1", "127.0.0.1/8"))),
        ("port", lambda: NativeDeployment(port=65536)),
        ("full_name", lambda: UserSpec("a,b")),
        ("members", lambda: GroupSpec(members=("a", "a"))),
        ("principal", lambda: AccessRule(PrincipalKind.EVERYONE, "a", AccessLevel.READ)),
        ("principal", lambda: AccessRule(PrincipalKind.USER, "", AccessLevel.READ)),
        ("size_bytes", lambda: VolumeStorage(MIN_VOLUME_BYTES - 1)),
        ("size_bytes", lambda: VolumeStorage(MAX_VOLUME_BYTES + 1)),
        ("storage", lambda: VolumeStorage(MIN_VOLUME_BYTES, "local,acl=0")),
        ("storage", lambda: VolumeStorage(MIN_VOLUME_BYTES, "été")),
        ("storage", lambda: GuestPlacement(storage="1st")),
        ("node", lambda: GuestPlacement(node="../pve1")),
        ("pool", lambda: GuestPlacement(pool="a//b")),
        ("storage", lambda: VolumeStorage(MIN_VOLUME_BYTES, "größe")),
        ("storage", lambda: VolumeStorage(MIN_VOLUME_BYTES, "-local")),
        ("storage", lambda: VolumeStorage(MIN_VOLUME_BYTES, "local,mp=/")),
        ("ipv6_address", lambda: GuestNetwork(ipv6_address="fe80::5/64")),
        ("ipv6_address", lambda: GuestNetwork(ipv6_address="::ffff:10.0.0.5/120")),
        ("create_mask", lambda: FileCreation(create_mask="0668")),
        ("create_mask", lambda: FileCreation(create_mask="660\n")),
        ("directory_mask", lambda: FileCreation(directory_mask="70")),
        ("max_connections", lambda: ShareSpec(max_connections=1_000_001)),
        ("guest_access", lambda: ShareSpec(guest_access=GuestAccess.READ, encryption_required=True)),
    ],
)
def test_what_specs_refuse(field: str, make: Callable[[], object]) -> None:
    assert refused(make) == field


@pytest.mark.parametrize("path", ["a", "./a", "/", "/a", "/a/b c"])
def test_paths(path: str) -> None:
    if path.startswith("/"):
        DirectoryStorage(path)
    else:
        assert refused(lambda: DirectoryStorage(path)) == "path"


@pytest.mark.parametrize("path", ["/a/", "/a//b", "//a", "/a/./b", "/a/../b", "/..", "/a%b", "/a\0", "/" + "a" * 1024])
def test_paths_that_are_refused(path: str) -> None:
    assert refused(lambda: DirectoryStorage(path)) == "path"


def test_names_that_proxmox_allows() -> None:
    GuestPlacement(node="1pve", pool="team.a/smb_1/x", storage="ceph.ssd_2-a")
    VolumeStorage(MIN_VOLUME_BYTES, "ceph.ssd_2-a")


def test_limits_count_themselves() -> None:
    VolumeStorage(MIN_VOLUME_BYTES)
    VolumeStorage(MAX_VOLUME_BYTES)
    FileServerSpec(description="x" * 256, labels={f"k{i}": "v" * 63 for i in range(64)})
    check_password("p", "x" * 127)
    check_id(Kind.SHARE, "x" * 80, "f")


@pytest.mark.parametrize("password", ["", "x" * 128, "a\0b", "a\nb", "a\x85b"])
def test_a_refused_password_is_not_repeated(password: str) -> None:
    with pytest.raises(InvalidField) as caught:
        check_password("user.password", password)
    assert not password or password not in repr(caught.value.to_json())


def test_a_share_names_its_principals_by_their_fields() -> None:
    spec = ShareSpec(
        storage=DirectoryStorage("/a", owner="o", group="g"),
        access=(
            AccessRule(PrincipalKind.EVERYONE, "", AccessLevel.READ),
            AccessRule(PrincipalKind.USER, "u", AccessLevel.DENY),
        ),
        file_creation=FileCreation(force_group="f"),
    )
    expected: dict[str, Any] = {
        "access[1].user": (PrincipalKind.USER, "u"),
        "directory.owner": (PrincipalKind.USER, "o"),
        "directory.group": (PrincipalKind.GROUP, "g"),
        "file_creation.force_group": (PrincipalKind.GROUP, "f"),
    }
    assert spec.principals() == expected


@pytest.mark.parametrize(
    ("field", "most", "make"),
    [
        ("access", 256, lambda n: ShareSpec(access=tuple(_reader(f"u{i}") for i in range(n)))),
        ("hosts_allow", 256, lambda n: ShareSpec(hosts_allow=tuple(f"10.0.{i // 250}.{i % 250}" for i in range(n)))),
        ("hosts_deny", 256, lambda n: ShareSpec(hosts_deny=tuple(f"10.0.{i // 250}.{i % 250}" for i in range(n)))),
        ("smb_options", 64, lambda n: ShareSpec(smb_options={f"o{i}": "" for i in range(n)})),
        ("members", 1000, lambda n: GroupSpec(members=tuple(f"u{i}" for i in range(n)))),
    ],
)
def test_lists_have_an_end(field: str, most: int, make: Callable[[int], object]) -> None:
    make(most)
    assert refused(lambda: make(most + 1)) == field


def _reader(user: str) -> AccessRule:
    return AccessRule(PrincipalKind.USER, user, AccessLevel.READ)


def test_a_share_id_is_a_file_name() -> None:
    check_id(Kind.SHARE, "ä" * 80, "share_id")
    check_id(Kind.SHARE, "\U00020000" * 63, "share_id")
    assert refused(lambda: check_id(Kind.SHARE, "\U00020000" * 64, "share_id")) == "share_id"
