"""What every `Host` promises. A test module of a host subclasses `HostSuite` and gives the fixtures `host` (the adapter)
and `place` (an empty directory on that host, below which the suite may do what it wants)."""

from __future__ import annotations

import time

import pytest

from services.core.errors import HostNotPrepared, HostTimeout
from services.core.ports import Host


class HostSuite:
    def test_output_and_status_come_back(self, host: Host) -> None:
        ended = host.run(["sh", "-c", "echo out; echo err >&2; exit 3"])
        assert (ended.returncode, ended.stdout, ended.stderr) == (3, b"out\n", b"err\n")

    def test_arguments_are_never_read_by_a_shell(self, host: Host) -> None:
        words = ["a b", "$HOME", "`id`", "; exit 1", "'", '"', "*", "\\", "", "-n", "é\n"]
        ended = host.run(["printf", "%s\\0", *words])
        assert ended.stdout.decode().split("\0")[:-1] == words

    def test_input_reaches_the_command_whole(self, host: Host) -> None:
        data = bytes(range(256)) * 2000
        assert host.run(["cat"], stdin=data).stdout == data

    def test_without_input_the_command_reads_the_end_at_once(self, host: Host) -> None:
        assert host.run(["cat"], timeout=20).stdout == b""

    def test_a_command_may_ignore_its_input(self, host: Host) -> None:
        assert host.run(["true"], stdin=b"x" * 1_000_000).returncode == 0

    def test_much_output_on_both_streams_does_not_block(self, host: Host) -> None:
        ended = host.run(["sh", "-c", "head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2"])
        assert (len(ended.stdout), len(ended.stderr)) == (300_000, 300_000)

    def test_a_command_that_does_not_end_is_stopped_with_its_children(self, host: Host, place: str) -> None:
        begun = time.monotonic()
        script = "echo $$ > pids; sleep 600 & echo $! >> pids; wait"
        with pytest.raises(HostTimeout):
            host.run(["sh", "-c", f"cd '{place}' && {script}"], timeout=1.0)
        assert time.monotonic() - begun < 300, "it waited for the command"
        for pid in host.read_file(f"{place}/pids").decode().split():
            assert _ends(host, pid)

    def test_a_missing_program_is_named(self, host: Host) -> None:
        with pytest.raises(HostNotPrepared) as caught:
            host.run(["pvesmb-no-such-program"])
        assert caught.value.metadata["name"] == "pvesmb-no-such-program"

    def test_a_missing_program_is_named_behind_env(self, host: Host) -> None:
        with pytest.raises(HostNotPrepared) as caught:
            host.run(["env", "A=b", "pvesmb-no-such-program", "x=y"])
        assert caught.value.metadata["name"] == "pvesmb-no-such-program"

    def test_a_command_that_ends_with_127_by_itself_is_no_missing_program(self, host: Host) -> None:
        assert host.run(["env", "sh", "-c", "exit 127"]).returncode == 127

    def test_a_file_is_written_read_replaced_and_removed(self, host: Host, place: str) -> None:
        path = f"{place}/a file"
        host.write_file(path, b"one")
        host.write_file(path, b"\0two\xff")
        assert host.read_file(path) == b"\0two\xff"
        host.remove(path)
        with pytest.raises(FileNotFoundError):
            host.read_file(path)
        host.remove(path)
        assert host.run(["ls", "-A", place]).stdout == b""

    @pytest.mark.parametrize("mode", [0o600, 0o644, 0o640])
    def test_a_file_has_the_mode_asked_for(self, host: Host, place: str, mode: int) -> None:
        host.write_file(f"{place}/f", b"x", mode)
        assert host.run(["stat", "-c", "%a", f"{place}/f"]).stdout.strip() == f"{mode:o}".encode()

    def test_a_replaced_file_takes_the_new_mode(self, host: Host, place: str) -> None:
        host.write_file(f"{place}/f", b"x", 0o644)
        host.write_file(f"{place}/f", b"x", 0o600)
        assert host.run(["stat", "-c", "%a", f"{place}/f"]).stdout.strip() == b"600"

    def test_a_symbolic_link_is_replaced_not_followed(self, host: Host, place: str) -> None:
        host.write_file(f"{place}/target", b"safe")
        host.run(["ln", "-s", "target", f"{place}/link"])
        host.write_file(f"{place}/link", b"new")
        assert host.read_file(f"{place}/target") == b"safe"
        assert host.read_file(f"{place}/link") == b"new"


def _ends(host: Host, pid: str) -> bool:
    """Whether the process is gone or a zombie, within a bounded time."""
    pause, deadline = 0.01, time.monotonic() + 30
    while time.monotonic() < deadline:
        state = host.run(["sh", "-c", 'sed "s/.*) //" /proc/$1/stat 2>/dev/null | cut -c1', "-", pid]).stdout.strip()
        if state in (b"", b"Z", b"X"):
            return True
        time.sleep(pause)
        pause = min(pause * 2, 0.5)
    return False
