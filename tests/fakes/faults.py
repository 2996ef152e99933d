"""How an engine can fail to answer, and the switches for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

EVERYWHERE = "*"


class Fault(StrEnum):
    """What becomes of a request. All but the last four are complete answers with something else in them."""

    NULL = "null"
    HTML = "html"
    ERROR = "error"
    EMPTY = "empty"
    TRUNCATED = "truncated"  # the end comes before Content-Length
    CUT = "cut"  # the end comes before the last chunk
    DRIP = "drip"  # one byte per interval
    HANG = "hang"  # not even headers
    CLOSE = "close"  # the connection ends instead


@dataclass(frozen=True, slots=True)
class Misbehaviour:
    """A fault that is switched on; bytes are a body sent instead of the true one. ``ended``: switched off."""

    mode: Fault | bytes
    interval_seconds: float
    ended: threading.Event = field(default_factory=threading.Event)


class Faults:
    """Which paths misbehave, and how many requests are kept waiting by that."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._by_path: dict[str, Misbehaviour] = {}
        self._held = 0

    def set(self, path: str, mode: Fault | bytes, interval_seconds: float) -> None:
        """Switch a fault on."""
        with self._lock:
            self.clear(path)
            self._by_path[path] = Misbehaviour(mode, interval_seconds)

    def clear(self, *paths: str) -> None:
        """Switch faults off: on these paths, on all without arguments."""
        with self._lock:
            for path in paths or tuple(self._by_path):
                misbehaviour = self._by_path.pop(path, None)
                if misbehaviour is not None:
                    misbehaviour.ended.set()

    def on(self, path: str) -> Misbehaviour | None:
        """The fault on a path."""
        with self._lock:
            return self._by_path.get(path) or self._by_path.get(EVERYWHERE)

    @property
    def held(self) -> int:
        """How many requests hang or drip right now."""
        with self._lock:
            return self._held

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Count a request as kept waiting."""
        with self._lock:
            self._held += 1
        try:
            yield
        finally:
            with self._lock:
                self._held -= 1
