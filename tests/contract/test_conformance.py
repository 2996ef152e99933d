"""The conformance kit: the reference passes every check, and each defect fails the one that is meant for it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from controller.rollout.conformance import CHECKS, Finding, Verdict, run_checks
from controller.rollout.deployer import Deployer, Revision, Workload
from tests.contract.broken_deployers import BROKEN, Broken
from tests.contract.defects import PROVIDER_IS_BACK
from tests.contract.folders import FolderDeployer, Folders, FolderSubject
from tests.docs.markdown import ROOT

SHORT_SECONDS = 5.0


def found(subject: Any, deadline_seconds: float = 60.0) -> dict[str, Finding]:
    """All findings, by the name of the check."""
    return {each.check: each for each in run_checks(subject, deadline_seconds=deadline_seconds)}


def having(findings: Mapping[str, Finding], verdict: Verdict) -> list[str]:
    """The checks with this verdict."""
    return [name for name, each in findings.items() if each.verdict is verdict]


def test_the_reference_passes_every_check() -> None:
    """D1–D9: on a real provider, with every hook; in the order of the list."""
    findings = found(FolderSubject)
    assert {name: each.detail for name, each in findings.items() if each.verdict is not Verdict.PASSED} == {}
    assert list(findings) == [each.name for each in CHECKS]
    assert isinstance(FolderDeployer(Folders(Path())), Deployer)


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.defect)
def test_a_defect_fails_the_check_that_is_meant_for_it(broken: Broken) -> None:
    """D1–D9: that check and no other; what it blocks is said to be blocked."""
    hangs = "hangs" in broken.defect
    PROVIDER_IS_BACK.clear()
    findings = found(partial(FolderSubject, broken.deployer), SHORT_SECONDS if hangs else 60.0)
    PROVIDER_IS_BACK.set()  # lets go what hangs
    failed = {name: findings[name].detail for name in having(findings, Verdict.FAILED)}
    assert list(failed) == [broken.fails], failed
    assert tuple(having(findings, Verdict.BLOCKED)) == broken.blocks
    assert findings[broken.fails].remedy
    assert failed[broken.fails]
    if hangs:
        assert failed[broken.fails].startswith("no end within 5 s; it hung in: stage of revision 'shop-")


def test_every_check_can_fail() -> None:
    """D9: there is a defect for each check of the deployer; the names and the words are unique."""
    assert {each.fails for each in BROKEN} == {each.name for each in CHECKS} - {"subject"}
    assert len({each.name for each in CHECKS}) == len({each.title for each in CHECKS}) == len(CHECKS)


class SaysOneAtATime(FolderSubject):
    one_at_a_time = True


def test_who_says_one_at_a_time_has_to_refuse_a_split_over_two() -> None:
    """D3, D4, D9: to say it is no way round a check; the others are made in their form for one, and passed."""
    findings = found(SaysOneAtATime)
    assert having(findings, Verdict.FAILED) == ["split-bounds"]
    assert having(findings, Verdict.BLOCKED) == ["refusal-without-calls-split"]
    assert "there is one at a time" in findings["split-bounds"].detail


class CountsNothing(FolderSubject):
    def provider_calls(self) -> int:
        return 0


class SeesNothing(FolderSubject):
    def snapshot(self) -> Mapping[str, str]:
        return {}


class SeesTheCounter(FolderSubject):
    def snapshot(self) -> Mapping[str, str]:
        self.looks = getattr(self, "looks", 0) + 1
        return {**super().snapshot(), "looks": str(self.looks)}


class CountsItself(FolderSubject):
    def answers(self, workload: Workload, revision: Revision) -> bool:
        self.folders.calls += 1
        return super().answers(workload, revision)


class SameIds(FolderSubject):
    def revision(self, workload: Workload, sequence: int) -> Revision:
        return replace(super().revision(workload, sequence), id=f"r{sequence}")


class OneRevision(FolderSubject):
    def revision(self, workload: Workload, sequence: int) -> Revision:
        return super().revision(workload, 1)


@pytest.mark.parametrize(
    ("subject", "told"),
    [
        (SameIds, "revision ids of two workloads are the same: ['r1', 'r2']"),
        (CountsNothing, "provider_calls() did not rise"),
        (SeesNothing, "snapshot() is the same before and after"),
        (SeesTheCounter, "snapshot() differs between two looks at one world: 'looks': '3' → '4'"),
        (CountsItself, "provider_calls() after the subject alone has looked is"),
        (OneRevision, "revisions 1 and 2 have the same id"),
    ],
)
def test_a_subject_that_sees_nothing_proves_nothing(subject: type[FolderSubject], told: str) -> None:
    """D9: a counter that stands still, or a snapshot that never changes, would pass everything."""
    finding = found(subject)["subject"]
    assert finding.verdict is Verdict.FAILED
    assert told in finding.detail


class WithoutHooks:
    """A subject with what is required, and no more."""

    def __init__(self) -> None:
        whole = FolderSubject()
        self.deployer = whole.deployer
        for name in ("workload", "revision", "provider_calls", "snapshot", "answers", "traffic", "close"):
            setattr(self, name, getattr(whole, name))


def test_a_check_without_its_hook_is_said_to_be_unchecked() -> None:
    """D9: it is no failure, and it is not called a success either."""
    findings = found(WithoutHooks)
    assert having(findings, Verdict.UNCHECKED) == ["provider-failure", "stage-effect", "drain-waits"]
    assert len(having(findings, Verdict.PASSED)) == len(CHECKS) - 3
    assert findings["drain-waits"].detail == "the subject has no session()"


THREE_LINES = """
from controller.rollout.conformance import conformance_tests
from tests.contract.{module} import {subject} as MySubject
test_conformance = conformance_tests(MySubject)
"""


def run_pytest(folder: Path, module: str, subject: str) -> str:
    """What pytest says of a file with the three lines."""
    (folder / "test_my_source.py").write_text(THREE_LINES.format(module=module, subject=subject))
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\naddopts = --strict-markers\n")
    command = [sys.executable, "-m", "pytest", "-rsf", "-q", "-p", "no:cacheprovider", folder]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=folder, env={"PYTHONPATH": str(ROOT)}
    )
    return f"{done.stdout}{done.stderr}\nexit code {done.returncode}"


def test_three_lines_make_a_test_of_each_check(tmp_path: Path) -> None:
    """D9: with pytest as it is, warnings being errors."""
    told = run_pytest(tmp_path, "folders", "FolderSubject")
    assert f"{len(CHECKS)} passed" in told
    assert "exit code 0" in told


def test_the_tests_fail_by_name_and_say_what_to_do(tmp_path: Path) -> None:
    """D9: promise, finding and remedy, and no traceback of the kit; what has no hook is shown as skipped."""
    told = run_pytest(tmp_path, "test_conformance", "ForgetfulSubject")
    assert "FAILED test_my_source.py::test_conformance[archive-of-nothing]" in told
    assert "D7: archive tolerates what is already gone" in told
    assert "failed: archive of a revision that was never staged raised VerbFailed: workload 'shop-" in told
    assert "remedy: take the provider's answer that there is no such thing for success" in told
    assert "Traceback" not in told
    assert f"1 failed, {len(CHECKS) - 1} passed" in told
    hookless = run_pytest(tmp_path, "test_conformance", "WithoutHooks")
    assert f"{len(CHECKS) - 3} passed, 3 skipped" in hookless
    assert "the subject has no session()" in hookless


class ForgetfulSubject(FolderSubject):
    """With a deployer that cannot archive what is gone."""

    def __init__(self) -> None:
        (insisting,) = (each for each in BROKEN if each.fails == "archive-of-nothing")
        super().__init__(insisting.deployer)


def test_the_kit_needs_no_pytest() -> None:
    """D9: pytest is imported by who asks for tests; neither the package nor the command needs it."""
    program = "import sys; sys.modules['pytest'] = None; import controller.rollout.conformance, controller.cli.main"
    assert subprocess.run([sys.executable, "-c", program], check=False, cwd=ROOT).returncode == 0


def test_members_are_named_that_a_deployer_lacks() -> None:
    """D1: all of them at once; and parameters that do not fit."""

    class Lacking(FolderDeployer):
        drain = None  # type: ignore[assignment]
        report_runtime_config = None  # type: ignore[assignment]

    class Demanding(FolderDeployer):
        def stage(self, deployment: Any, revision_id: str, tenant: str) -> Any:  # type: ignore[override]
            return super().stage(deployment, revision_id)

    lacking = found(partial(FolderSubject, Lacking))["members"]
    assert lacking.detail == "Lacking lacks: drain, report_runtime_config"
    demanding = found(partial(FolderSubject, Demanding))["members"]
    assert "cannot be called with 2 argument(s)" in demanding.detail
