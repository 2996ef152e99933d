"""`controller.loop.schedule`: when passes happen, one at a time, and how the loop ends."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo
from typing import Any

import pytest
from structlog.testing import capture_logs

from controller.clock import Clock
from controller.loop.report import TickOutcome, TickReport
from controller.settings import DEFAULT_INTERVAL_SECONDS, LONGEST_INTERVAL_SECONDS, clamp_interval
from store.database import Database
from store.workloads import apply_workloads
from tests.builders import NOW
from tests.fakes import FakeDocker, FakeWorld, Fault
from tests.harness import wait_until
from tests.unit.loops import LONG, SHORT, Running
from tests.unit.passes import OF_STACK
from tests.unit.plugins import Zoo, declared

LISTING = "/containers/json"


@pytest.mark.parametrize(
    ("asked", "used"),
    [
        (0, 30),
        (-1, 30),
        (-0.001, 30),
        (0.001, 0.001),
        (1, 1),
        (30, 30),
        (299.9, 299.9),
        (300, 300),
        (300.1, 300),
        (86_400, 300),
        (float("inf"), 300),
        (float("-inf"), 30),
    ],
)
def test_the_interval_is_clamped(asked: float, used: float) -> None:
    """R1: zero and less become 30 s, more than five minutes becomes five minutes."""
    assert clamp_interval(asked) == used
    assert (DEFAULT_INTERVAL_SECONDS, LONGEST_INTERVAL_SECONDS) == (30, 300)


def test_a_boot_pass_runs_at_once(running: Running, world: FakeWorld) -> None:
    """R2: nobody waits for the first interval."""
    world.run("web", OF_STACK)
    running.started(LONG)
    assert running.reports[0].change.inserted[0].id == "blog:web"


def test_the_timer_goes_on(running: Running) -> None:
    """R2: pass after pass, without anybody asking."""
    running.started(SHORT)
    wait_until(lambda: len(running.reports) >= 4, what="three more passes")
    assert set(running.outcomes) == {"complete"}


def test_a_failing_pass_does_not_end_the_loop(running: Running, docker: FakeDocker) -> None:
    """R2: it is reported, and the next one works again."""
    running.started(SHORT)
    with docker.answering(LISTING, Fault.HTML):
        wait_until(lambda: "listing_failed" in running.outcomes, what="a failing pass")
    count = len(running.reports)
    wait_until(lambda: "complete" in running.outcomes[count:], what="a pass that works again")


def test_a_defect_of_ours_does_not_end_the_loop(running: Running) -> None:
    """R2: an exception that nobody foresaw is reported as `failed`, with its text."""
    loop = running.started()
    sound = running.activation
    running.activation = replace(sound, lease=_defect)
    with capture_logs() as logs:
        report = loop.force(30)
    assert (report.outcome, report.errors) == (TickOutcome.FAILED, ("ZeroDivisionError: division by zero",))
    assert [(entry["log_level"], "please report it" in entry["event"]) for entry in logs] == [("error", True)]
    running.activation = sound
    assert loop.force(30).complete


def _defect() -> Any:
    return 1 / 0


def test_who_listens_cannot_end_the_loop(running: Running) -> None:
    """R2: a report that cannot be told, to a closed terminal for example, is not the loop's end."""
    loop = running.started()

    def broken(_report: TickReport) -> None:
        raise BrokenPipeError("nobody reads")

    running.told = broken
    assert loop.force(30).complete
    assert loop.force(30).complete


def test_calls_that_wait_at_the_same_time_share_a_pass(running: Running, docker: FakeDocker) -> None:
    """R4: five that wait while a pass hangs get the very same report, that of the pass after it."""
    loop = running.started()
    docker.answer_with(LISTING, Fault.HANG)
    loop.request()
    wait_until(lambda: docker.held, what="a pass hangs")
    with ThreadPoolExecutor(5) as pool:
        forced = [pool.submit(loop.force, 30.0) for _ in range(5)]
        wait_until(lambda: _waiters() == 5, what="five calls wait for one pass")
        docker.answer_normally()
        reports = [each.result(30) for each in forced]
    assert all(report is reports[0] for report in reports)
    assert reports[0] is running.reports[2]


def _waiters() -> int:
    """How many threads stand in `force`, seen from their stacks: nothing else tells."""
    return sum(_stands_in(frame, "force") and _stands_in(frame, "result") for frame in sys._current_frames().values())


def _stands_in(frame: Any, function: str) -> bool:
    while frame is not None:
        if frame.f_code.co_name == function:
            return True
        frame = frame.f_back
    return False


def test_requests_leave_no_backlog(running: Running, docker: FakeDocker) -> None:
    """R2: however many ticks fall due while a pass hangs, one follows it."""
    loop = running.loop()
    docker.answer_with(LISTING, Fault.HANG)
    loop.start()
    wait_until(lambda: docker.held, what="the boot pass hangs")
    for _ in range(10):
        loop.request()
    docker.answer_normally()
    wait_until(lambda: len(running.reports) >= 2 and not loop.somebody_waits, what="the pass that follows")
    assert loop.force(30) is running.reports[-1]
    assert len(running.reports) == 3


def test_passes_never_overlap(running: Running, database: Database, zoo: Zoo) -> None:
    """R2, R4: ticks, forced ones and requested ones are one after the other."""
    running_now, most, lock = 0, 0, threading.Lock()

    def count(_request: Any) -> Any:
        nonlocal running_now, most
        with lock:
            running_now += 1
            most = max(most, running_now)
        answer = zoo.sources["fine"].reconcile(_request)
        with lock:
            running_now -= 1
        return answer

    zoo.sources["repairs"].reconcile = count
    apply_workloads(database, [declared("w", "repairs")], NOW)
    loop = running.started(SHORT)
    with ThreadPoolExecutor(4) as pool:
        assert all(each.complete for each in pool.map(lambda _: loop.force(60), range(20)))
    assert most == 1


def test_a_forced_pass_begins_after_the_call(running: Running, world: FakeWorld) -> None:
    """R4: so it sees what was there when somebody asked."""
    loop = running.started()
    for number in range(5):
        world.run(f"web-{number}", {**OF_STACK, "com.docker.compose.service": f"s{number}"})
        assert loop.force(30).matched == number + 1


def test_a_forced_pass_that_takes_too_long(running: Running, docker: FakeDocker) -> None:
    """R4: the caller is freed at its own deadline; the pass goes on."""
    loop = running.started()
    docker.answer_with(LISTING, Fault.HANG)
    with pytest.raises(TimeoutError):
        loop.force(0.1)
    docker.answer_normally()
    wait_until(lambda: len(running.reports) == 2, what="the pass ends all the same")


class SteppedClock(datetime):
    """The wall clock as APScheduler reads it; an hour back once `stepped`."""

    stepped = False

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        """As `datetime.now`."""
        real = datetime.now(tz)
        return real - timedelta(hours=1) if cls.stepped else real


def test_a_wall_clock_that_steps_back_does_not_silence_the_loop(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F, pitfall 12: APScheduler would wait for an hour; the loop's own monotonic wait notices, and re-arms it."""
    for module in ("apscheduler.schedulers.base", "apscheduler.triggers.interval"):
        monkeypatch.setattr(f"{module}.datetime", SteppedClock)
    monkeypatch.setattr(SteppedClock, "stepped", False)
    with capture_logs() as logs:
        running.started(SHORT)
        wait_until(lambda: len(running.reports) >= 3, what="the timer works")
        SteppedClock.stepped = True
        count = len(running.reports)
        wait_until(lambda: len(running.reports) >= count + 5, what="five passes after the clock was stepped back")
    assert "timer was silent, the wall clock was stepped back; timer re-armed" in [each["event"] for each in logs]


def test_the_heartbeat_shows_life(running: Running, docker: FakeDocker) -> None:
    """O4: it is as old as the pass that is going on, and young while the loop waits."""
    now = [1000.0]
    loop = running.loop(LONG, Clock(now=lambda: NOW, monotonic=lambda: now[0]))
    loop.start()
    wait_until(lambda: running.reports, what="the boot pass")
    assert loop.heartbeat_age_seconds == 0.0
    docker.answer_with(LISTING, Fault.HANG)
    loop.request()
    wait_until(lambda: docker.held, what="a pass hangs")
    now[0] += 77.0
    assert loop.heartbeat_age_seconds == 77.0
    docker.answer_normally()
    wait_until(lambda: loop.heartbeat_age_seconds == 0.0, what="the pass ended")


def test_an_event_is_looked_at_soon(running: Running, world: FakeWorld) -> None:
    """R20: a touched container gets a targeted pass; nobody waits for the tick."""
    loop = running.started()
    container = world.run("web", OF_STACK)
    loop.touch(container)
    wait_until(
        lambda: any(each.targeted and each.change.inserted for each in running.reports), what="a targeted pass"
    )


def test_many_events_at_once_are_a_full_pass(running: Running, world: FakeWorld) -> None:
    """R20: beyond two hundred containers a listing of all is as cheap."""
    loop = running.started()
    ids = world.many(300, lambda number: {**OF_STACK, "com.docker.compose.service": f"s{number}"})
    with loop._wakeup:
        for each in ids:
            loop.touch(each)
    wait_until(lambda: any(len(each.change.inserted) == 300 for each in running.reports), what="one pass for all")
    assert not next(each for each in running.reports if each.change.inserted).targeted


def test_a_targeted_pass_that_fails_is_followed_by_a_full_one(running: Running, docker: FakeDocker) -> None:
    """R20: what the events said is not in the index, and the events do not come again."""
    loop = running.started()
    container = docker.world.run("web", OF_STACK)
    docker.answer_with(LISTING, Fault.ERROR)
    loop.touch(container)
    wait_until(lambda: any(not each.complete and not each.targeted for each in running.reports), what="a full pass")
    docker.answer_normally()
    wait_until(lambda: any(each.change.inserted for each in running.reports), what="the row")
