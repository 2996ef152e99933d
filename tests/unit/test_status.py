"""`controller.loop.status`: how old our truth is, and what is in the way."""

from __future__ import annotations

import pytest

from controller.loop.report import TickOutcome
from controller.loop.status import LoopStatus
from tests.builders import NOW, later
from tests.unit.reports import failed, report


@pytest.fixture
def now() -> list[float]:
    """A monotonic clock: its one item."""
    return [100.0]


@pytest.fixture
def status(now: list[float]) -> LoopStatus:
    """For an interval of 30 s."""
    return LoopStatus(30.0, lambda: now[0])


def test_before_the_first_complete_listing(status: LoopStatus) -> None:
    """O4: not ready, with what is in the way."""
    assert status.not_ready_because() == ["no complete listing yet"]
    status.record(failed("no socket"))
    assert status.not_ready_because() == ["no complete listing yet", "no socket"]
    assert (status.listed_at, status.last_complete) == (None, None)


def test_ready_after_a_complete_listing(status: LoopStatus) -> None:
    """O4, R21: with the time at which it began."""
    status.record(report())
    assert status.not_ready_because() == []
    assert status.listed_at == NOW


def test_a_failing_pass_makes_not_ready_only_when_the_truth_is_old(status: LoopStatus, now: list[float]) -> None:
    """R21: within three intervals the index may still be relied on; past them it may not."""
    status.record(report())
    status.record(failed("hung"))
    now[0] += 90.0
    assert status.not_ready_because() == []
    now[0] += 0.5
    assert status.not_ready_because() == ["the last complete listing is 90 s old, over 3 intervals", "hung"]
    status.record(report(began_at=later(100)))
    assert status.not_ready_because() == []
    assert status.listed_at == later(100)


def test_the_age_does_not_depend_on_the_wall_clock(status: LoopStatus, now: list[float]) -> None:
    """F: a clock stepped back or forward makes nobody ready or not."""
    status.record(report(began_at=NOW.replace(year=1999)))
    assert status.not_ready_because() == []
    now[0] += 91.0
    assert status.not_ready_because() != []


def test_a_targeted_pass_says_nothing_about_the_rest(status: LoopStatus) -> None:
    """R21: it is no complete listing."""
    status.record(report(targeted=True))
    assert status.not_ready_because() == ["no complete listing yet"]
    assert status.last is None


def test_the_last_report_is_kept_whatever_it_is(status: LoopStatus) -> None:
    """O4: beside the last complete one."""
    complete, standby = report(), failed("led by another", TickOutcome.STANDBY)
    status.record(complete)
    status.record(standby)
    assert status.last is standby
    assert status.last_complete is complete
