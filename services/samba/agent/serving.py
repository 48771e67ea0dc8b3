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
import traceback

from services.samba.agent.operations import main

#: A process that nobody needs is no use: it holds memory, and Samba as it was before an upgrade.
IDLE_SECONDS = 30.0


def serve() -> None:
    """A message is the environment to add, as JSON, with four descriptors: standard input, output and error of the child,
    and where it writes its exit status, one byte. The answer is a pidfd of the child, with its pid. Ends when the other
    side closes, or is silent for long."""
    with contextlib.suppress(ImportError):
        for module in ("samba.samba3.param", "samba.samba3.passdb", "samba.samba3.smbconf", "samba.smbconf"):
            importlib.import_module(module)
    with socket.socket(fileno=0) as connection:
        connection.settimeout(IDLE_SECONDS)
        while True:
            try:
                message, fds, _, _ = socket.recv_fds(connection, 65536, 4)
            except (TimeoutError, ConnectionError):
                return
            if not message:
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
            bury()


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
        sys.stdout.flush()
        os.write(status, bytes([code]))
        os._exit(code)


def bury() -> None:
    """Children that have ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


if __name__ == "__main__":
    serve() if sys.argv[1:] == ["serve"] else main()
