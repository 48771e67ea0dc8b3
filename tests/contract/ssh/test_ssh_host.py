"""A machine that is reached by ssh as a `Host`, against a real sshd."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from services.core.errors import StorageFull
from services.ssh.host import SshHost
from services.ssh.hosts import SshHosts
from services.ssh.keys import Key
from tests.contract.host_suite import HostSuite
from tests.contract.ssh.conftest import UID
from tests.contract.ssh.sshd import Sshd

pytestmark = pytest.mark.root


class TestSshHost(HostSuite):
    def test_nothing_of_the_logins_environment_reaches_a_command(self, host: SshHost) -> None:
        words = host.run(["env"]).stdout.decode().split()
        assert {word.split("=")[0] for word in words} == {"PATH", "LC_ALL"}
        assert host.run(["pwd"]).stdout == b"/\n"

    def test_output_is_cut_at_the_limit_and_the_command_still_ends_well(
        self, shared_sshd: Sshd, hosts: SshHosts, key: Key
    ) -> None:
        hosts.host(UID, "127.0.0.1", key, shared_sshd.port)
        short = SshHost(hosts._connections[UID], output_limit=1000)
        ended = short.run(["sh", "-c", "head -c 5000000 /dev/zero; echo end >&2"])
        assert (len(ended.stdout), ended.stderr, ended.returncode) == (1000, b"end\n", 0)

    def test_a_daemon_that_keeps_the_output_open_is_not_waited_for(self, host: SshHost, place: str) -> None:
        ended = host.run(["sh", "-c", f"setsid sleep 600 & echo $! > {place}/pid; echo started"], timeout=60)
        assert ended.stdout == b"started\n"
        host.run(["kill", "-9", host.read_file(f"{place}/pid").decode().strip()])

    def test_a_command_that_a_signal_ended_is_told_by_a_negative_status(self, host: SshHost) -> None:
        assert host.run(["sh", "-c", "kill -9 $$"]).returncode == -signal.SIGKILL
        assert host.run(["sh", "-c", "kill -15 $$"]).returncode == -signal.SIGTERM

    def test_much_input_and_output_at_once(self, host: SshHost) -> None:
        data = os.urandom(1 << 20) * 7
        assert host.run(["cat"], stdin=data, timeout=110).stdout == data

    def test_much_input_that_nobody_reads(self, host: SshHost) -> None:
        assert host.run(["true"], stdin=b"x" * 6_000_000, timeout=60).returncode == 0
        assert host.run(["echo", "well"]).stdout == b"well\n"

    def test_a_full_storage_leaves_the_old_file_and_nothing_else(self, host: SshHost, place: str) -> None:
        full = f"{place}/full"
        os.mkdir(full)
        # In sshd's own mount namespace, with which it goes.
        assert host.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", full]).returncode == 0
        host.write_file(f"{full}/f", b"old")
        with pytest.raises(StorageFull) as caught:
            host.write_file(f"{full}/f", b"x" * 200_000)
        assert caught.value.metadata["path"] == f"{full}/f"
        assert host.read_file(f"{full}/f") == b"old"
        assert host.run(["ls", "-A", full]).stdout == b"f\n"

    @pytest.mark.parametrize("name", ["é ü\n'\"", "-n", "$(id)", "x" * 255])
    def test_a_file_of_any_name(self, host: SshHost, place: str, name: str) -> None:
        path = f"{place}/{name}"
        host.write_file(path, b"\0one")
        assert host.read_file(path) == Path(path).read_bytes() == b"\0one"
        host.remove(path)
        assert os.listdir(place) == []

    def test_what_the_kernel_refuses_is_told_as_on_this_machine(self, host: SshHost, place: str) -> None:
        with pytest.raises(FileNotFoundError):
            host.write_file(f"{place}/none/f", b"")
        with pytest.raises(IsADirectoryError):
            host.read_file(place)
        with pytest.raises(IsADirectoryError):
            host.remove(place)
        host.write_file(f"{place}/f", b"")
        with pytest.raises(NotADirectoryError):
            host.read_file(f"{place}/f/g")

    def test_a_big_file_comes_whole(self, host: SshHost, place: str) -> None:
        data = os.urandom(9 << 20)
        Path(f"{place}/f").write_bytes(data)
        assert host.read_file(f"{place}/f") == data
