"""Sizes and durations as people write them."""

from __future__ import annotations

import pytest
from pvesmb._units import format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1048576", 2**20),
        ("17B", 17),
        ("10GiB", 10 * 2**30),
        ("10 gib", 10 * 2**30),
        ("500MB", 500_000_000),
        ("1.5TiB", 3 * 2**39),
        ("2kB", 2000),
        ("1KiB", 1024),
        (str(2**63 - 1), 2**63 - 1),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "-1", "10G", "5k", "1e3", "0.3B", "1XB", "1,5GiB", "٣GiB", str(2**63)])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_size(text)
    assert repr(text) in str(caught.value)


def test_an_ambiguous_size_is_told_both_ways() -> None:
    with pytest.raises(ValueError, match=r"10GiB .* 10GB"):
        parse_size("10G")


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (3 * 2**29, "1.5 GiB"), (2**30 - 1, "1 GiB"), (2**70, "1048576 PiB")],
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert format_size(size) == text


@pytest.mark.parametrize(
    ("text", "seconds"), [("30", 30.0), ("30s", 30.0), ("5m", 300.0), ("1.5h", 5400.0), ("200ms", 0.2), ("0", 0.0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "-1", "1d", "1 m", "nan"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(text)
