"""This node as a `Host`."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from services.core.errors import StorageFull
from services.native.host import LocalHost
from tests.contract.host_suite import HostSuite


class TestLocalHost(HostSuite):
    def test_nothing_of_our_environment_reaches_a_command(self, host: LocalHost, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PVESMB_SECRET", "canary")
        words = host.run(["env"]).stdout.decode().split()
        assert {word.split("=")[0] for word in words} == {"PATH", "LC_ALL"}

    def test_output_is_cut_at_the_limit_and_the_command_still_ends_well(self) -> None:
        ended = LocalHost(output_limit=1000).run(["sh", "-c", "head -c 500000 /dev/zero; echo end >&2"])
        assert (len(ended.stdout), ended.stderr, ended.returncode) == (1000, b"end\n", 0)

    def test_a_daemon_that_keeps_the_output_open_is_not_waited_for(self, host: LocalHost, place: str) -> None:
        ended = host.run(["sh", "-c", f"setsid sleep 600 & echo $! > {place}/pid; echo started"], timeout=60)
        try:
            assert ended.stdout == b"started\n"
        finally:
            os.kill(int(host.read_file(f"{place}/pid")), 9)

    @pytest.mark.root
    def test_a_full_storage_leaves_the_old_file_and_nothing_else(self, host: LocalHost, place: str) -> None:
        full = f"{place}/full"
        os.mkdir(full)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", full], check=True)
        host.write_file(f"{full}/f", b"old")
        with pytest.raises(StorageFull) as caught:
            host.write_file(f"{full}/f", b"x" * 200_000)
        assert caught.value.metadata["path"] == f"{full}/f"
        assert host.read_file(f"{full}/f") == b"old"
        assert os.listdir(full) == ["f"]

    def test_nobody_sees_content_before_the_mode_is_set(self, host: LocalHost, place: str) -> None:
        old = os.umask(0)
        try:
            host.write_file(f"{place}/secret", b"x", 0o600)
        finally:
            os.umask(old)
        assert os.stat(f"{place}/secret").st_mode & 0o777 == 0o600


@pytest.mark.parametrize("forks", [False, True])
def test_no_descriptor_is_lost_where_there_are_none(forks: bool) -> None:
    """In a process of its own, whose limit is a few more than it has open."""
    text = (
        "import os, resource\n"
        "from services.native.host import LocalHost\n"
        "from services.native.fork_server import ForkServer\n"
        "program = ['true']\n"
        f"host = LocalHost(fork_server=ForkServer(program) if {forks} else None)\n"
        "argv = ['env', 'LD_PRELOAD=libnss_wrapper.so', 'NSS_WRAPPER_PASSWD=/p/passwd', 'NSS_WRAPPER_GROUP=/p/group']\n"
        "argv += program\n"
        "before = os.listdir('/proc/self/fd')\n"
        "for more in range(1, 14):\n"
        "    resource.setrlimit(resource.RLIMIT_NOFILE, (len(before) - 1 + more, 1024))\n"
        "    try:\n"
        "        host.run(argv)\n"
        "    except OSError:\n"
        "        print('refused')\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))\n"
        "assert len(os.listdir('/proc/self/fd')) == len(before), (before, os.listdir('/proc/self/fd'))\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", text], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "refused" in done.stdout
