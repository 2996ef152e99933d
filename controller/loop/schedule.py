"""When passes happen: at boot, by the timer, by events, and when somebody forces one. One at a time, no backlog.

One thread runs every pass; the timer (APScheduler) only asks for one, as everybody else does. That makes
passes serial and requests that wait coalesce into one (R4). APScheduler lives on the wall clock, so a step
back would silence it for as long (apscheduler#351); the thread's own monotonic wait notices and re-arms it.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING

import structlog

from controller.clock import Clock
from controller.errors import EngineCallCancelled
from controller.loop.report import TickOutcome, TickReport
from controller.loop.targeted import MOST_CONTAINERS, run_targeted
from controller.loop.tick import Activation, run_tick
from controller.loop.touched import Touched
from controller.settings import clamp_interval

if TYPE_CHECKING:
    from apscheduler.schedulers.background import BackgroundScheduler

STOP_SECONDS = 2.0
COALESCE_SECONDS = 0.001
"""How long the first event waits for those that come with it; what comes during a pass waits for its end."""

SUPERSEDED_ATTEMPTS = 3
_HEARTBEAT_SECONDS = 5.0
_SILENT_INTERVALS = 1.5

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LoopHooks:
    """What the loop needs from the process around it.

    ``current`` is read once per pass; ``reported`` is told of every pass; ``cancel`` ends the engine call and
    the plugin calls that are being waited for.
    """

    current: Callable[[], Activation]
    reported: Callable[[TickReport], None]
    cancel: Callable[[], None]


def run_pass(activation: Activation, clock: Clock) -> TickReport:
    """One pass; one that another process overtook is repeated on what that one left."""
    report = run_tick(activation, clock)
    for _ in range(SUPERSEDED_ATTEMPTS - 1):
        if report.outcome is not TickOutcome.SUPERSEDED:
            break
        report = run_tick(activation, clock)
    return report


class Loop:
    """The thread that runs all passes. Start and stop are idempotent; a stopped loop does not start again."""

    def __init__(self, hooks: LoopHooks, clock: Clock, interval_seconds: float) -> None:
        self._hooks = hooks
        self._clock = clock
        self._interval = clamp_interval(interval_seconds)
        self._wakeup = threading.Condition()
        self._asked = True  # the boot pass (R2)
        self._touched = Touched()
        self._waiting: Future[TickReport] | None = None
        self._stopping = False
        self._beat = self._last_full = clock.monotonic()
        self._thread: threading.Thread | None = None
        self._timer: BackgroundScheduler | None = None

    @property
    def heartbeat_age_seconds(self) -> float:
        """Seconds since the thread last showed life, for liveness."""
        return self._clock.monotonic() - self._beat

    def start(self) -> None:
        """Run the boot pass at once; the timer begins after it."""
        with self._wakeup:
            if self._thread is not None:
                return
            self._thread = threading.Thread(target=self._run, name="loop", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Cancel the call in flight, then wait for the thread, for two seconds at most (R3)."""
        with self._wakeup:
            self._stopping = True
            waiting, self._waiting = self._waiting, None
            timer, self._timer = self._timer, None
            self._wakeup.notify_all()
        self._hooks.cancel()
        _refuse(waiting)
        if timer is not None:
            timer.shutdown(wait=False)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(STOP_SECONDS)
            if self._thread.is_alive():
                log.warning("loop did not end in time", seconds=STOP_SECONDS)

    def request(self) -> None:
        """Ask for a pass, without waiting for it."""
        with self._wakeup:
            self._asked = True
            self._wakeup.notify_all()

    def set_interval(self, interval_seconds: float) -> None:
        """Tick at another interval from now on (R1)."""
        with self._wakeup:
            self._interval = clamp_interval(interval_seconds)
            timer = self._timer
            self._wakeup.notify_all()
        if timer is not None:
            self._reschedule(timer)

    def touch(self, container_id: str) -> None:
        """Something happened to this container: have it looked at soon (R20)."""
        with self._wakeup:
            self._touched.touch(container_id, self._clock.monotonic())
            self._wakeup.notify_all()

    @property
    def somebody_waits(self) -> bool:
        """Whether the next pass is asked for already."""
        return self._asked or self._stopping or self._seconds_to_look() <= 0

    def force(self, timeout_seconds: float) -> TickReport:
        """Run one whole pass that begins after this call, and return its report (R4).

        Calls that wait at the same time share one pass.

        :raises TimeoutError: it did not end in time; it still will.
        :raises EngineCallCancelled: the loop stops.
        """
        with self._wakeup:
            if self._stopping:
                raise EngineCallCancelled("no pass is run: the controller stops")
            if self._waiting is None:
                self._waiting = Future()
            shared = self._waiting
            self._asked = True
            self._wakeup.notify_all()
        return shared.result(timeout_seconds)

    def _run(self) -> None:
        while self._await_request():
            with self._wakeup:
                touched = self._touched.take_due(self._clock.monotonic())
                full = self._asked or len(touched) > MOST_CONTAINERS
                self._asked = False
                waiting, self._waiting = self._waiting, None
            report = self._run_one(None if full else touched)
            self._tell(report)
            if waiting is not None:
                waiting.set_result(report)
            if full:
                self._arm_timer()
            elif not report.complete and report.outcome is not TickOutcome.STANDBY:
                self.request()  # what the events said is not in the index; a full pass finds it

    def _run_one(self, touched: set[str] | None) -> TickReport:
        began_at, activation = self._clock.now(), self._hooks.current()
        try:
            if touched is not None:
                return run_targeted(activation, self._clock, touched)
            return run_pass(activation, self._clock)
        except Exception as error:  # a tick ends here: it is counted, and the loop goes on (R2)
            log.exception("tick failed by a defect of tallyd; please report it")
            reason = f"{type(error).__name__}: {error}"
            return TickReport(activation.host, TickOutcome.FAILED, began_at, errors=(reason,))
        finally:
            self._beat = self._clock.monotonic()
            if touched is None:
                self._last_full = self._beat

    def _tell(self, report: TickReport) -> None:
        try:
            self._hooks.reported(report)
        except (Exception, SystemExit):  # who listens must not end the loop; rich exits on a broken pipe
            log.exception("a report could not be told")

    def _seconds_to_look(self) -> float:
        due = self._touched.next_due()
        return math.inf if due is None else due - self._clock.monotonic()

    def _await_request(self) -> bool:
        """Wait until a pass is asked for, or the timer has been silent for too long. False: stop."""
        with self._wakeup:
            while not self.somebody_waits:
                self._beat = self._clock.monotonic()
                silent_at = self._last_full + self._interval * _SILENT_INTERVALS
                if self._beat >= silent_at:
                    self._rearm_timer()
                    self._asked = True
                    break
                self._wakeup.wait(min(_HEARTBEAT_SECONDS, silent_at - self._beat, self._seconds_to_look()))
            if not self._asked and not self._stopping:
                self._wakeup.wait(COALESCE_SECONDS)
            return not self._stopping

    def _arm_timer(self) -> None:
        # Imported after the boot pass, which need not wait for it.
        from apscheduler.schedulers.background import BackgroundScheduler
        from apscheduler.triggers.interval import IntervalTrigger

        with self._wakeup:
            if self._timer is not None or self._stopping:
                return
            self._timer = BackgroundScheduler(timezone=UTC)
            self._timer.add_job(
                self.request,
                IntervalTrigger(seconds=self._interval),
                id="tick",
                max_instances=1,
                coalesce=True,
                misfire_grace_time=None,
            )
            self._timer.start()

    def _rearm_timer(self) -> None:
        log.warning("timer was silent, the wall clock was stepped back; timer re-armed", interval=self._interval)
        if self._timer is not None:
            self._reschedule(self._timer)

    def _reschedule(self, timer: BackgroundScheduler) -> None:
        from apscheduler.triggers.interval import IntervalTrigger

        timer.reschedule_job("tick", trigger=IntervalTrigger(seconds=self._interval))


def _refuse(waiting: Future[TickReport] | None) -> None:
    if waiting is None:
        return
    try:
        waiting.set_exception(EngineCallCancelled("no pass is run: the controller stops"))
    except InvalidStateError:
        return
