"""Walking a chain: each step is done by a deployer, and only then written down (L2).

The store is behind :class:`Ledger` and the world behind a deployer; here is only their order. A step that fails ends
the walk: the revision is `failed`, with the checks that failed, and who served before goes on serving.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from controller.errors import DeployInterrupted, SplitConflict, TallydError, VerbFailed
from controller.rollout.chain import (
    Archive,
    Arrived,
    Course,
    Drain,
    Shift,
    Stage,
    Step,
    Stuck,
    Warm,
    next_step,
    without,
)
from controller.rollout.deployer import Deployer, Deployment, Done, Revision, SplitEntry, TrafficSplit
from controller.wording import words_of
from store.rollout_records import RevisionState

log = structlog.get_logger(__name__)

S = RevisionState

MOST_STEPS = 200
"""A chain is a few steps for each revision; one that goes on for ever is a defect, and is ended."""


class Ledger(Protocol):
    """What is stored of one workload's rollout."""

    def read(self) -> Deployment:
        """The workload, its revisions and its split, of one moment."""

    def move(
        self, revision: Revision, wanted: RevisionState, detail: str = "", checks: Mapping[str, str] | None = None
    ) -> None:
        """Move a revision on, if its state is still the one that was seen.

        :raises IllegalTransition: no edge leads there.
        :raises RevisionConflict: somebody else moved it, or a split references it.
        """

    def set_split(self, entries: Sequence[SplitEntry], seen: TrafficSplit | None) -> None:
        """Store a split in place of the one that was seen.

        :raises SplitConflict: somebody else set another one since.
        """


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a gate says of a revision under traffic; ``checks`` maps what was looked at to what it said."""

    passed: bool
    checks: Mapping[str, str] = field(default_factory=dict)


Gate = Callable[[Deployment, str], Verdict]
"""Looks at a workload and the revision that is being deployed, after each shift of traffic."""


@dataclass(frozen=True, slots=True)
class Walked:
    """How a walk ended. ``detail`` and ``checks`` say why where it did not arrive."""

    arrived: bool
    steps: Sequence[Step]
    detail: str = ""
    checks: Mapping[str, str] = field(default_factory=dict)


def always_open(_deployment: Deployment, _revision_id: str) -> Verdict:
    """The gate that lets everything through."""
    return Verdict(passed=True)


def goes_on() -> str:
    """Nothing halts the walk."""
    return ""


class _StepFailed(Exception):
    """A verb or a gate said no; ``revision`` is to be marked, and ``back`` is the split to go back to."""

    def __init__(
        self, detail: str, checks: Mapping[str, str], revision: Revision | None, back: Sequence[SplitEntry] = ()
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.checks = checks
        self.revision = revision
        self.back = back


class Walk:
    """One deploy of one revision. Walked again, it goes on where it was left."""

    def __init__(  # what is walked, how, and who is told and asked
        self,
        ledger: Ledger,
        deployer: Deployer,
        target_id: str,
        course: Course | None = None,
        gate: Gate = always_open,
        told: Callable[[Step], None] = lambda _step: None,
        halted: Callable[[], str] = goes_on,
    ) -> None:
        """:param told: hears of each step before it is done.
        :param halted: why the walk has to end here, with nothing marked; empty as long as it goes on.
        """
        self._halted = halted
        self._ledger = ledger
        self._deployer = deployer
        self._target_id = target_id
        self._course = course or Course()
        self._gate = gate
        self._told = told

    def walk(self) -> Walked:
        """Go to the end, or to the first failure.

        :raises RevisionNotFound: the target is not a revision of the workload.
        :raises RevisionConflict: somebody else deploys the same workload.
        :raises SplitConflict: somebody else set its split; walk again, from what is there now.
        :raises StoreError: the store failed; walk again.
        :raises DeployInterrupted: it was halted; walk again.
        """
        steps: list[Step] = []
        deployment = self._ledger.read()
        try:
            if deployment.split is not None:
                self._take_up(deployment, deployment.split)
            while len(steps) < MOST_STEPS:
                step = next_step(deployment, self._target_id, self._course)
                if isinstance(step, Arrived):
                    return Walked(True, steps)
                if isinstance(step, Stuck):
                    return Walked(False, steps, step.why)
                self._check_halted()
                steps.append(step)
                self._told(step)
                split = self._do(step, deployment) or deployment.split
                deployment = self._ledger.read()
                _check_unchanged(split, deployment.split)
        except _StepFailed as failed:
            return self._gave_up(failed, steps)
        return Walked(False, steps, f"not there after {MOST_STEPS} steps")

    def _gave_up(self, failed: _StepFailed, steps: Sequence[Step]) -> Walked:
        try:
            self._give_up(failed)
        except _StepFailed as again:
            detail = f"{failed.detail}; and {again.detail}: the split is stored, and enforced by the next walk"
            return Walked(False, steps, detail, failed.checks)
        return Walked(False, steps, failed.detail, failed.checks)

    def _check_halted(self, cause: Exception | None = None) -> None:
        if why := self._halted():
            raise DeployInterrupted(f"{why}; deploy again to go on from here") from cause

    def _do(self, step: Step, deployment: Deployment) -> TrafficSplit | None:
        """Do a step; returns the split that it stored."""
        if isinstance(step, Stage):
            self._verb(self._deployer.stage, deployment, step.revision)
            self._ledger.move(step.revision, S.STAGED)
        elif isinstance(step, Warm):
            self._warm(step.revision)
        elif isinstance(step, Shift):
            return self._shift(step, deployment)
        elif isinstance(step, Drain):
            self._drain(step.revision)
        elif isinstance(step, Archive):
            self._verb(self._deployer.archive, deployment, step.revision, marked=False)
            self._ledger.move(step.revision, S.ARCHIVED)
        return None

    def _warm(self, revision: Revision) -> None:
        warming = self._entered(revision, S.WARMING)
        self._verb(self._deployer.warm, self._ledger.read(), warming)
        self._ledger.move(warming, S.READY)

    def _drain(self, revision: Revision) -> None:
        draining = self._entered(revision, S.DRAINING)
        self._verb(self._deployer.drain, self._ledger.read(), draining, marked=False)
        self._ledger.move(draining, S.INACTIVE)

    def _entered(self, revision: Revision, state: RevisionState) -> Revision:
        """The revision in that state; it is there already where a walk was killed in the middle of a verb."""
        if revision.state is not state:
            self._ledger.move(revision, state)
        return self._ledger.read().revisions[revision.id]

    def _shift(self, step: Shift, before: Deployment) -> TrafficSplit | None:
        self._ledger.set_split(step.entries, before.split)
        after = self._ledger.read()
        target = after.revisions[self._target_id]
        back = without(before.split.entries, target.id) if before.split is not None else ()
        self._enforce(after, target, back)
        self._pass_gate(after, target, back)
        return after.split

    def _take_up(self, deployment: Deployment, split: TrafficSplit) -> None:
        """A walk that was killed may have stored a split, and neither enforced it nor passed its gate."""
        self._enforce(deployment)
        back = without(split.entries, self._target_id)
        target = deployment.revisions.get(self._target_id)
        if (
            back
            and target is not None
            and any(each.revision_id == target.id and each.weight for each in split.entries)
        ):
            self._pass_gate(deployment, target, back)

    def _pass_gate(self, deployment: Deployment, target: Revision, back: Sequence[SplitEntry]) -> None:
        verdict = self._gate(deployment, target.id)
        if not verdict.passed:
            self._check_halted()
            said = "; ".join(f"{name}: {what}" for name, what in verdict.checks.items())
            raise _StepFailed(f"the gate was not passed: {said}", verdict.checks, target, back)

    def _enforce(
        self, deployment: Deployment, target: Revision | None = None, back: Sequence[SplitEntry] = ()
    ) -> None:
        try:
            self._deployer.apply_traffic_split(deployment)
        except Exception as error:  # a plugin ends here; a defect of it leaves its traceback
            self._check_halted(error)
            raise _StepFailed(f"the split could not be enforced: {_told(error)}", {}, target, back) from error

    def _verb(
        self,
        verb: Callable[[Deployment, str], Done],
        deployment: Deployment,
        revision: Revision,
        *,
        marked: bool = True,
    ) -> None:
        try:
            verb(deployment, revision.id)
        except Exception as error:  # a plugin ends here; a defect of it leaves its traceback
            self._check_halted(error)
            checks = error.checks if isinstance(error, VerbFailed) else {}
            failed = f"{verb.__name__} failed: {_told(error)}"
            raise _StepFailed(failed, checks, revision if marked else None) from error

    def _give_up(self, failed: _StepFailed) -> None:
        """Traffic goes back to who served before, and the revision is marked. A first one leaves nobody to serve."""
        if failed.back:
            self._ledger.set_split(failed.back, self._ledger.read().split)
        if failed.revision is not None:
            current = self._ledger.read().revisions[failed.revision.id]
            self._ledger.move(current, S.FAILED, failed.detail, failed.checks)
        if failed.back:
            self._enforce(self._ledger.read())


def _check_unchanged(ours: TrafficSplit | None, stored: TrafficSplit | None) -> None:
    """A split that somebody set meanwhile, such as a rollback, stands: to walk on would undo it."""
    if ours is not None and stored is not None and ours.generation != stored.generation:
        raise SplitConflict(
            f"split of workload {stored.workload_id!r}: somebody else set generation {stored.generation} while it "
            "was deployed; the deploy ends there, and deploying again goes on from what is set now"
        )


def _told(error: Exception) -> str:
    if isinstance(error, TallydError):
        return str(error)
    log.error("a deployer failed by a defect of its own", exc_info=error)
    return words_of(error)
