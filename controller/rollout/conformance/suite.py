"""Runs checks one by one, each on a subject of its own. Whatever a deployer does, the suite goes on.

A check runs on a thread, because Python can stop no thread: one that outlives its deadline is left behind, and its
subject is closed under it. Only what ends the whole process, such as `os._exit`, ends the suite.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from controller.rollout.conformance.bench import Bench, Check, CheckBlocked, CheckFailed, CheckImpossible, told_error
from controller.rollout.conformance.checks import CHECKS
from controller.rollout.conformance.subject import SubjectFactory

DEADLINE_SECONDS = 120.0


class Verdict(StrEnum):
    """What became of a check. Only `unchecked` is as good as `passed`: the subject has no hook for it."""

    PASSED = "passed"
    FAILED = "failed"
    BLOCKED = "blocked"
    UNCHECKED = "unchecked"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's result. ``detail`` and ``remedy`` are empty where it passed."""

    check: str
    promise: str
    title: str
    verdict: Verdict
    detail: str = ""
    remedy: str = ""
    duration_seconds: float = 0.0

    @property
    def kept(self) -> bool:
        """Whether there is nothing to mend."""
        return self.verdict in (Verdict.PASSED, Verdict.UNCHECKED)


def run_checks(
    make_subject: SubjectFactory,
    *,
    checks: Iterable[Check] = CHECKS,
    deadline_seconds: float = DEADLINE_SECONDS,
    monotonic: Callable[[], float] = time.monotonic,
) -> Iterator[Finding]:
    """Run checks in order; yields each finding as soon as it is there. Never raises what a subject raises."""
    for check in checks:
        began = monotonic()
        verdict, detail = run_check(check, make_subject, deadline_seconds)
        remedy = check.remedy if verdict is Verdict.FAILED else ""
        took = round(monotonic() - began, 3)
        yield Finding(check.name, check.promise, check.title, verdict, detail, remedy, took)


def run_check(check: Check, make_subject: SubjectFactory, deadline_seconds: float) -> tuple[Verdict, str]:
    """Run one check under a deadline, and close its subject within another one; what became of it, and why."""
    trial = _Trial(check, make_subject)
    try:
        threading.Thread(target=trial.run, name=f"conformance-{check.name}", daemon=True).start()
        judged = trial.judged.wait(deadline_seconds)
        verdict, detail = trial.result if judged else trial.overdue(deadline_seconds)
        if judged:
            trial.closed.wait(deadline_seconds)
    finally:
        trial.abandon(deadline_seconds)
    if trial.unclosed and verdict is Verdict.PASSED:
        return Verdict.FAILED, f"passed, but the subject was not closed: {trial.unclosed}"
    return verdict, detail


class _Trial:
    """One check on its thread. ``judged`` is set when ``result`` is there, ``closed`` when its subject is closed."""

    def __init__(self, check: Check, make_subject: SubjectFactory) -> None:
        self._check = check
        self._make_subject = make_subject
        self._bench: Bench | None = None
        self._to_be_closed = threading.Lock()
        self._abandoned = threading.Event()
        self.result = (Verdict.BLOCKED, "")
        self.unclosed = "close() has not returned"
        self.judged = threading.Event()
        self.closed = threading.Event()

    def run(self) -> None:
        """Make the subject, check it, close it."""
        self.result = self._judge()
        self.judged.set()
        self._close()

    def overdue(self, deadline_seconds: float) -> tuple[Verdict, str]:
        """What to say of a check that is still going on."""
        bench = self._bench
        if bench is None:
            return Verdict.BLOCKED, f"the subject was not made within {deadline_seconds:g} s"
        verdict = Verdict.BLOCKED if bench.preparing else Verdict.FAILED
        return verdict, f"no end within {deadline_seconds:g} s; it hung in: {bench.doing or 'the subject'}"

    def abandon(self, deadline_seconds: float) -> None:
        """Close the subject from aside where its own thread hangs, so that nothing stays on the provider."""
        self._abandoned.set()
        if not self.closed.is_set() and self._bench is not None:
            threading.Thread(target=self._close, name=f"conformance-close-{self._check.name}", daemon=True).start()
            self.closed.wait(deadline_seconds)

    def _judge(self) -> tuple[Verdict, str]:
        try:
            bench = Bench(self._make_subject())
        except BaseException as error:  # noqa: BLE001  # a stranger's code ends here, also by sys.exit; it is told
            return Verdict.BLOCKED, f"the subject cannot be made: {told_error(error)}"
        self._bench = bench
        if self._abandoned.is_set():
            return Verdict.BLOCKED, "the subject was made too late"
        try:
            self._check.run(bench)
        except BaseException as error:  # noqa: BLE001  # as above
            return _verdict_of(error, bench)
        return Verdict.PASSED, ""

    def _close(self) -> None:
        if not self._to_be_closed.acquire(blocking=False):
            return
        try:
            if self._bench is not None:
                self._bench.subject.close()
        except BaseException as error:  # noqa: BLE001  # as above
            self.unclosed = told_error(error)
        else:
            self.unclosed = ""
        self.closed.set()


def _verdict_of(error: BaseException, bench: Bench) -> tuple[Verdict, str]:
    if isinstance(error, CheckImpossible):
        return Verdict.UNCHECKED, str(error)
    if isinstance(error, CheckBlocked):
        return Verdict.BLOCKED, str(error)
    if isinstance(error, CheckFailed):
        return Verdict.FAILED, str(error)
    told = f"{bench.doing or 'the subject'} raised {told_error(error)}"
    return (Verdict.BLOCKED, f"in the preparation, {told}") if bench.preparing else (Verdict.FAILED, told)


def summary_of(findings: Sequence[Finding]) -> dict[str, int]:
    """How many checks had each verdict."""
    return {str(verdict): sum(each.verdict is verdict for each in findings) for verdict in Verdict}


def report_of(kind: str, findings: Sequence[Finding]) -> dict[str, Any]:
    """All findings as data for a program."""
    checks = [{**asdict(each), "verdict": str(each.verdict)} for each in findings]
    kept = all(each.kept for each in findings)
    return {"kind": kind, "conformant": kept, **summary_of(findings), "checks": checks}
