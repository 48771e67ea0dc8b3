"""What a template is called and what it is made of; where its packages come from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from services.core.errors import InvalidField
from services.lxc.template.description import RELEASES, describe, parse_file_name
from services.lxc.template.sources import debian_sources, machine_codename


def test_the_version_follows_from_everything_that_is_described() -> None:
    one = describe(12)
    assert one == describe(12) and one.version == describe(12).version
    others = [
        replace(one, release=13),
        replace(one, packages=(*one.packages, "less")),
        replace(one, left_out=one.left_out[1:]),
        replace(one, kept=()),
        replace(one, files={**one.files, "/etc/motd": "x"}),
        replace(one, customize=one.customize + "\n"),
    ]
    assert len({each.version for each in (one, *others)}) == 7


@pytest.mark.parametrize("release", list(RELEASES))
def test_a_file_name_says_release_and_version(release: int) -> None:
    description = describe(release)
    assert parse_file_name(description.file_name) == (release, description.version)
    assert parse_file_name(f"x{description.file_name}") is None
    assert parse_file_name("debian-12-standard_12.7-1_amd64.tar.zst") is None


def test_a_release_that_is_not_known() -> None:
    with pytest.raises(InvalidField, match="choose one of 12, 13"):
        describe(11)


DEB822 = """\
Types: deb deb-src
# a remark
URIs: http://mirror.test/debian
Suites: bookworm bookworm-updates bookworm-backports
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.test/debian-security
Suites: bookworm-security
Components: main

Types: deb
Enabled: no
URIs: http://off.test/debian
Suites: bookworm
Components: main

Types: deb
URIs: http://other.test/node
Suites: nodistro
Components: main
"""
SIGNED = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"


def test_the_sources_of_the_machine_serve_another_release(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d" / "debian.sources").write_text(DEB822)
    (tmp_path / "sources.list.d" / "old.list.disabled").write_text("deb http://off.test/debian bookworm main\n")
    (tmp_path / "sources.list").write_text(
        "# deb http://off.test/debian bookworm main\n"
        "deb-src http://off.test/debian bookworm main\n"
        "deb [arch=amd64 signed-by=/k.gpg] http://plain.test/debian bookworm main # the rest\n"
        "deb http://pve.test/pve bookworm pve-no-subscription\n"
    )
    assert debian_sources("trixie", "bookworm", tmp_path).splitlines() == [
        "deb [signed-by=/k.gpg] http://plain.test/debian trixie main",
        f"deb {SIGNED} http://mirror.test/debian trixie main",
        f"deb {SIGNED} http://mirror.test/debian trixie-updates main",
        "deb http://mirror.test/debian-security trixie-security main",
    ]
    assert debian_sources("trixie", "", tmp_path) == ""
    assert debian_sources("bookworm", "jammy", tmp_path) == ""


def test_the_codename_of_a_machine(tmp_path: Path) -> None:
    file = tmp_path / "os-release"
    assert machine_codename(file) == ""
    file.write_text('ID=debian\nVERSION_CODENAME="trixie"\n')
    assert machine_codename(file) == "trixie"
