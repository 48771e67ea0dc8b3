"""Bad fields: each is refused with its exact error, and leaves everything as it was."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, cast

import pvesmb
import pytest

from tests.e2e import modes
from tests.e2e.faults.scene import (
    Bad,
    Scene,
    create_group,
    create_server,
    create_share,
    create_user,
    get_server,
    get_share,
    refuse_all,
)
from tests.e2e.words import MIB, password, user_rule, users
from tests.figures import Figures


def accounts() -> Iterator[Bad]:
    read = pvesmb.AccessRule.ACCESS_LEVEL_READ
    rule = pvesmb.AccessRule
    rules: Mapping[str, tuple[Sequence[pvesmb.AccessRule], str]] = {
        "an unknown user": ([user_rule("carl")], "access[0].user"),
        "an unknown user after a known one": ([user_rule("ann"), user_rule("carl")], "access[1].user"),
        "a group as a user": ([user_rule("crew")], "access[0].user"),
        "a user as a group": ([rule(group="ann", level=read)], "access[0].group"),
        "an unknown group": ([rule(group="staff", level=read)], "access[0].group"),
        "a user of the host": ([user_rule("root")], "access[0].user"),
        "our own account": ([user_rule("pvesmb-probe")], "access[0].user"),
        "capitals": ([user_rule("Ann")], "access[0].user"),
        "a user and more": ([user_rule("ann, ben")], "access[0].user"),
        "a newline": ([user_rule("ann\nguest ok = yes")], "access[0].user"),
        "an empty user": ([user_rule("")], "access[0].principal"),
        "no principal": ([rule(level=read)], "access[0].principal"),
        "no level": ([rule(user="ann")], "access[0].level"),
        "a level that there is not": ([rule(user="ann", level=cast(Any, 99))], "access[0].level"),
        "not everyone": ([rule(everyone=False, level=read)], "access[0].everyone"),
        "two rules": ([user_rule("ann"), rule(user="ann", level=read)], "access[1]"),
        "257 rules": ([user_rule(f"u{i}") for i in range(257)], "access"),
    }
    for what, (access, field) in rules.items():
        yield Bad(f"a share for {what}", partial(create_share, access=access), "FIELD_INVALID", f"share.{field}")

        def update(s: Scene, access: Sequence[pvesmb.AccessRule] = access) -> Any:
            return s.client.shares.update(pvesmb.Share(name=s.server.share("docs"), access=access), ["access"])

        yield Bad(f"docs for {what}", update, "FIELD_INVALID", f"share.{field}")
        first = {"bad": pvesmb.Share(access=access)}
        yield Bad(
            f"a first share for {what}",
            partial(create_server, shares=first, users=users("ann", "ben")),
            "FIELD_INVALID",
            f"shares[0].share.{field}",
        )
    for field in ("force_user", "force_group"):
        creation = pvesmb.FileCreation(**{field: "nobody"})
        yield Bad(field, partial(create_share, file_creation=creation), "FIELD_INVALID", f"share.file_creation.{field}")
    yield Bad("a member", lambda s: create_group(s, members=["ann", "carl"]), "FIELD_INVALID", "group.members[1]")
    yield Bad("a member twice", lambda s: create_group(s, members=["ann", "ann"]), "FIELD_INVALID", "group.members")


def values() -> Iterator[Bad]:
    creation, volume = pvesmb.FileCreation, pvesmb.VolumeStorage
    shares: Sequence[tuple[str, dict[str, Any], str]] = [
        ("comment of two lines", {"comment": "a\nb"}, "comment"),
        ("comment with a substitution", {"comment": "%U"}, "comment"),
        ("long comment", {"comment": "x" * 257}, "comment"),
        ("label", {"labels": {"A B": "x"}}, "labels"),
        ("65 labels", {"labels": {f"l{i}": "" for i in range(65)}}, "labels"),
        ("host", {"hosts_allow": ["10.0.0.1", "here"]}, "hosts_allow[1]"),
        ("network with host bits", {"hosts_deny": ["10.0.0.1/8"]}, "hosts_deny[0]"),
        ("host twice", {"hosts_deny": ["10.0.0.1", "10.0.0.1"]}, "hosts_deny"),
        ("connections", {"max_connections": -1}, "max_connections"),
        ("mask", {"file_creation": creation(create_mask="0888")}, "file_creation.create_mask"),
        ("mask for directories", {"file_creation": creation(directory_mask="rwx")}, "file_creation.directory_mask"),
        ("small volume", {"volume": volume(size_bytes=MIB)}, "volume.size_bytes"),
        ("negative volume", {"volume": volume(size_bytes=-1)}, "volume.size_bytes"),
        ("guests that encrypt", {"guest_access": 2, "encryption_required": True}, "guest_access"),
        ("guest access that there is not", {"guest_access": 77}, "guest_access"),
        *(
            (f"option {name}", {"smb_options": {name: value}}, f"smb_options[{name}]")
            for name, value in {
                "root preexec": "touch /tmp/x",
                "preexec": "x",
                "wide links": "yes",
                "include": "/etc/passwd",
                "copy": "docs",
                "path": "/etc",
                "guest ok": "yes",
                "valid users": "root",
                "pvesmb:uid": "1",
                "block size": "many",
                "veto files": "/a\n[b]/",
                "nonsense": "x",
            }.items()
        ),
    ]
    for what, fields, field in shares:
        yield Bad(what, partial(create_share, **fields), "FIELD_INVALID", f"share.{field}")
    absent: Sequence[dict[str, Any]] = [
        {"quota": pvesmb.Quota(limit_bytes=1)},
        {"audit": pvesmb.Audit(enabled=True)},
    ]
    for fields in absent:
        yield Bad(
            f"feature {next(iter(fields))}",
            partial(create_share, **fields),
            "FEATURE_NOT_AVAILABLE",
            code=pvesmb.Unimplemented,
        )
    for what, secret in {"no": "", "long": "x" * 128, "two lines of": "a\nb", "NUL in": "a\0b"}.items():
        yield Bad(f"{what} password", partial(create_user, password=secret), "FIELD_INVALID", "user.password")

        def reset(s: Scene, secret: str = secret) -> Any:
            return s.client.users.reset_password(s.server.user("ann"), secret)

        yield Bad(f"{what} new password", reset, "FIELD_INVALID", "password")
    yield Bad("GECOS", lambda s: create_user(s, full_name="a:b"), "FIELD_INVALID", "user.full_name")
    settings = pvesmb.SmbSettings
    servers: Sequence[tuple[str, dict[str, Any], str]] = [
        ("NetBIOS name", {"smb": settings(netbios_name="x" * 16)}, "smb.netbios_name"),
        ("workgroup", {"smb": settings(workgroup="a b")}, "smb.workgroup"),
        ("no signing", {"smb": settings(signing=pvesmb.Demand.DEMAND_OFF)}, "smb.signing"),
        ("description", {"description": "a\nb"}, "description"),
    ]
    for what, fields, field in servers:
        yield Bad(what, partial(create_server, **fields), "FIELD_INVALID", f"file_server.{field}")


def native_values() -> Iterator[Bad]:
    """What native mode alone takes."""
    directory, native = pvesmb.DirectoryStorage, pvesmb.NativeDeployment
    shares: Sequence[tuple[str, dict[str, Any]]] = [
        ("directory.owner", {"directory": directory(owner="nobody")}),
        ("directory.group", {"directory": directory(group="nobody")}),
        ("directory.mode", {"directory": directory(mode="99")}),
        ("volume.storage", {"volume": pvesmb.VolumeStorage(size_bytes=512 * MIB, storage="zfs")}),
    ]
    for field, fields in shares:
        yield Bad(field, partial(create_share, **fields), "FIELD_INVALID", f"share.{field}")
    away: dict[str, Any] = {"host_path": pvesmb.HostPathStorage(path="/srv")}
    yield Bad("host_path", partial(create_share, **away), "FEATURE_NOT_AVAILABLE", code=pvesmb.Unimplemented)
    servers = [("port", native(port=65536)), ("listen_addresses[0]", native(listen_addresses=["here"]))]
    for field, spec in servers:
        yield Bad(field, partial(create_server, native=spec), "FIELD_INVALID", f"file_server.native.{field}")


def lxc_values() -> Iterator[Bad]:
    """What LXC mode alone takes."""
    lxc, placement, network = pvesmb.LxcDeployment, pvesmb.GuestPlacement, pvesmb.GuestNetwork
    servers: Sequence[tuple[str, pvesmb.LxcDeployment]] = [
        ("placement.vmid", lxc(placement=placement(vmid=99))),
        ("placement.cores", lxc(placement=placement(cores=129))),
        ("placement.memory_bytes", lxc(placement=placement(memory_bytes=1000))),
        ("placement.hostname", lxc(placement=placement(hostname="a_b"))),
        ("placement.pool", lxc(placement=placement(pool="a b"))),
        ("placement.storage", lxc(placement=placement(storage="a,b"))),
        ("network.bridge", lxc(network=network(bridge="vmbr0,ip=dhcp"))),
        ("network.vlan", lxc(network=network(vlan=4095))),
        ("network.ipv4_address", lxc(network=network(ipv4_address="10.0.0.5"))),
        ("network.ipv4_gateway", lxc(network=network(ipv4_gateway="10.0.0.1"))),
        ("network.ipv6_address", lxc(network=network(ipv6_address="here"))),
        ("network.nameservers[0]", lxc(network=network(nameservers=["dns"]))),
        ("network.search_domain", lxc(network=network(search_domain="a b"))),
        ("swap_bytes", lxc(swap_bytes=1000)),
    ]
    for field, spec in servers:
        yield Bad(field, partial(create_server, lxc=spec), "FIELD_INVALID", f"file_server.lxc.{field}")
    for directory in (pvesmb.DirectoryStorage(path="/srv/x"), pvesmb.DirectoryStorage(mode="2750")):
        act = partial(create_share, directory=directory)
        yield Bad("directory", act, "FEATURE_NOT_AVAILABLE", code=pvesmb.Unimplemented)


def native_preconditions(scene: Scene) -> Iterator[Bad]:
    s, unmet, failed = scene.server, "PRECONDITION_FAILED", pvesmb.FailedPrecondition
    docs = scene.client.shares.get(s.share("docs")).effective_path
    moved = pvesmb.Share(name=s.share("docs"), directory=pvesmb.DirectoryStorage(path=f"{docs}-elsewhere"))
    yield Bad("docs elsewhere", lambda x: x.client.shares.update(moved, ["directory"]), "FIELD_INVALID", "share.directory")
    taken = pvesmb.DirectoryStorage(path=docs)
    yield Bad("a directory of another", lambda x: create_share(x, directory=taken), unmet, code=failed)


def numbers() -> Iterator[Bad]:
    """Etags, request ids and masks."""
    stale: Mapping[str, Callable[[Scene], Any]] = {
        "share": lambda s: s.client.shares.update(pvesmb.Share(name=s.server.share("docs"), comment="x", etag="old")),
        "user": lambda s: s.client.users.update(pvesmb.User(name=s.server.user("ann"), full_name="x", etag="old")),
        "group": lambda s: s.client.groups.update(pvesmb.Group(name=s.server.group("crew"), etag="old")),
        "server": lambda s: s.client.file_servers.update(pvesmb.FileServer(name=s.server.name, etag="old")),
        "share to delete": lambda s: s.client.shares.delete(s.server.share("docs"), etag="old"),
        "user to delete": lambda s: s.client.users.delete(s.server.user("ann"), etag="old"),
        "group to delete": lambda s: s.client.groups.delete(s.server.group("crew"), etag="old"),
        "server to delete": lambda s: s.client.file_servers.delete(s.server.name, force=True, etag="old"),
        "password": lambda s: s.client.users.reset_password(s.server.user("ann"), "x", etag="old"),
    }
    for what, act in stale.items():
        yield Bad(f"a stale etag of a {what}", act, "ETAG_MISMATCH", code=pvesmb.Aborted)
    for id in ("1", "not-a-uuid", "6c0e64b6-43a8-4d77-8d1d-3f6e4f1b7c5", "a\nb"):
        yield Bad(
            f"request_id {id!r}",
            partial(create_share, request_id=id),
            "FIELD_INVALID",
            "request_id",
        )
    for path in ("nonsense", "access.user", "labels.a", "quota.nonsense", ""):

        def masked(s: Scene, path: str = path) -> Any:
            return s.client.shares.update(pvesmb.Share(name=s.server.share("docs")), [path])

        yield Bad(f"mask {path!r}", masked, "FIELD_INVALID", "update_mask")


def preconditions(scene: Scene) -> Iterator[Bad]:
    unmet, failed = "PRECONDITION_FAILED", pvesmb.FailedPrecondition
    s = scene.server
    delete = scene.client.file_servers.delete
    yield Bad("shares are left", lambda _: delete(s.name), unmet, s.share("crew"), failed)
    yield Bad("data without force", lambda _: delete(s.name, delete_data=True), "FIELD_INVALID", "delete_data")
    yield Bad("a user is named", lambda x: x.client.users.delete(s.user("ann")), unmet, s.share("docs"), failed)
    yield Bad("a group is named", lambda x: x.client.groups.delete(s.group("crew")), unmet, s.share("crew"), failed)
    yield Bad("guests", lambda x: create_share(x, guest_access=2), unmet, s.name, failed)
    for name in (f"{s.name}/shares/none", f"{scene.deployment.backend}/fileServers/none/shares/docs"):
        yield Bad(name, partial(get_share, name=name), "RESOURCE_NOT_FOUND", code=pvesmb.NotFound)
    nobody = "backends/nobody/fileServers/x"
    yield Bad(nobody, lambda x: x.client.file_servers.get(nobody), "BACKEND_UNKNOWN", code=pvesmb.NotFound)
    for name in ("", "x", "backends/-/fileServers/x", "backends/node1\n/fileServers/x", "backends/Node1/fileServers/x"):
        yield Bad(f"name {name!r}", partial(get_server, name=name), "FIELD_INVALID", "name")


def test_accounts(scene: Scene, figures: Figures) -> None:
    refuse_all(scene, figures, "unknown users and groups, and other bad access rules", list(accounts()))


def test_values(scene: Scene, figures: Figures) -> None:
    refuse_all(scene, figures, "values of other fields, options and passwords", list(values()))


def test_etags_request_ids_and_masks(scene: Scene, figures: Figures) -> None:
    refuse_all(scene, figures, "stale etags, malformed request ids and masks", list(numbers()))


def test_preconditions(scene: Scene, figures: Figures) -> None:
    refuse_all(scene, figures, "what the state of others forbids, and names of nothing", list(preconditions(scene)))


@modes.only("native")
def test_values_of_native_mode(scene: Scene, figures: Figures) -> None:
    table = [*native_values(), *native_preconditions(scene)]
    refuse_all(scene, figures, "values of fields of native mode, and its directories", table)


@modes.only("lxc")
def test_values_of_lxc_mode(scene: Scene, figures: Figures) -> None:
    refuse_all(scene, figures, "values of fields of LXC mode", list(lxc_values()))


@modes.only("native")
def test_addresses(scene: Scene, figures: Figures) -> None:
    """Taken by us or by a stranger, at first and by an update; or not of this node."""
    with socket.socket() as foreign:
        strange = scene.deployment.spec()
        foreign.bind((strange.native.listen_addresses[0], strange.native.port))
        foreign.listen()
        ours, everywhere = scene.deployment.spec(), scene.deployment.spec()
        ours.native.CopyFrom(scene.server.resource.native)
        everywhere.native.listen_addresses[:] = ["0.0.0.0"]
        away = scene.deployment.spec()
        away.native.listen_addresses[:] = ["192.0.2.1"]
        table = []
        for spec, reason in ((strange, "ADDRESS_IN_USE"), (ours, "ADDRESS_IN_USE"), (everywhere, "ADDRESS_IN_USE")):
            table.append(Bad("a new one", partial(create_server, spec=spec), reason, code=pvesmb.FailedPrecondition))
        for spec, reason in ((strange, "ADDRESS_IN_USE"), (away, "PRECONDITION_FAILED")):
            moved = pvesmb.FileServer(name=scene.server.name, native=spec.native)

            def update(s: Scene, moved: pvesmb.FileServer = moved) -> Any:
                return s.client.file_servers.update(moved, ["native"])

            table.append(Bad("an update", update, reason, code=pvesmb.FailedPrecondition))
        table.append(
            Bad(
                "not of this node", partial(create_server, spec=away), "PRECONDITION_FAILED", code=pvesmb.FailedPrecondition
            )
        )
        refuse_all(scene, figures, "addresses and ports taken by us or by a stranger", table)
        with pytest.raises(pvesmb.FailedPrecondition, match=f"{os.getpid()}"):
            create_server(scene, spec=strange).result(timeout=60)


def test_a_request_id_with_another_body(scene: Scene, figures: Figures) -> None:
    client, server, id = scene.client, scene.server, str(uuid.uuid4())
    user = pvesmb.User(password=password("ed"))
    first = client.users.create(server.name, "ed", user, request_id=id)
    made = first.result(timeout=60)
    for spelling in (id, id.upper()):
        again = client.users.create(server.name, "ed", user, request_id=spelling)
        assert (again.name, again.result(timeout=60)) == (first.name, made)
    others: Sequence[Callable[[Scene], Any]] = [
        lambda s: s.client.users.create(server.name, "ed", pvesmb.User(password=password("ed", 2)), request_id=id),
        lambda s: s.client.users.create(server.name, "fred", user, request_id=id),
        lambda s: s.client.users.create(server.name, "ed", user, request_id=id, validate_only=True),
        lambda s: s.client.users.delete(server.user("ed"), request_id=id),
        lambda s: s.client.shares.create(server.name, "bad", pvesmb.Share(), request_id=id),
        lambda s: s.client.shares.delete(server.share("docs"), request_id=id.replace("-", "")),
    ]
    table = [Bad("another body", act, "REQUEST_ID_REUSED") for act in others]
    for bad in table:
        bad.refused(scene)
    client.users.delete(server.user("ed")).result(timeout=60)
    refuse_all(scene, figures, "one request id with another body", table)
