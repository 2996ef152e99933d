"""Turning the engine's events into targeted passes (R20). Events cost or save latency; they are never believed.

Subscribes first and lets the loop list afterwards, so nothing falls between. Whatever the stream loses, the
next tick finds.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import structlog

from controller.engine.events import EngineEvent
from controller.errors import EngineCallCancelled, EngineError, EngineTimeout

FIRST_BACKOFF_SECONDS = 0.2
LAST_BACKOFF_SECONDS = 15.0
OVERLAP_SECONDS = 2.0
STOP_SECONDS = 0.5

log = structlog.get_logger(__name__)


class Stream(Protocol):
    """An event stream, as :class:`controller.engine.events.EventStream` is one."""

    def open(self, since: float | None) -> None: ...
    def __iter__(self) -> Iterator[EngineEvent]: ...
    def close(self) -> None: ...
    def release(self) -> None: ...


@dataclass(frozen=True, slots=True)
class WatchHooks:
    """What the watch tells: that it is connected or not, each event, and the container that it concerns.

    ``noticed`` is told before ``touched``, so that whoever is called for the container knows what was asked of it.

    ``connected`` is told ``True`` with every new stream, and whether events may have been lost before it.
    """

    connected: Callable[[bool], None]
    received: Callable[[str], None]
    touched: Callable[[str], None]
    resync: Callable[[], None]
    noticed: Callable[[EngineEvent], None] = lambda _event: None


class Watch:
    """The thread that reads the stream. Reconnects for ever, with capped back-off."""

    def __init__(self, open_stream: Callable[[], Stream], hooks: WatchHooks, chance: random.Random) -> None:
        self._open_stream = open_stream
        self._hooks = hooks
        self._chance = chance
        self._stopping = threading.Event()
        self._stream: Stream | None = None
        self._last_event_at: float | None = None
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Begin to watch; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Close the stream and wait a moment for the thread."""
        self._stopping.set()
        if self._stream is not None:
            self._stream.close()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        lossless = False
        while not self._stopping.is_set():
            lossless = self._read_one(lossless=lossless)
            if not lossless:
                self._stopping.wait(self._backoff())

    def _read_one(self, *, lossless: bool) -> bool:
        """Read one stream to its end. Returns whether the next one can follow it without a gap."""
        stream = self._stream = self._open_stream()
        opened = False
        try:
            since = self._last_event_at
            stream.open(None if since is None else since - OVERLAP_SECONDS)
            opened = True
            self._connected(lossless=lossless)
            for event in stream:
                self._take(event)
        except EngineCallCancelled:
            return False
        except EngineError as error:
            if opened and isinstance(error, EngineTimeout):
                return True  # silent, but perhaps only because nothing happens: a new one follows it
            self._lost(error)
        finally:
            stream.release()
        return False

    def _take(self, event: EngineEvent) -> None:
        self._last_event_at = max(event.at, self._last_event_at or 0.0)
        self._hooks.received(event.action)
        self._hooks.noticed(event)
        self._hooks.touched(event.container_id)

    def _connected(self, *, lossless: bool) -> None:
        if self._failures:
            log.info("event stream connected again", attempts=self._failures)
        self._failures = 0
        self._hooks.connected(True)
        if not lossless:
            self._hooks.resync()

    def _lost(self, error: EngineError) -> None:
        if not self._failures:
            log.warning("event stream lost; ticks go on", reason=str(error))
        self._failures += 1
        self._hooks.connected(False)

    def _backoff(self) -> float:
        longest = min(LAST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2.0 ** min(self._failures, 10))
        return longest * self._chance.uniform(0.5, 1.0)
