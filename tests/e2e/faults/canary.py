"""Passwords that cannot be mistaken for anything else: where they are planted, and where they are looked for."""

from __future__ import annotations

import base64
import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from tests.e2e.words import CANARY

#: A path of fields that ends at a text or at bytes.
Route = tuple[FieldDescriptor, ...]

_TEXT = (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)


def _in_base64(text: bytes) -> Iterator[bytes]:
    """What of it looks always the same in base64, wherever it begins."""
    for before in range(3):
        whole = base64.b64encode(bytes(before) + text)
        yield whole[4 if before else 0 : -4]


NEEDLES = (CANARY.encode(), CANARY.encode("utf-16-le"), CANARY.encode().hex().encode(), *_in_base64(CANARY.encode()))


def found_in(data: bytes | str) -> bool:
    raw = data.encode() if isinstance(data, str) else data
    return any(needle in raw for needle in NEEDLES)


@dataclass
class Watch:
    """Where a password was seen, and how many arguments and environments were looked at."""

    hits: list[str] = field(default_factory=list)
    looks: int = 0


@contextmanager
def watching() -> Iterator[Watch]:
    """Looks at the arguments and environments of all processes the whole time."""
    watch, done, seen = Watch(), threading.Event(), set[tuple[str, str]]()

    def look() -> None:
        while not done.wait(0.002):
            for pid, name in (
                (pid, name) for pid in os.listdir("/proc") if pid.isdigit() for name in ("cmdline", "environ")
            ):
                with contextlib.suppress(OSError), open(f"/proc/{pid}/{name}", "rb") as file:
                    data = file.read()
                    watch.looks += 1
                    if found_in(data) and (pid, name) not in seen:
                        seen.add((pid, name))
                        watch.hits.append(f"{pid} {name}: {data[:200]!r}")

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield watch
    finally:
        done.set()
        thread.join()


def files(base: Path) -> list[Path]:
    paths = [Path(root, name) for root, _, names in os.walk(base) for name in names]
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def holding(base: Path) -> list[str]:
    """Files below a directory that hold a password."""
    return [str(path) for path in files(base) if found_in(path.read_bytes())]


def is_secret(field: FieldDescriptor) -> bool:
    behavior = field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
    return field_behavior_pb2.INPUT_ONLY in behavior and field.type in _TEXT


def texts(message: Descriptor, above: Route = ()) -> Iterator[Route]:
    """Every field of text or bytes in a message, at any depth."""
    for one in message.fields:
        if one.type in _TEXT:
            yield (*above, one)
        elif one.message_type is not None and one not in above:
            yield from texts(one.message_type, (*above, one))


def plant(message: Any, route: Sequence[FieldDescriptor], text: str) -> None:
    """Puts a text there; the messages above it, and the first item of lists, are made where they are missing."""
    first, *rest = route
    if first.message_type is not None and first.message_type.GetOptions().map_entry:
        getattr(message, first.name)[text if rest[0].name == "key" else "key"] = "x" if rest[0].name == "key" else text
    elif rest:
        below = getattr(message, first.name)
        plant((below[0] if below else below.add()) if first.is_repeated else below, rest, text)
    elif first.is_repeated:
        getattr(message, first.name).append(text)
    else:
        setattr(message, first.name, text.encode() if first.type == FieldDescriptor.TYPE_BYTES else text)


def named(route: Route) -> str:
    return ".".join(field.name for field in route)
