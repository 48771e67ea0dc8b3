"""How the script is run: once, or in a child of a process that has Samba's binding loaded already.

Loading Python and Samba's binding takes longer (about 70 ms) than what there is to do. A host that can keep a process
starts the script with the word `serve` and a socket as its standard input, or with the word `stream` and nothing but the
three standard streams, and gets a child for each request.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import socket
import sys
import time
import traceback

from services.samba.agent.operations import main

#: A process that nobody needs holds memory, and an old one Samba as it was before an upgrade.
IDLE_SECONDS = 30.0
OLD_SECONDS = 300.0
STREAM_LINE = 64
STREAM_LIMIT = 8 * 1024**2


def serve() -> None:
    """A message is the environment to add, as JSON, with four descriptors: standard input, output and error of the child,
    and where it writes its exit status, one byte. The answer is a pidfd of the child, with its pid. Ends when the other
    side closes; and, as long as no child lives (it would take itself for an orphan), when the other side is silent for
    long, or when it is old: then a request is left without an answer, and nothing is done of it."""
    preload()
    with socket.socket(fileno=0) as connection:
        connection.settimeout(IDLE_SECONDS)
        old = time.monotonic() + OLD_SECONDS
        while True:
            try:
                message, fds, _, _ = socket.recv_fds(connection, 65536, 4)
            except ConnectionError:
                return
            except TimeoutError:
                if bury():
                    return
                continue
            if not message or (bury() and time.monotonic() > old):
                return
            child = os.fork()
            if child == 0:
                connection.detach()
                become(json.loads(message), fds)
            for fd in fds:
                os.close(fd)
            pidfd = os.pidfd_open(child)
            with contextlib.suppress(ConnectionError):
                socket.send_fds(connection, [str(child).encode()], [pidfd])
            os.close(pidfd)


def stream() -> None:
    """One request after the other, over standard input and output. `ready` says that it may begin. A request is a line of
    STREAM_LINE bytes with the length of the input and the milliseconds that it has, and the input. The answer is such a
    line with `ended`, the exit status (negative: a signal's number) and the lengths of both outputs, and these; or with
    `late`. When the other side is gone, or the time is over, the child is killed with its group. `bye` is the last word of
    one that is idle or old: what is sent to it then is not done."""
    preload()
    tell("ready")
    old = time.monotonic() + OLD_SECONDS
    while time.monotonic() < old and select.select([0], [], [], IDLE_SECONDS)[0]:
        size, milliseconds = (int(word) for word in receive(STREAM_LINE).split())
        files = [os.memfd_create(name) for name in ("stdin", "stdout", "stderr", "status")]
        written = memoryview(receive(size))
        while written:
            written = written[os.write(files[0], written) :]
        os.lseek(files[0], 0, os.SEEK_SET)
        child = os.fork()
        if child == 0:
            become({}, files)
        pidfd = os.pidfd_open(child)
        # While it runs, nothing can come but the end of the other side.
        ended = select.select([0, pidfd], [], [], milliseconds / 1000)[0]
        if pidfd not in ended:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
                os.killpg(child, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        outputs = [os.pread(fd, STREAM_LIMIT, 0) for fd in files[1:3]]
        for fd in (*files, pidfd):
            os.close(fd)
        if pidfd in ended:
            tell("ended", status, *outputs)
        elif ended:
            return
        else:
            tell("late")
    tell("bye")


def preload() -> None:
    with contextlib.suppress(ImportError):
        for module in ("samba.samba3.param", "samba.samba3.passdb", "samba.samba3.smbconf", "samba.smbconf"):
            importlib.import_module(module)


def receive(size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = os.read(0, size - len(data))
        if not more:
            sys.exit()
        data += more
    return data


def tell(word: str, status: int = 0, out: bytes = b"", err: bytes = b"") -> None:
    line = f"{word} {status} {len(out)} {len(err)}".ljust(STREAM_LINE - 1) + "\n"
    data = memoryview(line.encode() + out + err)
    while data:
        data = data[os.write(1, data) :]


def become(environment: dict[str, str], fds: list[int]) -> None:
    """In the child: is from here on as if the script had been started by itself."""
    *standard, status = fds
    code = 1
    try:
        os.setsid()
        os.set_inheritable(status, False)
        for number, fd in enumerate(standard):
            os.dup2(fd, number)
            os.close(fd)
        os.environ.update(environment)
        with contextlib.suppress(FileNotFoundError, KeyError):
            os.chdir(os.path.dirname(environment["NSS_WRAPPER_PASSWD"]))
        main()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        os.write(status, bytes([code]))
        os._exit(code)


def bury() -> bool:
    """Reaps the children that have ended; whether none is left."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return True
    return False


if __name__ == "__main__":
    {"serve": serve, "stream": stream}.get("".join(sys.argv[1:]), main)()
