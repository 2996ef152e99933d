"""The suite as tests of pytest, for whoever writes a deployer. pytest is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Callable

from controller.rollout.conformance.bench import Check
from controller.rollout.conformance.checks import CHECKS
from controller.rollout.conformance.subject import SubjectFactory
from controller.rollout.conformance.suite import DEADLINE_SECONDS, Finding, Verdict, run_checks


def conformance_tests(
    make_subject: SubjectFactory, *, deadline_seconds: float = DEADLINE_SECONDS
) -> Callable[[Check], None]:
    """A test for each check: ``test_conformance = conformance_tests(MySubject)``.

    A check that needs a hook which the subject has not is shown as skipped.
    """
    import pytest

    @pytest.mark.parametrize("check", [pytest.param(each, id=each.name) for each in CHECKS])
    def test_conformance(check: Check) -> None:
        (finding,) = run_checks(make_subject, checks=[check], deadline_seconds=deadline_seconds)
        if finding.verdict is Verdict.UNCHECKED:
            pytest.skip(finding.detail)
        if not finding.kept:
            pytest.fail(told(finding), pytrace=False)

    return test_conformance


def told(finding: Finding) -> str:
    """A finding for a person, in two or three lines."""
    lines = [f"{finding.promise}: {finding.title}", f"{finding.verdict}: {finding.detail}"]
    return "\n".join([*lines, f"remedy: {finding.remedy}"] if finding.remedy else lines)
