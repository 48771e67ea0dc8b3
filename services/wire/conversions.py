"""Messages to specs and resources to messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from pvesmb.v1 import common_pb2, file_server_pb2, share_pb2, template_pb2, user_pb2

from services.core.domain.account import GroupSpec, UserSpec
from services.core.domain.file_server import Demand, Dialect, DriftPolicy, FileServerSpec, NativeDeployment, SmbSettings
from services.core.domain.names import Kind
from services.core.domain.resource import Condition, Resource
from services.core.domain.share import (
    AccessRule,
    DirectoryStorage,
    FileCreation,
    GuestAccess,
    HostPathStorage,
    PrincipalKind,
    ShareSpec,
    Storage,
    VolumeStorage,
)
from services.core.domain.template import TemplateSpec
from services.core.errors import FeatureNotAvailable, InvalidField
from services.core.steps import Plan
from services.wire import enums, guests
from services.wire.paths import at

T = TypeVar("T")

#: Fields of features that no backend has yet. Each entry goes when its feature comes.
_UNBUILT = {
    "pvesmb.v1.FileServer": {"active_directory", "high_availability", "vm"},
    "pvesmb.v1.Share": {"quota", "previous_versions", "time_machine", "recycle_bin", "audit"},
}


def timestamp(seconds: float | None) -> Timestamp | None:
    if seconds is None:
        return None
    result = Timestamp()
    result.FromMicroseconds(round(seconds * 1_000_000))
    return result


def refuse_unbuilt(message: Message, prefix: str) -> None:
    """Refuses a message that sets a field of a feature that is not there."""
    unbuilt = _UNBUILT.get(message.DESCRIPTOR.full_name, set())
    for field, _ in message.ListFields():
        if field.name in unbuilt:
            raise FeatureNotAvailable.of(f"{prefix}.{field.name}")


# Messages to specs. Field paths in errors are relative to the message; `prefix` is put before them.


def file_server_spec(message: file_server_pb2.FileServer, prefix: str = "file_server") -> FileServerSpec:
    refuse_unbuilt(message, prefix)
    smb = message.smb
    native = None
    if message.HasField("native"):
        deployment = message.native
        native = at(
            f"{prefix}.native",
            lambda: NativeDeployment(tuple(deployment.listen_addresses), deployment.port),
        )
    lxc = guests.lxc_deployment(message.lxc, f"{prefix}.lxc") if message.HasField("lxc") else None
    settings = at(
        f"{prefix}.smb",
        lambda: SmbSettings(
            min_protocol=enums.from_wire(enums.DIALECT, smb.min_protocol, "min_protocol", Dialect.SMB3_00),
            signing=enums.from_wire(enums.DEMAND, smb.signing, "signing", Demand.REQUIRED),
            encryption=enums.from_wire(enums.DEMAND, smb.encryption, "encryption", Demand.DESIRED),
            allow_guests=smb.allow_guests,
            netbios_name=smb.netbios_name,
            workgroup=smb.workgroup or "WORKGROUP",
        ),
    )
    return at(
        prefix,
        lambda: FileServerSpec(
            description=message.description,
            labels=dict(message.labels),
            drift_policy=enums.from_wire(enums.DRIFT_POLICY, message.drift_policy, "drift_policy", DriftPolicy.REPAIR),
            smb=settings,
            native=native,
            lxc=lxc,
        ),
    )


def share_spec(message: share_pb2.Share, prefix: str = "share") -> ShareSpec:
    refuse_unbuilt(message, prefix)
    access = tuple(_rule(rule, f"{prefix}.access[{i}]") for i, rule in enumerate(message.access))
    creation = message.file_creation
    file_creation = at(
        f"{prefix}.file_creation",
        lambda: FileCreation(
            force_user=creation.force_user,
            force_group=creation.force_group,
            create_mask=creation.create_mask or FileCreation.create_mask,
            directory_mask=creation.directory_mask or FileCreation.directory_mask,
        ),
    )
    storage = _storage(message, prefix)
    return at(
        prefix,
        lambda: ShareSpec(
            comment=message.comment,
            labels=dict(message.labels),
            storage=storage,
            access=access,
            guest_access=enums.from_wire(enums.GUEST_ACCESS, message.guest_access, "guest_access", GuestAccess.NONE),
            browseable=message.browseable if message.HasField("browseable") else True,
            read_only=message.read_only,
            hosts_allow=tuple(message.hosts_allow),
            hosts_deny=tuple(message.hosts_deny),
            encryption_required=message.encryption_required,
            max_connections=message.max_connections,
            file_creation=file_creation,
            smb_options=dict(message.smb_options),
        ),
    )


def user_spec(message: user_pb2.User, prefix: str = "user") -> UserSpec:
    return at(prefix, lambda: UserSpec(message.full_name, dict(message.labels), message.disabled))


def group_spec(message: user_pb2.Group, prefix: str = "group") -> GroupSpec:
    return at(prefix, lambda: GroupSpec(message.description, dict(message.labels), tuple(message.members)))


def _rule(rule: share_pb2.AccessRule, prefix: str) -> AccessRule:
    which = rule.WhichOneof("principal")
    if which is None:
        raise InvalidField.of(f"{prefix}.principal", "must be a user, a group, or everyone")
    if which == "everyone" and not rule.everyone:
        raise InvalidField.of(f"{prefix}.everyone", "must be true or unset")
    id = "" if which == "everyone" else getattr(rule, which)
    level = enums.from_wire(enums.ACCESS_LEVEL, rule.level, f"{prefix}.level")
    return at(prefix, lambda: AccessRule(PrincipalKind(which), id, level))


def _storage(message: share_pb2.Share, prefix: str) -> Storage:
    if message.HasField("host_path"):
        return at(f"{prefix}.host_path", lambda: HostPathStorage(message.host_path.path))
    if message.HasField("volume"):
        volume = message.volume
        backup = volume.backup if volume.HasField("backup") else True
        return at(f"{prefix}.volume", lambda: VolumeStorage(volume.size_bytes, volume.storage, backup))
    place = message.directory
    return at(
        f"{prefix}.directory",
        lambda: DirectoryStorage(place.path, place.owner, place.group, place.mode or "2770"),
    )


# Resources to messages


def file_server_message(resource: Resource[FileServerSpec], endpoints: Any = ()) -> file_server_pb2.FileServer:
    """`endpoints` are (address, port) pairs, known once it runs."""
    spec = resource.spec
    smb = spec.smb
    message = file_server_pb2.FileServer(
        **_common(resource),
        description=spec.description,
        drift_policy=enums.DRIFT_POLICY[spec.drift_policy],
        endpoints=[file_server_pb2.Endpoint(address=address, port=port) for address, port in endpoints],
        smb=file_server_pb2.SmbSettings(
            min_protocol=enums.DIALECT[smb.min_protocol],
            signing=enums.DEMAND[smb.signing],
            encryption=enums.DEMAND[smb.encryption],
            allow_guests=smb.allow_guests,
            netbios_name=smb.netbios_name,
            workgroup=smb.workgroup,
        ),
    )
    if spec.native is not None:
        message.native.listen_addresses.extend(spec.native.listen_addresses)
        message.native.port = spec.native.port
    if spec.lxc is not None:
        message.lxc.CopyFrom(guests.lxc_message(spec.lxc))
    return message


def share_message(resource: Resource[ShareSpec]) -> share_pb2.Share:
    spec = resource.spec
    creation = spec.file_creation
    message = share_pb2.Share(
        **_common(resource),
        comment=spec.comment,
        effective_path=resource.assigned.get("path", ""),
        access=[_rule_message(rule) for rule in spec.access],
        guest_access=enums.GUEST_ACCESS[spec.guest_access],
        browseable=spec.browseable,
        read_only=spec.read_only,
        hosts_allow=spec.hosts_allow,
        hosts_deny=spec.hosts_deny,
        encryption_required=spec.encryption_required,
        max_connections=spec.max_connections,
        file_creation=share_pb2.FileCreation(
            force_user=creation.force_user,
            force_group=creation.force_group,
            create_mask=creation.create_mask,
            directory_mask=creation.directory_mask,
        ),
        smb_options=dict(spec.smb_options),
    )
    place = spec.storage
    if isinstance(place, VolumeStorage):
        message.volume.CopyFrom(
            share_pb2.VolumeStorage(storage=place.storage, size_bytes=place.size_bytes, backup=place.backup)
        )
    elif isinstance(place, HostPathStorage):
        message.host_path.path = place.path
    else:
        message.directory.CopyFrom(
            share_pb2.DirectoryStorage(path=place.path, owner=place.owner, group=place.group, mode=place.mode)
        )
    return message


def user_message(resource: Resource[UserSpec]) -> user_pb2.User:
    spec = resource.spec
    return user_pb2.User(
        **_common(resource),
        full_name=spec.full_name,
        disabled=spec.disabled,
        unix_id=resource.assigned.get("unix_id", 0),
    )


def group_message(resource: Resource[GroupSpec]) -> user_pb2.Group:
    spec = resource.spec
    return user_pb2.Group(
        **_common(resource),
        description=spec.description,
        members=spec.members,
        unix_id=resource.assigned.get("unix_id", 0),
    )


def template_message(resource: Resource[TemplateSpec], *, current: bool = True) -> template_pb2.Template:
    """`current`: whether it is what would be built now."""
    spec, built = resource.spec, bool(resource.uid)
    return template_pb2.Template(
        name=str(resource.name),
        uid=resource.uid,
        create_time=timestamp(resource.create_time),
        update_time=timestamp(resource.update_time),
        etag=resource.etag if built else "",
        state=enums.STATE[resource.state],
        conditions=[condition_message(condition) for condition in resource.conditions],
        origin=template_pb2.Template.ORIGIN_BUILT if built else template_pb2.Template.ORIGIN_FOUND,
        debian_release=spec.debian_release,
        content_version=spec.content_version,
        current=current,
        volume_id=resource.assigned.get("place", ""),
        size_bytes=resource.assigned.get("size", 0),
    )


def message_of(resource: Resource[Any]) -> Message:
    """The message of a resource of any kind; a file server's endpoints are left out."""
    makers: dict[Kind, Callable[[Resource[Any]], Message]] = {
        Kind.FILE_SERVER: file_server_message,
        Kind.SHARE: share_message,
        Kind.USER: user_message,
        Kind.GROUP: group_message,
        Kind.TEMPLATE: template_message,
    }
    return makers[resource.name.kind](resource)


def condition_message(condition: Condition) -> common_pb2.Condition:
    return common_pb2.Condition(
        type=condition.type,
        severity=enums.SEVERITY[condition.severity],
        reason=condition.reason,
        message=condition.message,
        action=condition.action,
        last_transition_time=timestamp(condition.since),
    )


def plan_message(plan: Plan) -> common_pb2.Plan:
    return common_pb2.Plan(steps=plan.steps, smb_conf_diff=plan.smb_conf_diff, effects=plan.effects)


def _rule_message(rule: AccessRule) -> share_pb2.AccessRule:
    message = share_pb2.AccessRule(level=enums.ACCESS_LEVEL[rule.level])
    if rule.kind is PrincipalKind.EVERYONE:
        message.everyone = True
    else:
        setattr(message, rule.kind.value, rule.id)
    return message


def _common(resource: Resource[Any]) -> dict[str, Any]:
    """The fields that all resources have."""
    return {
        "name": str(resource.name),
        "uid": resource.uid,
        "labels": dict(resource.spec.labels),
        "create_time": timestamp(resource.create_time),
        "update_time": timestamp(resource.update_time),
        "etag": resource.etag,
        "generation": resource.generation,
        "observed_generation": resource.observed_generation,
        "state": enums.STATE[resource.state],
        "conditions": [condition_message(condition) for condition in resource.conditions],
    }
