"""The list of options that a share may carry."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.core.errors import InvalidField
from services.samba.options import ALLOWED, REFUSED, SYNONYMS, canonical, check_options, cleaned, markdown


def test_the_page_is_current() -> None:
    page = Path(__file__).parents[3] / "docs" / "smb-options.md"
    assert page.read_text(encoding="utf-8") == markdown(), "run: python -m services.samba.options > docs/smb-options.md"


def test_nothing_is_both() -> None:
    assert not ALLOWED.keys() & REFUSED.keys()
    assert {canonical(name) for name in SYNONYMS} <= ALLOWED.keys() | REFUSED.keys()


@pytest.mark.parametrize(
    ("name", "value", "stored"),
    [
        ("oplocks", "no", ("oplocks", "no")),
        ("Op Locks", "FALSE", ("oplocks", "no")),
        ("casesensitive", "Auto", ("case sensitive", "auto")),
        ("case sign ames", "1", ("case sensitive", "yes")),
        ("veto files", " /*.tmp/.DS_Store/ ", ("veto files", "/*.tmp/.DS_Store/")),
        ("force create mode", "0640", ("force create mode", "0640")),
        ("force directory mode", "2770", ("force directory mode", "2770")),
        ("block size", "4096", ("block size", "4096")),
    ],
)
def test_allowed(name: str, value: str, stored: tuple[str, str]) -> None:
    check_options({name: value})
    assert cleaned({name: value}) == dict([stored])


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("path", "/etc", "directory.path"),
        ("directory", "/etc", "directory.path"),
        ("Write Able", "yes", "read_only"),
        ("valid users", "", "access"),
        ("root preexec", "id", "runs a command"),
        ("exec", "id", "runs a command"),
        ("vfs objects", "recycle", "smbd"),
        ("recycle:repository", "x", "VFS module"),
        ("pvesmb:uid", "x", "VFS module"),
        ("wide links", "yes", "out of the share"),
        ("include", "/etc/passwd", "another file"),
        ("no such option", "1", "not in the list"),
        ("security", "user", "not in the list"),
        ("oplocks", "perhaps", "must be one of"),
        ("oplocks", "", "must have a value"),
        ("volume", "%S", "substitutes"),
        ("volume", "a\nb", "one line"),
        ("dont descend", "x" * 1025, "one line"),
        ("veto files", "*.tmp", "slashes"),
        ("force create mode", "4755", "octal"),
        ("force directory mode", "6770", "octal"),
        ("block size", "12", "from 1024"),
        ("block size", "\u0664096", "from 1024"),
    ],
)
def test_refused(name: str, value: str, reason: str) -> None:
    with pytest.raises(InvalidField) as caught:
        check_options({name: value})
    assert caught.value.metadata["field"] == f"smb_options[{name}]"
    assert reason in caught.value.message


def test_one_option_by_two_names() -> None:
    with pytest.raises(InvalidField, match="twice"):
        check_options({"case sensitive": "yes", "casesignames": "no"})
