"""A proxy of an engine's socket that does to the event stream what networks and slow readers do to it."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path


class StreamProxy:
    """Passes everything on; while told so, it swallows what event streams say, or ends and refuses them."""

    def __init__(self, upstream: Path, path: Path) -> None:
        self.endpoint = f"unix://{path}"
        self.swallowing = threading.Event()
        self._refusing = threading.Event()
        self._upstream = upstream
        self._open: list[socket.socket] = []
        self._streams: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(32)
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def refuse_streams(self) -> None:
        """End the event streams, and every new one before it begins, until :meth:`allow_streams`."""
        self._refusing.set()
        _end(self._streams)

    def allow_streams(self) -> None:
        """Event streams work again."""
        self._refusing.clear()

    def close(self) -> None:
        """End all connections and threads."""
        _end([self._listener, *self._open])
        for thread in list(self._threads):
            thread.join(5)
        for each in (self._listener, *self._open):
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                upstream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                upstream.connect(str(self._upstream))
                self._open += [client, upstream]
                stream = threading.Event()
                for source, target, back in ((client, upstream, False), (upstream, client, True)):
                    arguments = (source, target, stream, back)
                    self._threads.append(threading.Thread(target=self._copy, args=arguments, daemon=True))
                    self._threads[-1].start()

    def _copy(self, source: socket.socket, target: socket.socket, stream: threading.Event, back: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if not back and b"/events?" in data:
                    stream.set()
                    self._streams += [source, target]
                    if self._refusing.is_set():
                        break
                if back and stream.is_set() and self.swallowing.is_set():
                    continue
                target.sendall(data)
        _end([source, target] if stream.is_set() else [target])


def _end(connections: list[socket.socket]) -> None:
    for each in connections:
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
