"""A line to the gateway that breaks after so many bytes, as when a client's machine or a cable between fails."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Line:
    """Bytes that went to the gateway and came back from it."""

    sent: int = 0
    received: int = 0
    broken: threading.Event = field(default_factory=threading.Event)


@contextmanager
def cut(gateway: Path, place: Path, *, sent: int | None = None, received: int | None = None) -> Iterator[Line]:
    """While in the block, a gateway is reached by the Unix socket `place`. The first connection breaks when it has carried
    that many bytes, the last of them included; there is no second."""
    line = Line()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place))
        listener.listen()
        thread = threading.Thread(target=_carry, args=(listener, gateway, line, sent, received))
        thread.start()
        try:
            yield line
        finally:
            line.broken.set()
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            place.unlink()


def _carry(listener: socket.socket, gateway: Path, line: Line, sent: int | None, received: int | None) -> None:
    with contextlib.suppress(OSError):
        client, _ = listener.accept()
        listener.close()
        with client, socket.socket(socket.AF_UNIX) as server:
            server.connect(str(gateway))
            back = threading.Thread(target=_one_way, args=(server, client, line, "received", received))
            back.start()
            _one_way(client, server, line, "sent", sent)
            line.broken.set()
            for end in (client, server):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            back.join()


def _one_way(source: socket.socket, target: socket.socket, line: Line, counter: str, most: int | None) -> None:
    """Ends with the connection, or when it has carried enough, which breaks both ways."""
    with contextlib.suppress(OSError):
        while not line.broken.is_set():
            count = getattr(line, counter)
            data = source.recv(65536 if most is None else max(1, min(65536, most - count)))
            if not data:
                return
            target.sendall(data)
            setattr(line, counter, count + len(data))
            if most is not None and count + len(data) >= most:
                line.broken.set()
                source.shutdown(socket.SHUT_RDWR)
                target.shutdown(socket.SHUT_RDWR)
