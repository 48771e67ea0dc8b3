"""How the script is run: once, or in a child of a process that has Samba's binding loaded already.

Loading Python and Samba's binding takes longer (about 70 ms) than what there is to do. A host that can keep a process
starts the script with the word `serve` and a socket as its standard input, and gets a child for each request.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import socket
import sys
import time
import traceback

from services.samba.agent.operations import main

#: A process that nobody needs holds memory, and an old one Samba as it was before an upgrade.
IDLE_SECONDS = 30.0
OLD_SECONDS = 300.0


def serve() -> None:
    """A message is the environment to add, as JSON, with four descriptors: standard input, output and error of the child,
    and where it writes its exit status, one byte. The answer is a pidfd of the child, with its pid. Ends when the other
    side closes; and, as long as no child lives (it would take itself for an orphan), when the other side is silent for
    long, or when it is old: then a request is left without an answer, and nothing is done of it."""
    with contextlib.suppress(ImportError):
        for module in ("samba.samba3.param", "samba.samba3.passdb", "samba.samba3.smbconf", "samba.smbconf"):
            importlib.import_module(module)
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
        with contextlib.suppress(FileNotFoundError):
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
    serve() if sys.argv[1:] == ["serve"] else main()
