"""The conformance kit: checks of D1 to D8 for any deployer, as a command and as tests (D9).

A plugin's author writes a :class:`Subject`, and adds ``test_conformance = conformance_tests(MySubject)``. The kit
knows no deployer and no provider itself.
"""

from controller.rollout.conformance.bench import Check
from controller.rollout.conformance.checks import CHECKS
from controller.rollout.conformance.entries import CONFORMANCE_GROUP, find_subject, with_options
from controller.rollout.conformance.subject import (
    BreaksItsProvider,
    HoldsSessions,
    OneAtATime,
    ShowsWhatIsStaged,
    Subject,
    SubjectFactory,
)
from controller.rollout.conformance.suite import Finding, Verdict, report_of, run_checks, summary_of
from controller.rollout.conformance.testing import conformance_tests

__all__ = [
    "CHECKS",
    "CONFORMANCE_GROUP",
    "BreaksItsProvider",
    "Check",
    "Finding",
    "HoldsSessions",
    "OneAtATime",
    "ShowsWhatIsStaged",
    "Subject",
    "SubjectFactory",
    "Verdict",
    "conformance_tests",
    "find_subject",
    "report_of",
    "run_checks",
    "summary_of",
    "with_options",
]
