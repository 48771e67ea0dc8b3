"""What follows from the settings alone."""

from __future__ import annotations

from services.core.domain.file_server import FileServerSpec, NativeDeployment
from services.native.settings import NativeSettings
from services.native.volumes import BLOCK, rounded

SETTINGS = NativeSettings("n", "/var/lib/x", "/srv/x", extra_roots=("/mnt/y",), default_port=1445)


def test_endpoints_are_the_file_servers_own_or_the_default() -> None:
    assert SETTINGS.endpoints(FileServerSpec()) == [("0.0.0.0", 1445)]
    own = FileServerSpec(native=NativeDeployment(("10.0.0.1", "fd00::1"), 0))
    assert SETTINGS.endpoints(own) == [("10.0.0.1", 1445), ("fd00::1", 1445)]
    assert SETTINGS.endpoints(FileServerSpec(native=NativeDeployment((), 445))) == [("0.0.0.0", 445)]


def test_everything_of_an_instance_lies_below_its_own_directory() -> None:
    layout = SETTINGS.layout("uid-1")
    paths = [layout.conf, layout.passwd, layout.group, layout.probe_dir, *(path for path, _ in layout.directories)]
    assert all(path.startswith("/var/lib/x/servers/uid-1/") for path in paths) and len(set(paths)) == len(paths)
    assert ("LD_PRELOAD", "libnss_wrapper.so") in layout.environment
    assert {line.split(":")[0] for line in layout.system_passwd.splitlines()} == {"root", "nobody"}
    assert {line.split(":")[0] for line in layout.system_group.splitlines()} == {"root", "nogroup"}


def test_roots_and_images() -> None:
    assert SETTINGS.roots == ("/srv/x", "/mnt/y")
    assert SETTINGS.image_dir == "/var/lib/x/volumes"


def test_sizes_are_rounded_up_to_blocks() -> None:
    assert [rounded(n) for n in (BLOCK, BLOCK + 1, 2 * BLOCK - 1)] == [BLOCK, 2 * BLOCK, 2 * BLOCK]
