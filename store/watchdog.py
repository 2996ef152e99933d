"""Freeing a client from a database that is there and never answers.

Neither `statement_timeout` nor TCP keep-alives nor `tcp_user_timeout` do: a stopped backend still acknowledges
packets. So the client's own end of the socket is shut down when a transaction outlives its deadline.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LOOK_EVERY_SECONDS = 0.5


class Watchdog:
    """Watches transactions in flight, from one thread of its own that lives while there are any."""

    def __init__(self, limit_seconds: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit_seconds
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._deadlines: dict[int, float] = {}
        self._thread: threading.Thread | None = None

    @contextmanager
    def watching(self, file_descriptor: int) -> Iterator[None]:
        """Shut this socket down if the block outlives the limit."""
        with self._changed:
            self._deadlines[file_descriptor] = self._monotonic() + self._limit
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="store-watchdog", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._changed:
                self._deadlines.pop(file_descriptor, None)

    def _run(self) -> None:
        with self._changed:
            while self._deadlines:
                self._changed.wait(_LOOK_EVERY_SECONDS)
                now = self._monotonic()
                for each in [fd for fd, deadline in self._deadlines.items() if deadline < now]:
                    del self._deadlines[each]
                    _shut_down(each)
            self._thread = None


def _shut_down(file_descriptor: int) -> None:
    # The duplicate lets Python close its socket object without closing the driver's.
    with socket.socket(fileno=os.dup(file_descriptor)) as connection:
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it ended by itself meanwhile
