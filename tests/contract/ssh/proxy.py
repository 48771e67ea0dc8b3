"""A TCP proxy that hangs, cuts and counts when it is told."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading


class Proxy:
    """Passes everything on to `port` of the loopback. `cut_after` is how many bytes from the client it lets pass before it
    resets every connection."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.accepted = 0
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._flows: list[threading.Event] = []
        self._hangs = False
        self._left: int | None = None
        threading.Thread(target=self._accept, daemon=True).start()

    def hang(self) -> None:
        """From here on nothing passes; the connections stay."""
        self._hangs = True
        self.hang_open()

    def hang_open(self) -> None:
        """Nothing passes over the connections that there are; new ones are good."""
        for flow in self._flows:
            flow.clear()

    def flow(self) -> None:
        self._hangs = False
        for flow in self._flows:
            flow.set()

    def cut(self) -> None:
        with self._lock:
            for end in self._open:
                with contextlib.suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    end.shutdown(socket.SHUT_RDWR)

    def cut_after(self, count: int) -> None:
        self._left = count

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        self.flow()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            try:
                server = socket.create_connection(("127.0.0.1", self._to))
            except OSError:
                client.close()
                continue
            threading.Thread(target=self._serve, args=(client, server), daemon=True).start()

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        with client, server:
            flow = threading.Event()
            if not self._hangs:
                flow.set()
            with self._lock:
                self._open |= {client, server}
                self._flows.append(flow)
            back = threading.Thread(target=self._pump, args=(server, client, flow, False), daemon=True)
            back.start()
            self._pump(client, server, flow, True)
            back.join()
            with self._lock:
                self._open -= {client, server}

    def _pump(self, source: socket.socket, sink: socket.socket, flow: threading.Event, from_client: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                flow.wait()
                if from_client and self._left is not None:
                    self._left -= len(data)
                    if self._left <= 0:
                        self._left = None
                        self.cut()
                        return
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
