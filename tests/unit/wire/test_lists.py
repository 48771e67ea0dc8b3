"""Pages over any rows, and page tokens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.domain.names import Kind, Name
from services.core.domain.resource import Resource, State
from services.core.domain.share import ShareSpec
from services.core.errors import InvalidField, PageTokenInvalid
from services.kit.pages import page_size
from services.wire.lists import MAX_FILTER, Position, after, after_number, fill, parse_filter


@given(st.lists(st.integers(0, 99), unique=True), st.integers(1, 7), st.integers(1, 5))
def test_pages_hold_what_fits_once_in_order(numbers: list[int], size: int, every: int) -> None:
    keys = sorted(f"{number:02}" for number in numbers)

    def fetch(place: str, limit: int) -> list[str]:
        return [key for key in keys if key > place][:limit]

    def fits(key: str) -> bool:
        return int(key) % every == 0

    got: list[str] = []
    place = ""
    for _ in range(len(keys) + 1):
        rows, place = fill(fetch, str, fits, place, size)
        got += rows
        assert len(rows) <= size
        if not place:
            break
        assert len(rows) == size, "only the last page is short"
    assert not place
    assert got == [key for key in keys if fits(key)]


@pytest.mark.parametrize(("wanted", "size"), [(0, 50), (1, 1), (1000, 1000), (1001, 1000)])
def test_sizes(wanted: int, size: int) -> None:
    assert page_size(wanted) == size


def test_a_negative_size() -> None:
    with pytest.raises(InvalidField):
        page_size(-1)


@given(st.text(min_size=1).filter(str.isprintable), st.text())
def test_a_token_leads_to_its_place_in_its_list(place: str, scope: str) -> None:
    token = Position(scope, place).token()
    assert after(token, scope) == place
    with pytest.raises(PageTokenInvalid):
        after(token, scope + "x")


@given(st.text(min_size=1) | st.binary(min_size=1).map(lambda data: data.decode("latin-1")))
def test_any_other_text_is_no_token(text: str) -> None:
    for read in (after, after_number):
        with pytest.raises(PageTokenInvalid):
            read(text, "scope")


def test_numbers() -> None:
    assert after_number("", "s") == 0
    assert after_number(Position("s", "17").token(), "s") == 17
    for place in ("0", "-1", "x", "9" * 19, " 1", "1\n"):
        with pytest.raises(PageTokenInvalid):
            after_number(Position("s", place).token(), "s")


@given(st.text())
def test_a_filter_is_parsed_or_refused(text: str) -> None:
    try:
        parse_filter(text)
    except InvalidField as error:
        assert error.violations[0].subject == "filter"


@pytest.mark.parametrize(
    ("text", "fit"),
    [
        ("", True),
        (" state = READY ", True),
        ("state=READY", True),
        ("state = DEGRADED", False),
        ('labels.team = "a AND b" AND state = READY', True),
        ('labels.team = "a AND b"\tAND\nlabels.x = y', False),
        ("labels.a/b.c = AND AND state = READY", True),
    ],
)
def test_filters(text: str, fit: bool) -> None:
    labels = {"team": "a AND b", "a/b.c": "AND"}
    share = Resource(Name("b", "fs", Kind.SHARE, "s"), "u", ShareSpec(labels=labels), State.READY, 1, 1, 0.0, 0.0)
    assert parse_filter(text)(share) is fit


@pytest.mark.parametrize(
    "text",
    [
        "AND",
        "a = b",
        "state = READY AND",
        "state = READY AND ",
        "state = READYAND x",
        'state = "READY"AND state = READY',
        "state = READY OR state = READY",
        'labels.a = "',
        "state = READY" + " " * MAX_FILTER,
    ],
)
def test_no_filters(text: str) -> None:
    with pytest.raises(InvalidField):
        parse_filter(text)
