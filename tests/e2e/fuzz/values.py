"""Values for the fields of a request, by what the descriptor says of them: boundaries, nonsense, and things that exist."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from typing import Any

from google.api import field_behavior_pb2
from google.protobuf.descriptor import FieldDescriptor as Kinds
from google.protobuf.message import Message

from services.samba.options import ALLOWED, REFUSED
from tests.e2e.fuzz.world import GROUPS, SERVERS, SHARES, USERS, World
from tests.e2e.words import CANARY

_STRINGS = (
    "", " ", "a", "-", ".", "..", "/", "//", "a/b", "../../etc/passwd", "A" * 80, "A" * 81, "x" * 256, "é" * 128, "\0",
    "a\0b", "a\nb", "\r\n", "\t", "\x7f", "\x85", "\u2028", "\u202egnp.exe", "مرحبا", "\u200b", "\ufeff", "e\u0301", "ß",
    "İ", "\U0010ffff", "💣" * 80, "%", "%U%m", "]", "[global]", "a]\nroot preexec = id", "--help", "$(id)", "`id`", "; ls",
    "'\"", "\\", "CON", "IPC$", "print$", "global", "homes", "root", "nobody", "pvesmb-x", "NULL", "-1", "1e999", "NaN",
    "x" * 65536, "💣" * 16384, " " * 65536, "a." * 32768, "/" * 65536, "(" * 3000, '"' * 1000, "\U0001f9ea" * 1000,
    "fe80::1%eth0", "fe80::1%a\nb", "10.0.0.0/8", "10.0.0.1/8", "::/0", "999.1.1.1", "192.0.2.1", "2770", "07777", "0o7",
)  # fmt: skip
_FILTERS = (
    "state = READY", 'labels.team = "a"', 'state = READY AND labels.a = "b"', "state = ", "AND", "state = READY AND ",
    "NOT state = READY", "state != READY", "name = x", "labels. = 1", 'labels.a = "', "a" + " " * 2**20,
    " AND ".join(["state = READY"] * 3000), "state = READY\x00", "state=READY AND " + " " * 40000 + "x",
)  # fmt: skip
_INTS = (0, 1, -1, 2, 3, 7, 50, 999, 1000, 1001, 65535, 65536, 2**31 - 1, 2**32 - 1, 2**63 - 1, -(2**31), -(2**63))
_PATHS = (
    "update_mask",
    "*",
    "comment",
    "native.port",
    "smb.signing",
    "labels.a",
    "native.port.x",
    "name",
    "uid",
    "password",
)
#: A field of a descriptor; the stubs give two types for the one that there is.
Field = Any
_BEHAVIOR = field_behavior_pb2.field_behavior


class Values:
    """Makes values up, by one generator of random numbers, with a world to take real ones from."""

    def __init__(self, chance: random.Random, world: World) -> None:
        self.chance = chance
        self.world = world

    def set(self, owner: Message, field: Field, depth: int = 3) -> None:
        """Gives a field of a message a new value, or none."""
        owner.ClearField(field.name)
        if _is_map(field):
            self._map(getattr(owner, field.name), field)
        elif field.is_repeated:
            into = getattr(owner, field.name)
            for _ in range(self.chance.choice((0, 1, 1, 2, 3, 3, 300, 1001) if depth == 3 else (0, 1, 2))):
                if field.message_type is not None:
                    self.fill(into.add(), depth - 1)
                else:
                    into.append(self.scalar(field))
        elif field.message_type is not None:
            if self.chance.random() < 0.9:
                part = getattr(owner, field.name)
                part.SetInParent()
                self.fill(part, depth - 1)
        else:
            setattr(owner, field.name, self.scalar(field))

    def fill(self, message: Message, depth: int) -> None:
        """Sets about half of the fields, those of messages within it down to a depth."""
        for field in message.DESCRIPTOR.fields:
            if self.chance.random() < 0.5 and (field.message_type is None or depth > 0):
                self.set(message, field, depth)

    def mutate(self, message: Message, times: int) -> str:
        """Gives so many fields, wherever they lie, a new value; says which."""
        changed = []
        for _ in range(times):
            owner, field = self.chance.choice(list(slots(message)))
            self.set(owner, field)
            changed.append(field.name)
        return ", ".join(changed)

    def scalar(self, field: Field) -> Any:
        kind = field.cpp_type
        if kind == Kinds.CPPTYPE_STRING:
            text = self.secret(field) if is_secret(field) else self.text(field.name, field.containing_type.name)
            return text.encode() if field.type == Kinds.TYPE_BYTES else text
        if kind == Kinds.CPPTYPE_BOOL:
            return self.chance.random() < 0.5
        if kind == Kinds.CPPTYPE_ENUM:
            return self.chance.choice([*field.enum_type.values_by_number, -1, 99, 2**31 - 1])
        if kind in (Kinds.CPPTYPE_DOUBLE, Kinds.CPPTYPE_FLOAT):
            return self.chance.choice((0.0, -1.0, float("nan"), float("inf")))
        bits = 32 if kind in (Kinds.CPPTYPE_INT32, Kinds.CPPTYPE_UINT32) else 64
        signed = kind in (Kinds.CPPTYPE_INT32, Kinds.CPPTYPE_INT64)
        least, most = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
        return self.chance.choice([n for n in (*_INTS, least, most) if least <= n <= most])

    def secret(self, field: Field) -> str:
        """What must never be seen again."""
        least = 127 - len(CANARY)  # a password has at most 127 characters
        tails = ("", ".1", "x" * least, "x" * (least + 1), "\n", "\0", "é", "💣" * 20, "x" * 65536, " ", "%", "'", "\\")
        tail = self.chance.choice(tails)
        return CANARY + tail if self.chance.random() < 0.9 else ""

    def text(self, name: str, message: str) -> str:
        """A string for a field of this name: in two of three cases one that fits there."""
        pick, world = self.chance.choice, self.world
        if self.chance.random() < 0.35:
            return self.nonsense()
        if name in ("name", "parent"):
            return self.name()
        if name in ("share_id", "user_id", "group_id", "user", "group", "members", "owner", "force_user", "force_group"):
            return pick((*SHARES, *USERS, *GROUPS))
        if name == "file_server_id":
            return pick((*SERVERS, "fuzz-c"))
        if name in ("etag", "uid"):
            return pick(world.etags or [""])
        if name == "page_token":
            return self._bent(pick(world.tokens)) if world.tokens else ""
        if name == "request_id":
            return str(uuid.UUID(int=self.chance.choice((self.chance.getrandbits(128), 0, 1, 2, 3))))
        if name == "filter":
            return pick(_FILTERS)
        if name == "paths":
            return pick((*_PATHS, *_PATHS, "a." * 100, "deployment", "access", "directory.path", "volume.size_bytes"))
        if name == "path":
            return self.path()
        if name in ("listen_addresses", "address"):
            return pick((*world.addresses, "192.0.2.1", "fe80::1%lo"))
        return pick(("", "a", "READY", "WORKGROUP", "0660", "2770", "10.1.0.0/16", "::1", "pvesmb.v1.ShareService"))

    def name(self) -> str:
        """A resource name: of something that is there, of something that is not, or not quite one."""
        world, roll = self.world, self.chance.random()
        real = [name for names in world.names.values() for name in names] + world.operations + [world.backend]
        if roll < 0.5:
            return self.chance.choice(real)
        if roll < 0.7:
            parts = self.chance.choice(real).split("/")
            parts[self.chance.randrange(len(parts))] = self.chance.choice(("-", "", "nope", "..", self.nonsense()))
            return "/".join(parts)
        made = f"{world.backend}/fileServers/{self.chance.choice((*SERVERS, 'fuzz-c', 'nope'))}"
        kind, id = self.chance.choice((("shares", "nope"), ("users", "nope"), ("groups", "x"), ("operations", "0" * 32)))
        return self.chance.choice(
            (made, f"{made}/{kind}/{id}", f"{world.backend}/{kind}/{id}", "backends/-", "backends/gone")
        )

    def path(self) -> str:
        data = self.world.data
        inside = (f"{data}/fuzz", f"{data}/fuzz/deep/er", f"{data}/fuzz-a/docs", f"{data}/ümlaut dir")
        outside = ("/etc", "/", "/proc/self/root", f"{data}/link/in", f"{data}/../up", data, f"{data}/./x", f"//{data}/x")
        return self.chance.choice((*inside, *outside))

    def nonsense(self) -> str:
        if self.chance.random() < 0.85:
            return self.chance.choice(_STRINGS)
        ranges = ((0x00, 0x7F), (0xA0, 0x7FF), (0x2000, 0x2FFF), (0x10000, 0x10FFFF))
        return "".join(chr(self.chance.randint(*self.chance.choice(ranges))) for _ in range(self.chance.randint(1, 40)))

    def _map(self, into: Any, field: Field) -> None:
        known = (*ALLOWED, *REFUSED) if field.name == "smb_options" else ("team", "a.b/c-d", "owner")
        for _ in range(self.chance.choice((0, 1, 1, 2, 70))):
            key = self.nonsense() if self.chance.random() < 0.3 else self.chance.choice(known)
            into[key] = self.chance.choice(("yes", "no", "0", "a", self.nonsense()))

    def _bent(self, token: str) -> str:
        """A page token with one character changed, one lost, or as it was."""
        at, roll = self.chance.randrange(len(token)), self.chance.random()
        if roll < 0.3:
            return token
        return token[:at] + ("" if roll < 0.6 else self.chance.choice("aZ0-_=+/é")) + token[at + 1 :]


def slots(message: Message) -> Iterator[tuple[Message, Field]]:
    """Every field of a message, set or not, and those of the messages in it that are set."""
    for field in message.DESCRIPTOR.fields:
        yield message, field
        if field.message_type is None or _is_map(field):
            continue
        if field.is_repeated:
            for part in list(getattr(message, field.name))[:3]:
                yield from slots(part)
        elif message.HasField(field.name):
            yield from slots(getattr(message, field.name))


def is_secret(field: Field) -> bool:
    """Whether the contract says that the value is never returned."""
    return field_behavior_pb2.INPUT_ONLY in field.GetOptions().Extensions[_BEHAVIOR]


def without_secrets(message: Message) -> None:
    """Takes the secrets out. Who bends bytes at random may move one into a field that is answered."""
    for owner, field in slots(message):
        if is_secret(field):
            owner.ClearField(field.name)


def _is_map(field: Field) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)
