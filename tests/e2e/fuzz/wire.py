"""Bytes that the parser has to sort out: cut off, flipped, doubled, nested, unknown."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

_VARINT, _FIXED64, _BYTES, _START, _END, _FIXED32 = 0, 1, 2, 3, 4, 5
_MOST = 2**29 - 1


def bend(chance: random.Random, body: bytes) -> tuple[str, bytes]:
    """The bytes, bent in one way, and which."""
    way = chance.choice(_WAYS)
    return way.__name__.strip("_").replace("_", " "), way(chance, body)


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def field(number: int, wire: int, payload: bytes = b"") -> bytes:
    return varint(number << 3 | wire) + payload


def _cut_off(chance: random.Random, body: bytes) -> bytes:
    return body[: chance.randrange(len(body))] if body else b"\x0a"


def _flipped(chance: random.Random, body: bytes) -> bytes:
    bent = bytearray(body or b"\0\0")
    for _ in range(chance.randint(1, 4)):
        bent[chance.randrange(len(bent))] ^= 1 << chance.randrange(8)
    return bytes(bent)


def _with_noise(chance: random.Random, body: bytes) -> bytes:
    at = chance.randint(0, len(body))
    return body[:at] + chance.randbytes(chance.randint(1, 20)) + body[at:]


def _noise(chance: random.Random, body: bytes) -> bytes:
    return chance.randbytes(chance.choice((1, 2, 10, 1000)))


def _doubled(chance: random.Random, body: bytes) -> bytes:
    return body * chance.choice((2, 2, 50))


def _empty(chance: random.Random, body: bytes) -> bytes:
    return b""


def _with_unknown_fields(chance: random.Random, body: bytes) -> bytes:
    number = chance.choice((100, 1000, 19_000, _MOST))
    one = chance.choice(
        (
            field(number, _VARINT, varint(2**64 - 1)),
            field(number, _FIXED64, b"\xff" * 8),
            field(number, _FIXED32, b"\xff" * 4),
            field(number, _BYTES, varint(1000) + b"\0" * 1000),
            field(number, _START) + field(number, _END),
        )
    )
    many = one * chance.choice((1, 2, 1000))
    return many + body if chance.random() < 0.5 else body + many


def _with_wrong_types(chance: random.Random, body: bytes) -> bytes:
    """The first fields, each with a wire type that it does not have."""
    return body + b"".join(field(number, _FIXED32, b"\1\2\3\4") for number in range(1, 9))


def _deeply_grouped(chance: random.Random, body: bytes) -> bytes:
    deep = chance.choice((99, 101, 1000, 100_000))
    return body + field(99, _START) * deep + field(99, _END) * deep


def _deeply_nested(chance: random.Random, body: bytes) -> bytes:
    """A field within itself; where it is a message the parser follows."""
    number, inner = chance.randint(1, 8), b""
    for _ in range(1000):
        inner = field(number, _BYTES, varint(len(inner)) + inner)
    return body + inner


def _unclosed(chance: random.Random, body: bytes) -> bytes:
    return body + chance.choice((field(9, _START), field(9, _END), field(9, _BYTES, varint(2**31)), b"\xff" * 11, b"\0"))


def _no_text(chance: random.Random, body: bytes) -> bytes:
    """Strings that are not UTF-8: a surrogate, an overlong slash, half a character."""
    bad = chance.choice((b"\xed\xa0\x80", b"\xc0\xaf", b"a\xe2\x82", b"\xff"))
    return body + field(chance.randint(1, 8), _BYTES, varint(len(bad)) + bad)


_WAYS: Sequence[Callable[[random.Random, bytes], bytes]] = (
    _cut_off,
    _flipped,
    _with_noise,
    _noise,
    _doubled,
    _empty,
    _with_unknown_fields,
    _with_wrong_types,
    _deeply_grouped,
    _deeply_nested,
    _unclosed,
    _no_text,
)
