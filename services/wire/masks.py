"""Partial updates: what a field mask takes over, and what a caller may not set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from google.api import field_behavior_pb2
from google.protobuf.message import Message

from services.core.errors import InvalidField

M = TypeVar("M", bound=Message)

_NOT_SETTABLE = {
    field_behavior_pb2.OUTPUT_ONLY,
    field_behavior_pb2.IDENTIFIER,
}


def settable(field: Any) -> bool:
    """Whether a caller's value counts; output-only values are ignored silently (AIP-203)."""
    behavior = field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
    return not _NOT_SETTABLE.intersection(behavior) and field.name != "etag"


def merged(current: M, wanted: M, paths: Sequence[str], prefix: str) -> M:
    """A copy of `current` with the masked fields of `wanted`. No path, or `*`, means every settable field; then a oneof
    that `wanted` leaves unset stays as it is."""
    result = type(current)()
    result.CopyFrom(current)
    if not paths or list(paths) == ["*"]:
        for field in wanted.DESCRIPTOR.fields:
            oneof = field.containing_oneof
            real_oneof = oneof is not None and len(oneof.fields) > 1
            if settable(field) and not (real_oneof and not wanted.HasField(field.name)):
                _take(field, wanted, result)
        return result
    for path in paths:
        _merge_path(path.split("."), wanted, result, path, prefix)
    return result


def _merge_path(parts: Sequence[str], wanted: Message, result: Message, path: str, prefix: str) -> None:
    field = wanted.DESCRIPTOR.fields_by_name.get(parts[0])
    if field is None:
        raise InvalidField.of("update_mask", f"{path!r} is not a field of {prefix}")
    if len(parts) == 1:
        if settable(field):
            _take(field, wanted, result)
        return
    if field.message_type is None or field.is_repeated:
        raise InvalidField.of("update_mask", f"{path!r}: only whole lists and maps can be replaced")
    _merge_path(parts[1:], getattr(wanted, field.name), getattr(result, field.name), path, prefix)


def _take(field: Any, wanted: Message, result: Message) -> None:
    """Makes a field of `result` what it is in `wanted`, unset if it is unset there."""
    name = field.name
    result.ClearField(name)
    if field.is_repeated:
        getattr(result, name).MergeFrom(getattr(wanted, name))
    elif field.message_type is not None:
        if wanted.HasField(name):
            getattr(result, name).CopyFrom(getattr(wanted, name))
    elif not field.has_presence or wanted.HasField(name):
        setattr(result, name, getattr(wanted, name))
