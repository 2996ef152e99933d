"""The thread that writes down what no pass should wait for: why a container ended, what a source answers anew; and
that forgets what is old.

What it is told is queued, and dropped where there is too much of it: history may have gaps, a pass may not wait.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from controller.engine.containers import ContainerSeen
from controller.engine.events import EngineEvent
from controller.errors import EngineError, StoreError
from controller.healing.causes import bounded_lines, cause_of
from controller.healing.deeds import deed_before, words_of_deed
from controller.healing.doings import Doings
from controller.healing.ended import Asked
from controller.healing.holds import ENGINE, OPERATOR, release_events
from controller.loop.converge import Reconciled
from controller.loop.report import TickReport
from store.database import Database
from store.healing import list_holds, prune_healing, release_holds, row_of_container
from store.healing_records import Hold
from store.history import PRUNED_AT_ONCE, append_events, prune_events, read_events
from store.history_records import MOST_READ, Event, EventFilter, EventKind
from store.records import ENDED_STATES

MOST_WAITING = 512
SAME_END_SECONDS = 5.0
"""A container that ends again within this is not told of again; nor is one end that two ways told of."""

FIRST_TIDY_SECONDS, TIDY_SECONDS = 60.0, 600.0
COUNT_SECONDS = 60.0
STOP_SECONDS = 0.5
_MOST_REMEMBERED = 4_096
_QUIET = frozenset({"backoff", "in_flight", "deferred", "in_sync"})
_FINE = frozenset({"in_sync", "repaired"})
_FAILED = frozenset({"failed", "timeout", "terminal", "unusable"})

log = structlog.get_logger(__name__)


class Looking(Protocol):
    """What is asked of the engine about a container that ended."""

    def inspect_container(self, container_id: str) -> ContainerSeen | None: ...
    def last_lines(self, container_id: str, count: int) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class Keeping:
    """How much is kept: events by age and number, and log lines of a container that ended."""

    days: float = 30.0
    rows: int = 200_000
    log_lines: int = 5


@dataclass(frozen=True, slots=True)
class _Ended:
    container_id: str
    at: datetime
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class _Started:
    name: str


@dataclass(frozen=True, slots=True)
class _First:
    """The first answer of a source in this process; news only where the last one before it was none of success."""

    event: Event


_Job = _Ended | _Started | _First | Event


class Chronicle:
    """Started once, stopped once. Everything it is told, it is told without waiting."""

    def __init__(
        self,
        database: Database,
        host: str,
        engine: Looking,
        doings: Doings,
        keeping: Keeping,
        now: Callable[[], datetime],
        held: Callable[[list[Hold]], None] = lambda _holds: None,
    ) -> None:
        """:param held: told now and then which holds are in force."""
        self._database = database
        self._host = host
        self._engine = engine
        self._doings = doings
        self._keeping = keeping
        self._now = now
        self._held = held
        self._waiting: deque[_Job] = deque(maxlen=MOST_WAITING)
        self._wakeup = threading.Condition()
        self._stopping = False
        self._told: OrderedDict[str, datetime] = OrderedDict()
        self._answers: dict[str, tuple[str, str]] = {}
        self._before: dict[str, str] | None = None
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)

    def start(self) -> None:
        """Begin to write; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """End; what waits is not written."""
        with self._wakeup:
            self._stopping = True
            self._wakeup.notify_all()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def noticed(self, event: EngineEvent) -> None:
        """An event of the engine."""
        if event.action == "die":
            code = int(event.exit_code) if event.exit_code.isdecimal() else None
            self._put([_Ended(event.container_id, self._now(), code)])
        elif event.action == "start" and event.name:
            self._put([_Started(event.name)])

    def record(self, report: TickReport) -> None:
        """A pass: whom it found ended, and what sources answered."""
        ended = [
            _Ended(each.row.container_id, report.began_at)
            for each in report.change.updated
            if each.row.container_id
            and each.row.state in ENDED_STATES
            and each.before is not None
            and each.before.state not in ENDED_STATES
        ]
        answered = [event for each in report.reconciled if (event := self._answer(each, report.began_at))]
        if ended or answered:
            self._put([*ended, *answered])

    def look_at_holds(self) -> None:
        """Count the holds soon: one was made or ended."""
        self._put([])

    def _answer(self, each: Reconciled, at: datetime) -> Event | _First | None:
        if not each.called:
            return None
        said = (each.result, each.message)
        before = self._answers.get(each.workload_id)
        self._answers[each.workload_id] = said
        if said == before or (each.result in _QUIET and before is not None and before[0] in _QUIET):
            return None
        message = f"source {each.source_kind}: {each.result}{': ' if each.message else ''}{each.message}"
        event = Event(
            at,
            EventKind.PLUGIN,
            self._host,
            each.workload_id,
            each.source_kind,
            each.result,
            message,
            f"source {each.source_kind}",
        )
        if before is None:
            return _First(event) if each.result in _QUIET else event
        return _recovered(event, before[0])

    def _put(self, jobs: Iterable[_Job]) -> None:
        with self._wakeup:
            self._waiting.extend(jobs)
            self._wakeup.notify_all()

    def _run(self) -> None:
        tidy_at = time.monotonic() + FIRST_TIDY_SECONDS
        while True:
            with self._wakeup:
                if not self._waiting and not self._stopping:
                    self._wakeup.wait(COUNT_SECONDS)
                if self._stopping:
                    return
                jobs = list(self._waiting)
                self._waiting.clear()
            tidy = time.monotonic() >= tidy_at
            if tidy:
                tidy_at = time.monotonic() + TIDY_SECONDS
            try:
                self._work(jobs, tidy=tidy)
            except (StoreError, EngineError) as error:
                log.debug("history has a gap", reason=str(error))
            except Exception:  # the thread goes on: a defect here costs what was waiting
                log.exception("history has a gap")

    def _work(self, jobs: list[_Job], *, tidy: bool) -> None:
        events = [each for each in jobs if isinstance(each, Event)]
        firsts = [each for each in jobs if isinstance(each, _First)]
        events += [event for each in firsts if (event := self._after_restart(each))]
        events += [event for each in jobs if isinstance(each, _Ended) and (event := self._explain(each))]
        append_events(self._database, events)
        started = {each.name for each in jobs if isinstance(each, _Started)}
        if started:
            self._release(started)
        if tidy:
            self._tidy()
        self._count_holds()

    def _after_restart(self, first: _First) -> Event | None:
        """That a source recovered while nobody was told: it failed before this process began."""
        if self._before is None:
            asked = EventFilter(host=self._host, kinds=(EventKind.PLUGIN,), limit=MOST_READ)
            self._before = {each.workload_id: each.reason for each in read_events(self._database, asked)}
        before = self._before.pop(first.event.workload_id, "")
        return _recovered(first.event, before) if before and before not in _FINE else None

    def _explain(self, ended: _Ended) -> Event | None:
        before = self._told.get(ended.container_id)
        if before is not None and abs((ended.at - before).total_seconds()) < SAME_END_SECONDS:
            return None
        row = row_of_container(self._database, self._host, ended.container_id)
        if row is None:
            return None
        self._told.pop(ended.container_id, None)
        self._told[ended.container_id] = ended.at
        while len(self._told) > _MOST_REMEMBERED:
            self._told.popitem(last=False)
        asked = self._asked(ended)
        try:
            seen = self._engine.inspect_container(ended.container_id)
            told = cause_of(row, self._host, ended.at, ended.exit_code, seen, asked)
            if not self._keeping.log_lines or seen is None:
                return told
            lines = bounded_lines(self._engine.last_lines(ended.container_id, self._keeping.log_lines))
        except EngineError:
            return cause_of(row, self._host, ended.at, ended.exit_code, None, asked)
        return replace(told, details={**told.details, "last_lines": lines})

    def _asked(self, ended: _Ended) -> Asked:
        """What was asked of it, also by a deploy of another process, which wrote it down."""
        asked = self._doings.asked(ended.container_id)
        deed = deed_before(self._database, self._host, ended.container_id, ended.at)
        return asked if deed is None else replace(asked, ours_at=deed.at, ours_by=words_of_deed(deed))

    def _release(self, names: set[str]) -> None:
        """Who starts again what he stopped ends the hold that this made."""
        now = self._now()
        held = list_holds(self._database, host=self._host, now=now)
        over = [each for each in held if each.slot in names and each.author == ENGINE]
        if over:
            events = release_events(over, now, OPERATOR, "it was started again")
            release_holds(self._database, over, now, events)

    def _count_holds(self) -> None:
        self._held(list_holds(self._database, host=self._host, now=self._now()))

    def _tidy(self) -> None:
        before = self._now() - timedelta(days=self._keeping.days)
        while not self._stopping and prune_events(self._database, before, self._keeping.rows) == PRUNED_AT_ONCE:
            log.debug("history is pruned")
        prune_healing(self._database, self._now())


def _recovered(event: Event, before: str) -> Event:
    """The same event, saying so where it ends a failure."""
    if event.reason not in _FINE or before not in _FAILED:
        return event
    return replace(event, message=f"{event.message}; it recovered, {before} before")
