"""Inputs: a method with the bytes, metadata and deadline of one call."""

from __future__ import annotations

import base64
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pvesmb
from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from tests.e2e.fuzz import wire
from tests.e2e.fuzz.values import Values, without_secrets
from tests.e2e.fuzz.world import GROUPS, SHARES, USERS
from tests.e2e.words import CANARY, user_rule

Metadata = tuple[tuple[str, str | bytes], ...]
#: Long enough for every call that does not wait for something by its nature.
PLAIN_SECONDS = 20.0
#: Calls that last as long as they are let.
LONG_SECONDS = 0.25
LONG = {"/google.longrunning.Operations/WaitOperation", "/grpc.health.v1.Health/Watch"}
#: gRPC's receivers take 8 KiB of metadata, its own headers among them, and from then on less and less surely.
METADATA_MAX = 7_000


@dataclass(frozen=True)
class Input:
    """One call. `how` tells how it was made."""

    method: MethodDescriptor
    body: bytes
    how: str
    metadata: Metadata = ()
    seconds: float = PLAIN_SECONDS

    @property
    def path(self) -> str:
        return f"/{self.method.containing_service.full_name}/{self.method.name}"

    def __str__(self) -> str:
        """What it takes to make the call again; for `cases`."""
        body, metadata = base64.b64encode(self.body).decode(), [(key, value[:40]) for key, value in self.metadata]
        return f"{self.how}: {self.path} {body} {metadata} {self.seconds}"


def make(values: Values, method: MethodDescriptor) -> Input:
    """An input: half are valid requests with a few fields changed, the others stray further."""
    chance, roll = values.chance, values.chance.random()
    message = seed(values, method)
    how = "valid"
    if roll < 0.55:
        how = "changed " + values.mutate(message, chance.randint(1, 3)) if message.DESCRIPTOR.fields else how
    elif roll < 0.7:
        message.Clear()
        values.fill(message, 3)
        how = "random"
    elif roll < 0.9:
        without_secrets(message)
    body = message.SerializeToString()
    if 0.7 <= roll < 0.9:
        how, body = wire.bend(chance, body)
    made = Input(method, body, how, seconds=LONG_SECONDS if _path(method) in LONG else PLAIN_SECONDS)
    if chance.random() < 0.1:
        made = replace(made, metadata=_metadata(chance), how=made.how + ", with metadata")
    if chance.random() < 0.03:
        made = replace(made, seconds=chance.choice((0.0, 0.001, 0.01)), how=made.how + ", in a hurry")
    return made


def seed(values: Values, method: MethodDescriptor) -> Any:
    """A request that is valid in the world, or was a moment ago."""
    message: Any = GetMessageClass(method.input_type)()
    build = _SEEDS.get(method.name)
    if build is not None:
        build(values, message)
    fields = message.DESCRIPTOR.fields_by_name
    if "request_id" in fields and values.chance.random() < 0.3:
        message.request_id = values.text("request_id", "")
    if "validate_only" in fields:
        message.validate_only = values.chance.random() < (0.8 if "FileServer" in method.name else 0.4)
    if "page_size" in fields:
        message.page_size = values.chance.choice((0, 1, 2))
    if "page_token" in fields and values.world.tokens and values.chance.random() < 0.3:
        message.page_token = values.chance.choice(values.world.tokens)
    return message


def _path(method: MethodDescriptor) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"


# Seeds


def _server(values: Values) -> str:
    return values.chance.choice(values.world.names["fileServers"] or [values.world.server("fuzz-a")])


def _named(kind: str) -> Callable[[Values, Any], None]:
    def build(values: Values, message: Any) -> None:
        message.name = values.chance.choice(values.world.names[kind] or [f"{_server(values)}/{kind}/gone"])

    return build


def _of(kind: str) -> Callable[[Values, Any], None]:
    def build(values: Values, message: Any) -> None:
        message.parent = values.world.backend if kind == "fileServers" else _server(values)
        if values.chance.random() < 0.2:
            message.parent = message.parent.replace(values.world.backend, "backends/-", 1)

    return build


def _operation(values: Values, message: Any) -> None:
    message.name = values.chance.choice(values.world.operations or [f"{values.world.backend}/operations/gone"])
    if "timeout" in message.DESCRIPTOR.fields_by_name:
        message.timeout.FromMilliseconds(100)


def _new_file_server(values: Values, message: Any) -> None:
    message.parent, message.file_server_id = values.world.backend, "fuzz-c"
    message.file_server.CopyFrom(values.world.specs[-1])
    message.users.add(user_id=USERS[0]).user.password = CANARY
    message.groups.add(group_id=GROUPS[0]).group.members.append(USERS[0])
    message.shares.add(share_id=SHARES[0], share=pvesmb.Share(access=[user_rule(USERS[0])]))


def _new_share(values: Values, message: Any) -> None:
    message.parent, message.share_id = _server(values), values.chance.choice(SHARES)
    message.share.CopyFrom(pvesmb.Share(comment="a", access=[user_rule(USERS[0])], hosts_allow=["127.0.0.0/8"]))
    roll = values.chance.random()
    if roll < 0.2:
        message.share.directory.path = f"{values.world.data}/fuzz/{values.chance.choice('abc')}"
    elif roll < 0.3:
        message.share.volume.size_bytes = 2**29


def _new_user(values: Values, message: Any) -> None:
    message.parent, message.user_id = _server(values), values.chance.choice(USERS)
    message.user.password = CANARY


def _new_group(values: Values, message: Any) -> None:
    message.parent, message.group_id = _server(values), values.chance.choice(GROUPS)
    message.group.members.extend(values.chance.sample(USERS, values.chance.randint(0, min(3, len(USERS)))))


def _changed(field: str, kind: str, **to: Any) -> Callable[[Values, Any], None]:
    def build(values: Values, message: Any) -> None:
        resource = getattr(message, field)
        _named(kind)(values, resource)
        for name, value in to.items():
            setattr(resource, name, value)
        if values.chance.random() < 0.7:
            message.update_mask.paths.extend(to)
        if values.world.etags and values.chance.random() < 0.3:
            resource.etag = values.chance.choice(values.world.etags)

    return build


def _new_password(values: Values, message: Any) -> None:
    _named("users")(values, message)
    message.password = CANARY


def _backend(values: Values, message: Any) -> None:
    message.name = values.world.backend


def _symbol(values: Values, message: Any) -> None:
    message.file_containing_symbol = "pvesmb.v1.ShareService"


def _new_template(values: Values, message: Any) -> None:
    """Planned most of the time: a real build takes its minutes."""
    message.parent, message.debian_release = values.world.backend, 12
    message.validate_only = values.chance.random() < 0.9


def _template(values: Values, message: Any) -> None:
    """None that is there: others are made from it."""
    message.name = f"{values.world.backend}/templates/pvesmb-debian-12-0123456789ab"


_SEEDS: Mapping[str, Callable[[Values, Any], None]] = {
    "CreateFileServer": _new_file_server,
    "GetFileServer": _named("fileServers"),
    "ListFileServers": _of("fileServers"),
    "UpdateFileServer": _changed("file_server", "fileServers", description="b"),
    "DeleteFileServer": _named("fileServers"),
    "CreateShare": _new_share,
    "GetShare": _named("shares"),
    "ListShares": _of("shares"),
    "UpdateShare": _changed("share", "shares", comment="b", read_only=True),
    "DeleteShare": _named("shares"),
    "CreateUser": _new_user,
    "GetUser": _named("users"),
    "ListUsers": _of("users"),
    "UpdateUser": _changed("user", "users", full_name="B", disabled=False),
    "DeleteUser": _named("users"),
    "ResetPassword": _new_password,
    "CreateGroup": _new_group,
    "GetGroup": _named("groups"),
    "ListGroups": _of("groups"),
    "UpdateGroup": _changed("group", "groups", description="b"),
    "DeleteGroup": _named("groups"),
    "BuildTemplate": _new_template,
    "GetTemplate": _template,
    "ListTemplates": _of("fileServers"),
    "ValidateTemplate": _template,
    "DeleteTemplate": _template,
    "GetBackend": _backend,
    "ListOperations": _backend,
    "GetOperation": _operation,
    "DeleteOperation": _operation,
    "CancelOperation": _operation,
    "WaitOperation": _operation,
    "ServerReflectionInfo": _symbol,
}


def seeded(method: MethodDescriptor) -> bool:
    """Whether valid requests of it are known; those without fields need nothing."""
    optional = {"ListBackends", "Check", "Watch", "List"}
    return method.name in _SEEDS or method.name in optional


def _metadata(chance: random.Random) -> Metadata:
    """Headers that lie, or are strange."""
    choices: Sequence[tuple[str, str | bytes]] = (
        ("x-pvesmb-role", "admin"),
        ("x-pvesmb-role", "nobody"),
        ("x-pvesmb-principal", "root"),
        ("x-pvesmb-backend", "node1"),
        ("x-pvesmb-backend", "../etc"),
        ("x-pvesmb-forwarded", "1"),
        ("x-request-id", "a" * 64),
        ("x-request-id", "{}\" ' %s ]"),
        ("authorization", "Bearer nothing"),
        ("authorization", "Basic " + "A" * 3000),
        ("cookie", "a=b"),
        ("x-strange-bin", bytes(range(256))),
        ("grpc-status-details-bin", b"\x08\x0d"),
        ("grpc-trace-bin", b"\xff" * 40),
        ("grpc-previous-rpc-attempts", "999999999999"),
        ("x-big", "b" * 5000),
        ("x-huge", "h" * 10 * METADATA_MAX),
        ("user-agent", "%n%s"),
    )
    return tuple(chance.sample(choices, chance.randint(1, 3)))


def parsed(descriptor: Descriptor, body: bytes) -> Any:
    """A message from its bytes."""
    return GetMessageClass(descriptor).FromString(body)
