"""Specs to messages and back, field by field."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st
from pvesmb.v1 import file_server_pb2, share_pb2, user_pb2

from services.core.domain import share
from services.core.domain.account import GroupSpec, UserSpec
from services.core.domain.file_server import Demand, Dialect, DriftPolicy, FileServerSpec, NativeDeployment, SmbSettings
from services.core.domain.guest import GIB, MIB, GuestNetwork, GuestPlacement, LxcDeployment
from services.core.domain.names import Kind, Name
from services.core.domain.resource import Condition, Resource, Severity, State
from services.core.domain.share import AccessLevel, AccessRule, GuestAccess, PrincipalKind, ShareSpec
from services.core.errors import FeatureNotAvailable
from services.core.steps import Plan
from services.wire import conversions
from services.wire.masks import settable

SERVER = Name("b", "fs")

line = st.text(st.characters(categories=["L", "N"], include_characters=" .-"), max_size=20)
account = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)
labels = st.dictionaries(st.from_regex(r"[a-z0-9._/-]{1,20}", fullmatch=True), line, max_size=3)
netbios = st.from_regex(r"[A-Za-z0-9-]{1,15}", fullmatch=True)
mode = st.from_regex(r"[0-7]{3,4}", fullmatch=True)
networks = st.lists(st.ip_addresses().map(str), unique=True, max_size=3).map(tuple)

settings = st.builds(
    SmbSettings,
    min_protocol=st.sampled_from(Dialect),
    signing=st.sampled_from([Demand.DESIRED, Demand.REQUIRED]),
    encryption=st.sampled_from([Demand.OFF, Demand.DESIRED]),
    allow_guests=st.booleans(),
    netbios_name=st.just("") | netbios,
    workgroup=netbios,
)
bytes_of = st.integers(0, 64)
storage_ids = st.just("") | st.just("local-lvm")
placements = st.builds(
    GuestPlacement,
    node=st.just("") | st.just("pve2"),
    vmid=st.just(0) | st.integers(100, 999),
    pool=st.just("") | st.just("smbgw"),
    storage=storage_ids,
    system_disk_bytes=bytes_of.map(lambda n: n * GIB),
    cores=st.integers(0, 128),
    memory_bytes=st.just(0) | st.integers(64, 4096).map(lambda n: n * MIB),
    start_on_boot=st.booleans(),
    start_order=st.integers(0, 99),
    protection=st.booleans(),
    template=st.just("") | line,
    hostname=st.just("") | account,
)
nets = st.builds(
    GuestNetwork,
    bridge=st.just("") | st.just("vmbr1"),
    vlan=st.integers(0, 4094),
    ipv4_address=st.just("10.0.0.5/24"),
    ipv4_gateway=st.just("") | st.just("10.0.0.1"),
    ipv6_address=st.just("fd00::5/64"),
    ipv6_gateway=st.just("") | st.just("fe80::1"),
    nameservers=networks,
    search_domain=st.just("") | st.just("example.org"),
    firewall=st.booleans(),
) | st.builds(
    GuestNetwork,
    ipv4_address=st.sampled_from(["dhcp", "none"]),
    ipv6_address=st.sampled_from(["dhcp", "auto"]),
)
containers = st.builds(LxcDeployment, placements, nets, bytes_of.map(lambda n: n * MIB))
servers = st.builds(
    FileServerSpec,
    description=line,
    labels=labels,
    drift_policy=st.sampled_from(DriftPolicy),
    smb=settings,
    native=st.builds(NativeDeployment, networks, st.integers(0, 65535)),
) | st.builds(FileServerSpec, lxc=st.none() | containers)
rules = st.lists(
    st.builds(AccessRule, st.sampled_from([PrincipalKind.USER, PrincipalKind.GROUP]), account, st.sampled_from(AccessLevel))
    | st.builds(AccessRule, st.just(PrincipalKind.EVERYONE), st.just(""), st.sampled_from(AccessLevel)),
    max_size=4,
    unique_by=lambda rule: (rule.kind, rule.id),
).map(tuple)
storage = st.builds(
    share.DirectoryStorage,
    path=st.just("") | account.map(lambda id: f"/srv/{id}"),
    owner=st.just("") | account,
    group=st.just("") | account,
    mode=mode,
) | st.builds(share.VolumeStorage, st.integers(share.MIN_VOLUME_BYTES, share.MAX_VOLUME_BYTES), storage_ids, st.booleans())
storages: st.SearchStrategy[share.Storage] = storage | st.builds(
    share.HostPathStorage, account.map(lambda id: f"/tank/{id}")
)
creation = st.builds(share.FileCreation, st.just("") | account, st.just("") | account, mode, mode)
shares = st.builds(
    ShareSpec,
    comment=line,
    labels=labels,
    storage=storages,
    access=rules,
    guest_access=st.just(GuestAccess.NONE),
    browseable=st.booleans(),
    read_only=st.booleans(),
    hosts_allow=networks,
    hosts_deny=networks,
    encryption_required=st.booleans(),
    max_connections=st.integers(0, 1_000_000),
    file_creation=creation,
    smb_options=st.dictionaries(account, line, max_size=3),
) | st.builds(ShareSpec, guest_access=st.sampled_from(GuestAccess))
users = st.builds(UserSpec, line, labels, st.booleans())
groups = st.builds(GroupSpec, line, labels, st.lists(account, unique=True, max_size=3).map(tuple))


def resource(kind: Kind, spec: Any, **fields: Any) -> Resource[Any]:
    name = SERVER if kind is Kind.FILE_SERVER else SERVER.child(kind, "x")
    values: dict[str, Any] = {"state": State.READY, "generation": 3, "observed_generation": 2}
    return Resource(name, "u-1", spec, create_time=5.5, update_time=6.25, **{**values, **fields})


@given(servers)
def test_file_servers_come_back(spec: FileServerSpec) -> None:
    assert conversions.file_server_spec(conversions.file_server_message(resource(Kind.FILE_SERVER, spec))) == spec


@given(shares)
def test_shares_come_back(spec: ShareSpec) -> None:
    assert conversions.share_spec(conversions.share_message(resource(Kind.SHARE, spec))) == spec


@given(users)
def test_users_come_back(spec: UserSpec) -> None:
    assert conversions.user_spec(conversions.user_message(resource(Kind.USER, spec))) == spec


@given(groups)
def test_groups_come_back(spec: GroupSpec) -> None:
    assert conversions.group_spec(conversions.group_message(resource(Kind.GROUP, spec))) == spec


def test_an_empty_message_is_the_default() -> None:
    assert conversions.file_server_spec(file_server_pb2.FileServer()) == FileServerSpec()
    assert conversions.share_spec(share_pb2.Share()) == ShareSpec()
    assert conversions.user_spec(user_pb2.User()) == UserSpec()
    assert conversions.group_spec(user_pb2.Group()) == GroupSpec()


@pytest.mark.parametrize(
    ("message", "spec", "elsewhere"),
    [
        (file_server_pb2.FileServer, FileServerSpec, set()),
        (file_server_pb2.SmbSettings, SmbSettings, set()),
        (file_server_pb2.NativeDeployment, NativeDeployment, set()),
        (share_pb2.Share, ShareSpec, {"directory", "volume", "host_path"}),
        (share_pb2.HostPathStorage, share.HostPathStorage, set()),
        (file_server_pb2.LxcDeployment, LxcDeployment, set()),
        (file_server_pb2.GuestNetwork, GuestNetwork, set()),
        (file_server_pb2.GuestPlacement, GuestPlacement, set()),
        (share_pb2.DirectoryStorage, share.DirectoryStorage, set()),
        (share_pb2.VolumeStorage, share.VolumeStorage, set()),
        (share_pb2.FileCreation, share.FileCreation, set()),
        (user_pb2.User, UserSpec, {"password"}),
        (user_pb2.Group, GroupSpec, set()),
    ],
)
def test_every_field_of_the_contract_is_taken_or_refused(message: Any, spec: Any, elsewhere: set[str]) -> None:
    """A field that is neither in the domain nor refused as unbuilt would be ignored in silence."""
    fields = {field.name: field for field in message.DESCRIPTOR.fields if settable(field)}
    unbuilt = set()
    for name, field in fields.items():
        set_message: Message = message()
        if field.message_type is None or field.is_repeated:
            continue
        getattr(set_message, name).SetInParent()
        try:
            conversions.refuse_unbuilt(set_message, "p")
        except FeatureNotAvailable as error:
            assert error.metadata == {"field": f"p.{name}"}
            unbuilt.add(name)
    known = {field.name for field in dataclasses.fields(spec)} - {"storage" if spec is ShareSpec else ""}
    assert set(fields) - unbuilt - elsewhere == known


@pytest.mark.parametrize(
    ("kind", "spec"),
    [(Kind.FILE_SERVER, FileServerSpec()), (Kind.SHARE, ShareSpec()), (Kind.USER, UserSpec()), (Kind.GROUP, GroupSpec())],
)
def test_what_all_resources_have(kind: Kind, spec: Any) -> None:
    condition = Condition("Drifted", Severity.WARNING, "DRIFTED", "is different", "repair it", 7.5)
    made = resource(kind, spec, state=State.DEGRADED, conditions=(condition,))
    message: Any = conversions.message_of(made)
    assert (message.name, message.uid, message.etag) == (str(made.name), "u-1", made.etag)
    assert (message.generation, message.observed_generation) == (3, 2)
    assert message.create_time.ToMicroseconds() == 5_500_000
    assert message.update_time.ToMicroseconds() == 6_250_000
    (told,) = message.conditions
    assert (told.type, told.reason, told.message, told.action) == ("Drifted", "DRIFTED", "is different", "repair it")
    assert told.last_transition_time.ToMicroseconds() == 7_500_000


def test_what_was_assigned_is_shown() -> None:
    spec: Any = ShareSpec()
    assert conversions.share_message(resource(Kind.SHARE, spec, assigned={"path": "/a"})).effective_path == "/a"
    assert conversions.user_message(resource(Kind.USER, UserSpec(), assigned={"unix_id": 7})).unix_id == 7
    assert conversions.group_message(resource(Kind.GROUP, GroupSpec(), assigned={"unix_id": 8})).unix_id == 8
    server = conversions.file_server_message(resource(Kind.FILE_SERVER, FileServerSpec()), [("::1", 445)])
    assert [(end.address, end.port) for end in server.endpoints] == [("::1", 445)]


def test_a_time_that_is_not_known() -> None:
    assert conversions.timestamp(None) is None


def test_plans() -> None:
    message = conversions.plan_message(Plan(("a", "b"), "diff", ("c",)))
    assert (list(message.steps), message.smb_conf_diff, list(message.effects)) == (["a", "b"], "diff", ["c"])
