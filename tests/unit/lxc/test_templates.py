"""Which template a file server is made from."""

from __future__ import annotations

import pytest

from services.core.errors import NotFound
from services.lxc.template.description import describe
from services.lxc.templates import Template, named, newest, template_id

OLD = Template("pvesmb-debian-12-000000000000", "local:vztmpl/o.tar.zst", 1, 100, 12, "000000000000")
OTHER = Template("pvesmb-debian-13-111111111111", "local:vztmpl/p.tar.zst", 1, 200, 13, "111111111111")
FOUND = Template("debian-12-standard_12.7-1_amd64", "local:vztmpl/f.tar.zst", 1, 300)


def test_the_template_of_this_version_comes_first_then_the_newest() -> None:
    version = describe().version
    current = Template(f"pvesmb-debian-12-{version}", "local:vztmpl/c.tar.zst", 1, 50, 12, version)
    assert newest([OLD, current, OTHER, FOUND]) == current
    assert newest([OTHER, OLD, FOUND]) == OTHER
    assert newest([FOUND]) is None


def test_any_template_by_its_name() -> None:
    assert named([OLD, FOUND], "b", "backends/b/templates/debian-12-standard_12.7-1_amd64") == FOUND
    for missing in ("backends/c/templates/debian-12-standard_12.7-1_amd64", "backends/b/templates/x", "x"):
        with pytest.raises(NotFound):
            named([OLD, FOUND], "b", missing)


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tar.xz", ".tar.zst", ".tar.bz2"])
def test_the_id_is_the_file_name_without_its_suffix(suffix: str) -> None:
    assert template_id(f"a.tar_1{suffix}") == "a.tar_1"
