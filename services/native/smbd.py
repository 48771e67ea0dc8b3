"""The processes of one Samba instance on this node: found again, started, stopped. Only our own are ever touched.

Ours is a program of Samba whose command line names our smb.conf, or a member of the session that our smbd leads. The
helper `samba-dcerpcd`, which smbd starts for the first client that lists shares, leads a session of its own and outlives
smbd (seen with Samba 4.17), so it has to be found by its command line.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Sequence

from services.core.errors import AddressInUse, HostNotPrepared, HostTimeout, SambaUnavailable
from services.core.ports import Host
from services.native import processes
from services.native.processes import Process
from services.samba.layout import Layout

Endpoints = Sequence[tuple[str, int]]

START_SECONDS = 20.0
STOP_SECONDS = 10.0
_LOG_LINES = 4
_LOG_BYTES = 16384


def running_conf(layout: Layout) -> str:
    """A copy of the smb.conf that the running smbd was started with, to tell later whether it must be restarted."""
    return layout.conf + ".running"


def find(layout: Layout) -> Process | None:
    """The running main smbd of the instance, pinned. The pid file is only a hint: it may be stale or name a stranger, or
    be missing because smbd has not come so far yet."""

    def is_main(pid: int) -> bool:
        return (
            _is_ours(pid, layout)
            and processes.program(pid) == "smbd"
            and processes.session(pid) == pid
            and processes.is_own_users(pid)
        )

    hint = _pid_file(layout)
    if hint and (process := processes.pin(hint, is_main)):
        return process
    return next((process for pid in processes.pids() if is_main(pid) and (process := processes.pin(pid, is_main))), None)


def start(host: Host, layout: Layout, endpoints: Endpoints, timeout: float = START_SECONDS) -> Process:
    """Starts smbd and returns when it listens on every endpoint. `AddressInUse` if somebody else does, `SambaUnavailable`
    with the end of its log if it does not come up; then it does not run."""
    refuse_foreign(endpoints, set())
    host.write_file(running_conf(layout), host.read_file(layout.conf), 0o644)
    offsets = _log_sizes(layout)
    said = b""
    try:
        said = host.run(layout.command("smbd", "-D", "-s", layout.conf, "-l", layout.log_dir), timeout=timeout).stderr
        return _await(layout, endpoints, timeout)
    except (SambaUnavailable, HostTimeout) as error:
        stop(layout)
        refuse_foreign(endpoints, set())
        tail = _log_tail(layout, offsets) or said.decode(errors="replace").strip()[-400:]
        raise SambaUnavailable(
            f"{error.message}: {tail}" if tail else error.message, help=f"Look at the logs in {layout.log_dir} on the host."
        ) from None


def await_listening(process: Process, endpoints: Endpoints, timeout: float = START_SECONDS) -> None:
    """Returns when this smbd listens on every endpoint; `SambaUnavailable` if it ends, or the time does."""
    deadline, pause = time.monotonic() + timeout, 0.01
    while not listening(process, endpoints):
        if processes.wait_ended([process], pause):
            raise SambaUnavailable("smbd ended while it started")
        if time.monotonic() > deadline:
            raise SambaUnavailable(f"smbd does not listen on {_text(endpoints)} after {timeout:g} s")
        pause = min(pause * 1.5, 0.25)


def listening(process: Process, endpoints: Endpoints) -> bool:
    """Whether this smbd itself listens on each endpoint, which is more than that something accepts there."""
    own = processes.sockets(process.pid)
    return all(
        any(
            listener.inode in own and (listener.address == address or processes.is_wildcard(listener.address))
            for listener in processes.listeners(port)
        )
        for address, port in endpoints
    )


def refuse_foreign(endpoints: Endpoints, own: set[int]) -> None:
    """`AddressInUse` if a socket that is none of our `own` listens on one of the endpoints."""
    if conflict := processes.first_conflict(endpoints, own):
        (address, port), listener = conflict
        where = _text([(listener.address, port)])
        raise AddressInUse(
            f"{_text([(address, port)])} is not free: {processes.holder(listener.inode)} listens on {where}",
            help=f"See `ss -ltnp sport = :{port}`; stop that program, or choose another address or port.",
            metadata={"address": address, "port": str(port)},
        )


def stop(layout: Layout, timeout: float = STOP_SECONDS) -> None:
    """Ends all processes of the instance: politely first, and what is left after `timeout` seconds by force."""
    main = find(layout)
    if main is not None:
        main.signal(signal.SIGTERM)
    leader = main.pid if main is not None else 0
    deadline = time.monotonic() + timeout
    for forced in (False, True):
        while family := _family(layout, leader):
            for process in family:
                process.signal(signal.SIGKILL if forced else signal.SIGTERM)
            over = _await_end(family, max(0.0, deadline - time.monotonic()) if not forced else timeout)
            for process in family:
                process.close()
            if not over:
                break
    if main is not None:
        main.close()
    if stubborn := _family(layout, leader):
        for process in stubborn:
            process.close()
        names = ", ".join(processes.describe(process.pid) for process in stubborn)
        raise SambaUnavailable(f"smbd could not be stopped: {names} does not end, even by SIGKILL")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_pid_path(layout))


def _await_end(family: Sequence[Process], timeout: float) -> bool:
    """Whether all ended in time."""
    waiting, deadline = list(family), time.monotonic() + timeout
    while waiting:
        ended = processes.wait_ended(waiting, max(0.0, deadline - time.monotonic()))
        if not ended:
            return False
        waiting = [process for process in waiting if process not in ended]
    return True


def _family(layout: Layout, leader: int) -> list[Process]:
    """All running processes of the instance, pinned. No other process can get the leader's session id while a member
    lives; that the member is of Samba's is asked nevertheless."""

    def belongs(pid: int) -> bool:
        return _is_ours(pid, layout) or (leader > 0 and processes.session(pid) == leader and _is_samba(pid))

    return [process for pid in processes.pids() if belongs(pid) and (process := processes.pin(pid, belongs))]


def _is_samba(pid: int) -> bool:
    program = processes.program(pid)
    return program in ("smbd", "samba-dcerpcd") or program.startswith("rpcd_")


def _is_ours(pid: int, layout: Layout) -> bool:
    named = {layout.conf, f"--configfile={layout.conf}"}
    return not named.isdisjoint(processes.arguments(pid)) and _is_samba(pid)


def _await(layout: Layout, endpoints: Endpoints, timeout: float) -> Process:
    process = _await_leader(layout, timeout)
    try:
        await_listening(process, endpoints, timeout)
    except BaseException:
        process.close()
        raise
    return process


def _await_leader(layout: Layout, timeout: float) -> Process:
    """`smbd -D` returns before its child leads a session, so for a moment there is an smbd but no main one."""
    deadline, pause = time.monotonic() + timeout, 0.001
    while (process := find(layout)) is None:
        if not any(_is_ours(pid, layout) and processes.program(pid) == "smbd" for pid in processes.pids()):
            raise SambaUnavailable("smbd ended as soon as it was started")
        if time.monotonic() > deadline:
            raise SambaUnavailable(f"smbd did not become a daemon within {timeout:g} s")
        time.sleep(pause)
        pause = min(pause * 2, 0.25)
    return process


def _pid_path(layout: Layout) -> str:
    return f"{layout.pid_dir}/smbd.pid"


def _pid_file(layout: Layout) -> int:
    try:
        with open(_pid_path(layout), encoding="ascii", errors="replace") as file:
            text = file.read(32).strip("\0 \n")
    except OSError:
        return 0
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def _logs(layout: Layout) -> list[str]:
    """Where smbd writes: to the first until it has read in smb.conf where else."""
    return [f"{layout.log_dir}/log.smbd", f"{layout.log_dir}/smbd.log"]


def _log_sizes(layout: Layout) -> dict[str, int]:
    sizes = {}
    for path in _logs(layout):
        with contextlib.suppress(OSError):
            sizes[path] = os.stat(path).st_size
    return sizes


def _log_tail(layout: Layout, offsets: dict[str, int]) -> str:
    """What smbd said since, in one line: without the headers, the banner and the backtrace, cut to the first few."""
    lines: list[str] = []
    for path in _logs(layout):
        with contextlib.suppress(OSError), open(path, "rb") as file:
            file.seek(offsets.get(path, 0))
            lines += file.read(_LOG_BYTES).decode(errors="replace").splitlines()
    said = ["".join(c for c in line if c.isprintable()).strip() for line in lines if line.startswith("  ")]
    dull = ("smbd version", "Copyright", "====", "#", "BACKTRACE", "If you are running", "dumping core", "INFO:")
    return "; ".join([line for line in said if line and not line.startswith(dull)][:_LOG_LINES])[:500]


def _text(endpoints: Endpoints) -> str:
    return ", ".join(f"[{address}]:{port}" if ":" in address else f"{address}:{port}" for address, port in endpoints)


def version(host: Host) -> str:
    """Such as `4.17.12-Debian`; empty where smbd is missing."""
    try:
        said = host.run(["smbd", "-V"]).stdout.decode(errors="replace").split()
    except HostNotPrepared:
        return ""
    return said[1] if len(said) >= 2 and said[0] == "Version" else ""
