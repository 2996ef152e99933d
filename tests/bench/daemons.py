"""A daemon in this process whose reports are kept with the moment at which each was told, after its commit."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from controller.daemon import Daemon
from controller.loop.report import TickReport
from store.records import Assignment
from tests.bench.stage import prepare_store, settings_for
from tests.harness import wait_until

_READY_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Told:
    """A report, and when it was told, in seconds since the epoch."""

    at: float
    report: TickReport

    @property
    def written(self) -> list[Assignment]:
        """Rows that this pass committed."""
        change = self.report.change
        return [*change.inserted, *(each.row for each in change.updated)]


@dataclass(slots=True)
class Watched:
    """A running daemon and all that it told."""

    told: list[Told] = field(default_factory=list)

    def take(self, report: TickReport) -> None:
        """The daemon's hook."""
        self.told.append(Told(time.time(), report))

    def wait_for(self, wanted: Callable[[Told], bool], since: int, what: str) -> Told:
        """The first report from number ``since`` on that is wanted."""
        found: list[Told] = []

        def look() -> bool:
            found.extend(each for each in self.told[since:] if wanted(each))
            return bool(found)

        wait_until(look, _READY_SECONDS, what)
        return found[0]


@contextlib.contextmanager
def watched_daemon(endpoint: str, url: str) -> Iterator[Watched]:
    """A daemon that has listed once, and whose event stream is connected."""
    settings = settings_for(url)
    prepare_store(settings, endpoint).close()
    watched = Watched()
    daemon = Daemon(settings, {"DOCKER_HOST": endpoint}, watched.take)
    daemon.start()
    try:
        watched.wait_for(lambda told: told.report.complete, 0, "the first pass is complete")
        wait_until(lambda: _connected(daemon), _READY_SECONDS, "the event stream is connected")
        daemon.loop.force(_READY_SECONDS)
        yield watched
    finally:
        daemon.stop()


def _connected(daemon: Daemon) -> bool:
    return daemon.metrics.registry.get_sample_value("tallyd_event_stream_connected") == 1.0
