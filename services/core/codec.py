"""Domain dataclasses to JSON and back, for the store.

Written out of the type annotations, so that a new field of a spec needs no line here: a field that is missing in older JSON
takes its default, and one that is unknown (written by a newer version) is an error rather than lost.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from enum import Enum
from functools import cache, lru_cache
from typing import Any, TypeVar, Union, get_args, get_origin

from services.core.domain.account import GroupSpec, UserSpec
from services.core.domain.file_server import FileServerSpec
from services.core.domain.names import Kind
from services.core.domain.share import ShareSpec
from services.core.domain.template import TemplateSpec

T = TypeVar("T")

SPECS: Mapping[Kind, type[Any]] = {
    Kind.FILE_SERVER: FileServerSpec,
    Kind.SHARE: ShareSpec,
    Kind.USER: UserSpec,
    Kind.GROUP: GroupSpec,
    Kind.TEMPLATE: TemplateSpec,
}


def encode(value: Any) -> Any:
    """JSON-ready form. A dataclass that can stand in a union carries its class name under `@`."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"@": type(value).__name__, **fields}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {key: encode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(item) for item in value]
    return value


def decode(kind: type[T], data: Any) -> T:
    """The value of this type that `encode` had been given."""
    return typing.cast(T, _decode(kind, data))


_KEPT_LENGTH = 2048


def decode_text(kind: Any, text: str) -> Any:
    """`decode` of JSON text. The same text gives the same object, which nobody may change: reading a file server of a
    thousand shares is mostly this. What is large is not kept: two thousand such would fill the memory."""
    return _decode_text(kind, text) if len(text) <= _KEPT_LENGTH else _decode(kind, json.loads(text))


@lru_cache(maxsize=2048)
def _decode_text(kind: Any, text: str) -> Any:
    return _decode(kind, json.loads(text))


@cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _decode(kind: Any, data: Any) -> Any:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        if data is None:
            return None
        options = [option for option in get_args(kind) if option is not type(None)]
        if len(options) > 1:
            options = [option for option in options if getattr(option, "__name__", "") == data["@"]]
        return _decode(options[0], data)
    if origin is tuple:
        return tuple(_decode(get_args(kind)[0], item) for item in data)
    if origin in (Mapping, dict):
        return dict(data)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(data)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = _hints(kind)
        return kind(**{name: _decode(hints[name], item) for name, item in data.items() if name != "@"})
    return data
