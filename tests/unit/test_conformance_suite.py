"""`controller.rollout.conformance.suite`: whatever a deployer or a subject does, the suite goes on and tells it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from controller.errors import UsageError
from controller.rollout.conformance import Check, Finding, Verdict, report_of, run_checks, summary_of
from controller.rollout.conformance.bench import Bench, CheckBlocked, CheckFailed, CheckImpossible, difference, shown
from controller.rollout.conformance.checks import CHECKS, choose_checks
from controller.rollout.deployer import Revision, Workload
from store.records import WorkloadKind
from tests.harness import wait_until
from tests.unit.plugins import Unspeakable

LONG_SECONDS = 30.0
SHORT_SECONDS = 0.2


class Subject:
    """A subject whose deployer's `stage` does what the test says."""

    def __init__(self, stage: Callable[..., Any] = lambda *_: None) -> None:
        self.deployer: Any = self
        self.stage = stage
        self.closed = threading.Event()

    def warm(self, *_: Any) -> None:
        """Nothing."""

    def workload(self, name: str) -> Workload:
        return Workload(name, name, WorkloadKind.PROJECT, name)

    def revision(self, workload: Workload, sequence: int) -> Revision:
        return Revision(f"r{sequence}", workload.id, sequence, "", "", "")

    def close(self) -> None:
        self.closed.set()


def stages(bench: Bench) -> None:
    """A check that looks at `stage`."""
    bench.verb("stage", bench.scene("shop"), "r1")


def prepares(bench: Bench) -> None:
    """A check that needs `stage` in its preparation."""
    bench.ready_scene("shop")


def check(run: Callable[[Bench], None]) -> Check:
    """A check of no promise in particular."""
    return Check("check", "D9", "it is kept", "mend it", run)


def found(run: Callable[[Bench], None], subject: Any, deadline_seconds: float = LONG_SECONDS) -> Finding:
    """The finding of one check on one subject."""
    (finding,) = run_checks(lambda: subject, checks=[check(run)], deadline_seconds=deadline_seconds)
    return finding


def raising(error: BaseException) -> Callable[..., Any]:
    """A verb that raises this."""

    def verb(*_: Any) -> Any:
        raise error

    return verb


@pytest.mark.parametrize(
    ("verb", "told"),
    [
        (raising(ValueError("no such thing")), "ValueError: no such thing"),
        (raising(KeyboardInterrupt()), "KeyboardInterrupt"),
        (raising(Unspeakable()), "Unspeakable, which cannot be printed"),
        (lambda *_: sys.exit(3), "SystemExit: 3"),
        (raising(GeneratorExit()), "GeneratorExit"),
        (raising(RuntimeError("x" * 5_000)), "… (5014 characters)"),
    ],
)
def test_whatever_a_verb_raises_is_a_finding(verb: Callable[..., Any], told: str) -> None:
    """D9: of the check that looks at it; it blocks those that only need it. The subject is closed."""
    subject = Subject(verb)
    failed = found(stages, subject)
    assert (failed.verdict, failed.remedy) == (Verdict.FAILED, "mend it")
    assert failed.detail.startswith("stage of revision 'r1' raised ")
    assert failed.detail.endswith(told)
    blocked = found(prepares, Subject(verb))
    assert (blocked.verdict, blocked.remedy) == (Verdict.BLOCKED, "")
    assert blocked.detail == f"in the preparation, {failed.detail}"
    assert subject.closed.is_set()


def test_a_verb_that_hangs_is_left_behind_and_its_subject_closed() -> None:
    """D9: within the deadline, with the verb that hung; the checks after it are made."""
    released, subjects = threading.Event(), []
    before = set(conformance_threads())

    def make() -> Subject:
        subjects.append(Subject(lambda *_: released.wait()))
        return subjects[-1]

    findings = run_checks(make, checks=[check(stages), check(prepares)], deadline_seconds=SHORT_SECONDS)
    failed, blocked = findings
    assert (failed.verdict, failed.detail) == (
        Verdict.FAILED,
        "no end within 0.2 s; it hung in: stage of revision 'r1'",
    )
    assert (blocked.verdict, blocked.detail) == (Verdict.BLOCKED, failed.detail)
    assert all(each.closed.is_set() for each in subjects)
    released.set()
    wait_until(lambda: set(conformance_threads()) <= before, LONG_SECONDS, "the threads that were left behind end")


def conformance_threads() -> list[threading.Thread]:
    """Threads of checks that still run."""
    return [each for each in threading.enumerate() if each.name.startswith("conformance-")]


def test_a_deployer_that_takes_itself_apart() -> None:
    """D9: members that go missing between two checks are a finding of the second; the suite goes on."""

    class Vanishing:
        def stage(self, *_: Any) -> None:
            for name in ("stage", "warm"):
                delattr(Vanishing, name)

        def warm(self, *_: Any) -> None:
            """Nothing."""

    def make() -> Subject:
        subject = Subject()
        subject.deployer = Vanishing()
        return subject

    first, second, third = run_checks(make, checks=[check(stages)] * 2 + [check(prepares)], deadline_seconds=30)
    assert first.verdict is Verdict.PASSED
    assert second.verdict is Verdict.FAILED
    assert "'Vanishing' object has no attribute 'stage'" in second.detail
    assert third.verdict is Verdict.BLOCKED


def test_a_subject_that_cannot_be_made() -> None:
    """D9: every check is blocked and says why, also where making it exits or hangs."""
    released = threading.Event()

    def hangs() -> Subject:
        released.wait()
        return subject

    subject = Subject()
    told = {raising(OSError("no engine")): "OSError: no engine", lambda: sys.exit(2): "SystemExit: 2"}
    for make, why in told.items():
        (finding,) = run_checks(make, checks=[check(stages)], deadline_seconds=LONG_SECONDS)
        assert (finding.verdict, finding.detail) == (Verdict.BLOCKED, f"the subject cannot be made: {why}")
    (late,) = run_checks(hangs, checks=[check(stages)], deadline_seconds=SHORT_SECONDS)
    assert (late.verdict, late.detail) == (Verdict.BLOCKED, "the subject was not made within 0.2 s")
    released.set()
    assert subject.closed.wait(LONG_SECONDS)


def test_a_subject_that_is_not_closed_is_told() -> None:
    """D9: what stays on the provider is no success; a finding that is there already is kept."""
    subject = Subject()
    subject.close = raising(OSError("still in use"))  # type: ignore[method-assign]
    finding = found(stages, subject)
    assert finding.verdict is Verdict.FAILED
    assert finding.detail == "passed, but the subject was not closed: OSError: still in use"
    released, hanging = threading.Event(), Subject()
    hanging.close = released.wait  # type: ignore[method-assign, assignment]
    finding = found(stages, hanging, SHORT_SECONDS)
    assert finding.detail == "passed, but the subject was not closed: close() has not returned"
    released.set()
    broken = Subject(raising(ValueError("stage")))
    broken.close = raising(OSError("close"))  # type: ignore[method-assign]
    assert found(stages, broken).detail.endswith("ValueError: stage")


def test_findings_come_one_by_one() -> None:
    """D9: the first is there before the second check begins; its duration is the clock's."""
    made = []
    ticks = iter(range(100))

    def make() -> Subject:
        made.append(1)
        return Subject()

    findings = run_checks(make, checks=[check(stages)] * 2, monotonic=lambda: next(ticks))
    assert next(findings).duration_seconds == 1
    assert len(made) == 1
    assert next(findings).kept
    assert len(made) == 2


@pytest.mark.parametrize(
    ("error", "verdict", "kept"),
    [
        (CheckFailed("so"), Verdict.FAILED, False),
        (CheckBlocked("so"), Verdict.BLOCKED, False),
        (CheckImpossible("so"), Verdict.UNCHECKED, True),
    ],
)
def test_what_a_check_says_is_its_verdict(error: Exception, verdict: Verdict, kept: bool) -> None:
    """D9: only a missing hook is no failure."""
    finding = found(raising(error), Subject())
    assert (finding.verdict, finding.detail, finding.kept) == (verdict, "so", kept)
    report = report_of("shop", [finding])
    assert report["conformant"] is kept
    assert report["checks"][0]["verdict"] == str(verdict)
    assert report | summary_of([finding]) == report
    assert sum(summary_of([finding]).values()) == 1


def test_checks_are_chosen_by_name() -> None:
    """D9, O1: in their own order; a name that is none is a usage error."""
    assert choose_checks([]) == CHECKS
    assert [each.name for each in choose_checks(["split-missing", "members"])] == ["members", "split-missing"]
    with pytest.raises(UsageError, match="there is no check 'member'; there are: members, subject, "):
        choose_checks(["members", "member"])


def test_differences_are_shown_by_key() -> None:
    """D9: what is new, gone and changed, and nothing of the rest; cut where it is long, whatever it is."""
    told = difference({"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 4, "d": 5})
    assert told == "'b': 2 → 4, 'c': 3 → absent, 'd': absent → 5"
    assert difference([1], [2]) == "[1] → [2]"
    assert difference({"a": None}, {}) == "'a': None → absent"
    assert len(shown("x" * 5_000)) < 450

    class Unshowable:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    assert shown(Unshowable()) == "something of type Unshowable that cannot be shown (RuntimeError)"
