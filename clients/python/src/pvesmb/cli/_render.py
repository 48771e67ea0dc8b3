"""Messages as people read them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pvesmb._units import format_size


def word(message: Any, field: str) -> str:
    """The value of an enumeration in lower case, without the prefix that all its values have."""
    descriptor = message.DESCRIPTOR.fields_by_name[field]
    return _word(descriptor, getattr(message, field))


def _word(field: Any, number: int) -> str:
    value = field.enum_type.values_by_number.get(number)
    if value is None:
        return str(number)
    unset = field.enum_type.values_by_number[0].name
    return str(value.name.removeprefix(unset.removesuffix("UNSPECIFIED"))).lower().replace("_", "-")


def time(stamp: Any) -> str:
    from datetime import UTC

    return str(stamp.ToDatetime(tzinfo=UTC).astimezone().isoformat(" ", "seconds"))


def address(endpoint: Any) -> str:
    host = f"[{endpoint.address}]" if ":" in endpoint.address else endpoint.address
    return f"{host}:{endpoint.port}"


def access(rule: Any) -> str:
    """`alice read-write`, `group staff read`, `everyone read`."""
    whom = {"user": rule.user, "group": f"group {rule.group}", "everyone": "everyone"}
    return f"{whom.get(rule.WhichOneof('principal') or '', '?')} {word(rule, 'level')}"


def condition(item: Any) -> str:
    text = f"{word(item, 'severity')} {item.type} ({item.reason}): {item.message}"
    return f"{text} What to do: {item.action}" if item.action else text


def storage(share: Any) -> str:
    """Where the files are, with the size of a volume."""
    match share.WhichOneof("storage"):
        case "volume":
            return format_size(share.volume.size_bytes)
        case "host_path":
            return str(share.host_path.path)
        case _:
            return str(share.effective_path or share.directory.path)


_SPECIAL = {
    "google.protobuf.Timestamp": time,
    "google.protobuf.Duration": lambda d: f"{d.ToMilliseconds() / 1000:g} s",
    "pvesmb.v1.Endpoint": address,
    "pvesmb.v1.AccessRule": access,
    "pvesmb.v1.Condition": condition,
}


def rows(message: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Label and value of every field that is set, in the order of the contract; inner messages are flattened."""
    for field, value in message.ListFields():
        label = f"{prefix}{field.name.replace('_', ' ')}"
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            yield label, ", ".join(f"{key}={value[key]}" for key in sorted(value))
        elif field.is_repeated:
            yield from _repeated(field, label, value)
        elif field.message_type is not None and field.message_type.full_name not in _SPECIAL:
            inner = list(rows(value, f"{label} "))
            yield from inner or [(label, "default")]
        else:
            yield label.removesuffix(" bytes"), _scalar(field, value)


def _repeated(field: Any, label: str, values: Any) -> Iterator[tuple[str, str]]:
    if field.message_type is None:
        yield label, ", ".join(_scalar(field, value) for value in values)
        return
    for value in values:
        yield label, _scalar(field, value)


def _scalar(field: Any, value: Any) -> str:
    if field.message_type is not None:
        special = _SPECIAL.get(field.message_type.full_name)
        return special(value) if special else ", ".join(text for _, text in rows(value))
    if field.enum_type is not None:
        return _word(field, value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return format_size(value) if field.name.endswith("_bytes") else str(value)
