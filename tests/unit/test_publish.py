"""`controller.loop.publish`: what a pass tells the log and the metrics."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from controller.loop.dispatch import IgnoreReason
from controller.loop.observe import Unreadable
from controller.loop.publish import Narrator, publish_metrics
from controller.loop.report import TickOutcome
from controller.metrics import Metrics
from store.records import Change
from tests.builders import assignment, later
from tests.unit.reports import failed, ignored, reconciled, report

NEW = Change(inserted=(assignment(),))


class Log:
    """What was logged: level, event and fields."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def debug(self, event: str, **fields: Any) -> None:
        self.lines.append(("debug", event, fields))

    def info(self, event: str, **fields: Any) -> None:
        self.lines.append(("info", event, fields))

    def warning(self, event: str, **fields: Any) -> None:
        self.lines.append(("warning", event, fields))

    def take(self) -> list[tuple[str, str]]:
        """Level and event of what came since."""
        lines, self.lines = self.lines, []
        return [line[:2] for line in lines]


@pytest.fixture
def log() -> Log:
    """An empty log."""
    return Log()


@pytest.fixture
def narrator(log: Log) -> Narrator:
    """One that has seen the engine already."""
    each = Narrator(log)
    each.tell(report())
    log.take()
    return each


def test_one_line_a_change_and_nothing_without_one(narrator: Narrator, log: Log) -> None:
    """O6: "49 seen, 2 new, 1 missing", then silence."""
    narrator.tell(report(listed=1, change=NEW))
    assert log.take() == [("info", "1 seen, 1 new")]
    for _ in range(3):
        narrator.tell(report(listed=1))
    assert log.take() == []


def test_an_engine_is_announced_once(log: Log) -> None:
    """O6, O2: and again when it is another one."""
    narrator = Narrator(log)
    for _ in range(3):
        narrator.tell(report())
    assert log.take() == [("info", "engine connected")]
    narrator.tell(report(engine_id="ANOTHER"))
    assert log.take() == [("info", "engine connected")]


def test_trouble_is_told_when_it_begins_and_when_it_ends(narrator: Narrator, log: Log) -> None:
    """O6: once each, with how long it lasted."""
    for number in range(5):
        narrator.tell(replace(failed(), began_at=later(number * 30)))
    assert log.take() == [("warning", "tick failed")]
    narrator.tell(report(began_at=later(150)))
    assert log.lines[0] == ("info", "tick works again", {"after": "listing_failed", "seconds": 150.0})
    log.take()
    narrator.tell(report())
    assert log.take() == []


def test_another_kind_of_trouble_is_told_too(narrator: Narrator, log: Log) -> None:
    """O6: first the engine, then the store."""
    narrator.tell(failed())
    narrator.tell(failed("locked", TickOutcome.STORE_FAILED))
    assert [event for _, event in log.take()] == ["tick failed", "tick failed"]


def test_a_clock_that_stepped_back_makes_no_negative_outage(narrator: Narrator, log: Log) -> None:
    """F: an outage lasts zero seconds at least."""
    narrator.tell(failed())
    narrator.tell(report(began_at=later(-3600)))
    assert log.lines[-1][2]["seconds"] == 0.0


@pytest.mark.parametrize(
    ("reason", "level"),
    [
        (IgnoreReason.KIND_MISMATCH, "warning"),
        (IgnoreReason.SLOT_TAKEN, "warning"),
        (IgnoreReason.UNKNOWN_WORKLOAD, "debug"),
        (IgnoreReason.NO_PROJECT_ROW, "debug"),
        (IgnoreReason.UNKNOWN_SITE, "debug"),
    ],
)
def test_ignored_containers_are_told_once(narrator: Narrator, log: Log, reason: IgnoreReason, level: str) -> None:
    """R8, R16, O6: a mismatch and a forged claim are worth a warning; nobody is told at every tick."""
    for _ in range(3):
        narrator.tell(report(ignored=(ignored("x", reason),)))
    assert log.take() == [(level, "container ignored")]
    narrator.tell(report())
    narrator.tell(report(ignored=(ignored("x", reason),)))
    assert log.take() == [(level, "container ignored")]


def test_containers_of_others_are_not_worth_a_line(narrator: Narrator, log: Log) -> None:
    """O6: most containers of a machine are none of ours."""
    narrator.tell(report(ignored=tuple(ignored(str(n), IgnoreReason.UNLABELLED) for n in range(100))))
    assert log.take() == []


def test_unreadable_containers_and_problems_are_told_once(narrator: Narrator, log: Log) -> None:
    """R17, R15: each with its reason."""
    troubled = report(unreadable=(Unreadable("abc", "Names is null"),), errors=("row 'a' was refused",))
    for _ in range(3):
        narrator.tell(troubled)
    assert [(level, event) for level, event, _ in log.lines] == [
        ("warning", "container unreadable"),
        ("warning", "problem"),
    ]
    assert log.lines[0][2] == {"container_id": "abc", "reason": "Names is null"}


def test_what_plugins_did_is_told_once(narrator: Narrator, log: Log) -> None:
    """O6, R15: neither "in sync" nor a back-off is news."""
    done = [reconciled("a", "repaired", message="started web"), reconciled("b", "failed", message="boom")]
    uncalled = ["backoff", "in_flight", "deferred", "terminal"]
    quiet = [reconciled(each, each, called=False) for each in uncalled] + [reconciled("c", "in_sync")]
    for _ in range(2):
        narrator.tell(report(reconciled=(*done, *quiet)))
    assert [fields for _, _, fields in log.lines] == [
        {"workload": "a", "result": "repaired", "detail": "started web"},
        {"workload": "b", "result": "failed", "detail": "boom"},
    ]


@pytest.mark.parametrize("why_not", ["backoff", "in_flight", "deferred", "terminal"])
def test_a_pass_that_did_not_ask_does_not_make_an_old_answer_new(narrator: Narrator, log: Log, why_not: str) -> None:
    """O6, R15: the same answer again is no news, another one is, and so is the first one after that."""
    drift, fine = reconciled("a", "drift", message="web is gone"), reconciled("a", "in_sync")
    unasked = reconciled("a", why_not, called=False)
    for each in (drift, unasked, drift):
        narrator.tell(report(reconciled=(each,)))
    assert log.take() == [("warning", "workload reconciled")]
    for targeted in (False, True):
        narrator.tell(report(reconciled=(fine,), targeted=targeted))
        narrator.tell(report(reconciled=(drift,)))
        assert log.take() == [("warning", "workload reconciled")]


def test_a_targeted_pass_does_not_make_old_news_new(narrator: Narrator, log: Log) -> None:
    """O6, R20: it sees a few containers only; what it does not see is not over."""
    narrator.tell(report(ignored=(ignored("x", IgnoreReason.SLOT_TAKEN),)))
    narrator.tell(report(targeted=True))
    narrator.tell(replace(failed(), targeted=True))
    narrator.tell(report(ignored=(ignored("x", IgnoreReason.SLOT_TAKEN),)))
    assert log.take() == [("warning", "container ignored")]


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """The value of one series."""
    return metrics.registry.get_sample_value(name, labels)


def test_a_complete_pass_feeds_every_metric() -> None:
    """O5: outcome, phases, gauges, plugins that were called."""
    metrics = Metrics()
    full = report(
        phases={"list": 0.2, "write": 0.1},
        states={("stack", "running"): 3, ("site", "missing"): 1},
        ignored=(ignored("x", IgnoreReason.UNLABELLED),),
        unreadable=(Unreadable("a", "b"),),
        reconciled=(reconciled("a", "in_sync"), reconciled("b", "backoff", called=False)),
    )
    publish_metrics(full, metrics, {"ready": 2})
    assert value(metrics, "tallyd_ticks_total", outcome="complete") == 1
    assert value(metrics, "tallyd_tick_duration_seconds_sum", phase="list") == 0.2
    assert value(metrics, "tallyd_containers", workload_kind="stack", state="running") == 3
    assert value(metrics, "tallyd_containers", workload_kind="site", state="missing") == 1
    assert value(metrics, "tallyd_containers_ignored", reason="unlabelled") == 1
    assert value(metrics, "tallyd_containers_unreadable") == 1
    assert value(metrics, "tallyd_revisions", state="ready") == 2
    assert value(metrics, "tallyd_plugin_reconciles_total", kind="report", result="in_sync") == 1
    assert value(metrics, "tallyd_plugin_reconciles_total", kind="report", result="backoff") is None
    assert value(metrics, "tallyd_last_complete_listing_timestamp_seconds") == full.began_at.timestamp()


def test_a_failed_pass_leaves_the_gauges_as_they_were() -> None:
    """O5, R21: the index is what the last complete pass left; its timestamp shows its age."""
    metrics = Metrics()
    publish_metrics(report(states={("stack", "running"): 3}), metrics, {})
    publish_metrics(replace(failed(), began_at=later(500)), metrics, {})
    assert value(metrics, "tallyd_containers", workload_kind="stack", state="running") == 3
    assert value(metrics, "tallyd_ticks_total", outcome="listing_failed") == 1
    assert value(metrics, "tallyd_last_complete_listing_timestamp_seconds") == report().began_at.timestamp()


def test_a_targeted_pass_adjusts_the_numbers() -> None:
    """O5, R20: by its difference; it is counted apart, and is no complete listing."""
    metrics = Metrics()
    publish_metrics(report(states={("stack", "running"): 3}), metrics, {})
    moved = {("stack", "running"): -1, ("stack", "stopped"): 1}
    publish_metrics(report(targeted=True, states=moved, began_at=later(9)), metrics, {})
    assert value(metrics, "tallyd_containers", workload_kind="stack", state="running") == 2
    assert value(metrics, "tallyd_containers", workload_kind="stack", state="stopped") == 1
    assert value(metrics, "tallyd_ticks_total", outcome="complete") == 1
    assert value(metrics, "tallyd_targeted_passes_total", outcome="complete") == 1
    assert value(metrics, "tallyd_last_complete_listing_timestamp_seconds") == report().began_at.timestamp()
