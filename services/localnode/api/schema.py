"""Checks of parameters from tables: types, limits and formats, with the messages of PVE::JSONSchema (pve-common)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from services.localnode.api.refusal import bad_parameters

#: What a checked parameter may be. Booleans are 1 and 0, as in the answers of a node.
Value = str | int | float | list[str]
Format = Callable[[str], str | None]

_TRUE = frozenset({"1", "on", "yes", "true"})
_FALSE = frozenset({"0", "off", "no", "false"})


@dataclass(frozen=True)
class Properties:
    """A property string: the keys that it may have, those that it must have, and the key of a part without one."""

    known: frozenset[str]
    required: tuple[str, ...] = ()
    default_key: str = ""

    def wrong(self, name: str, text: str) -> str | None:
        """What is wrong with it as parameter `name`, as a node says it (recorded: errors-089)."""
        given = {part.partition("=")[0] if "=" in part else self.default_key for part in text.split(",")}
        lines = [
            f"{name}.{key}: property is not defined in schema and the schema does not allow additional properties"
            for key in sorted(given - self.known)
        ]
        missing = [key for key in self.required if key not in given]
        lines += [f"{name}.{key}: property is missing and it is not optional" for key in missing]
        return "\n".join(["invalid format - format error", *lines, ""]) if lines else None


@dataclass(frozen=True)
class Param:
    """One parameter. `format` gives None for a good value, or what is wrong with it."""

    type: str = "string"
    required: bool = False
    minimum: float | None = None
    maximum: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    choices: Sequence[str] = ()
    pattern: str = ""
    format: Format | None = None
    properties: Properties | None = None


Table = Mapping[str, Param]

_NUMBERED = re.compile(r"^([a-z]+)(0|[1-9]\d*)$")


def lookup(table: Table, name: str) -> Param | None:
    """The entry of a parameter; `net[n]` in the table stands for net0, net1 and so on."""
    if name in table:
        return table[name]
    numbered = _NUMBERED.match(name)
    return table.get(f"{numbered[1]}[n]") if numbered else None


def check(table: Table, given: Mapping[str, str | list[str]]) -> dict[str, Value]:
    """The parameters with their types, or a refusal that names every one at fault."""
    errors: dict[str, str] = {}
    values: dict[str, Value] = {}
    for name, raw in given.items():
        param = lookup(table, name)
        if param is None:
            errors[name] = "property is not defined in schema and the schema does not allow additional properties"
            continue
        wrong, value = _convert(param, raw)
        if wrong is None and param.properties is not None:
            wrong = param.properties.wrong(name, str(raw))
        if wrong is not None:
            errors[name] = wrong
        else:
            values[name] = value
    for name, param in table.items():
        if param.required and name not in given:
            errors[name] = "property is missing and it is not optional"
    if errors:
        raise bad_parameters(errors)
    return values


def _convert(param: Param, raw: str | list[str]) -> tuple[str | None, Value]:
    if param.type == "array":
        return None, raw if isinstance(raw, list) else [raw]
    if isinstance(raw, list):
        return f"type check ('{param.type}') failed - got ARRAY", ""
    if param.type == "boolean":
        if raw.lower() not in _TRUE | _FALSE:
            return f"type check ('boolean') failed - got '{raw}'", ""
        return None, int(raw.lower() in _TRUE)
    if param.type == "integer" and param.format is not None:
        wrong = param.format(raw)
        return (f"invalid format - {wrong}\n", 0) if wrong is not None else (None, int(raw))
    if param.type == "integer":
        if not re.fullmatch(r"[+-]?\d{1,18}", raw):
            return f"type check ('integer') failed - got '{raw}'", ""
        return _limits(param, int(raw)), int(raw)
    if param.type == "number":
        if not re.fullmatch(r"[+-]?\d{1,18}(\.\d{1,18})?", raw):
            return f"type check ('number') failed - got '{raw}'", ""
        return _limits(param, float(raw)), float(raw)
    return _text(param, raw), raw


def _limits(param: Param, number: float) -> str | None:
    if param.minimum is not None and number < param.minimum:
        return f"value must have a minimum value of {param.minimum:g}"
    if param.maximum is not None and number > param.maximum:
        return f"value must have a maximum value of {param.maximum:.0f}"
    return None


def _text(param: Param, text: str) -> str | None:
    if param.max_length is not None and len(text) > param.max_length:
        return f"value may only be {param.max_length} characters long"
    if param.min_length is not None and len(text) < param.min_length:
        return f"value must be at least {param.min_length} characters long"
    if param.pattern and not re.fullmatch(param.pattern, text):
        return "value does not match the regex pattern"
    if param.choices and text not in param.choices:
        return f"value '{text}' does not have a value in the enumeration '{', '.join(param.choices)}'"
    if param.format is not None and (wrong := param.format(text)) is not None:
        return f"invalid format - {wrong}\n"
    return None
