"""What comes next on the way from one revision to another (L2). Pure: the state of the world decides, not a memory.

Because each step is worked out from what is stored, a chain that was killed anywhere is resumed by asking again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from controller.rollout.deployer import BASIS_POINTS, Deployment, Revision, SplitEntry, revision_of
from store.rollout_records import RevisionState

S = RevisionState


@dataclass(frozen=True, slots=True)
class Course:
    """How a deploy goes. ``weights`` are what the new revision gets, step by step, in basis points, rising to 10,000.

    ``keep`` revisions that served before stay inactive, to go back to; older ones are archived.
    """

    weights: Sequence[int] = (BASIS_POINTS,)
    keep: int = 1

    def __post_init__(self) -> None:
        """:raises ValueError: the weights do not rise to 10,000, or ``keep`` is negative."""
        rising = list(self.weights) == sorted(set(self.weights))
        if not (self.weights and rising and self.weights[0] > 0 and self.weights[-1] == BASIS_POINTS):
            raise ValueError(f"weights {list(self.weights)}; allowed: rising, above 0, the last one {BASIS_POINTS}")
        if self.keep < 0:
            raise ValueError(f"keep is {self.keep}; allowed: 0 and more")


@dataclass(frozen=True, slots=True)
class Stage:
    """Call ``stage``, then the revision is staged."""

    revision: Revision


@dataclass(frozen=True, slots=True)
class Warm:
    """The revision is warming; call ``warm``, then it is ready."""

    revision: Revision


@dataclass(frozen=True, slots=True)
class Shift:
    """Set the split, enforce it, and pass the gate before the next step."""

    entries: Sequence[SplitEntry]


@dataclass(frozen=True, slots=True)
class Drain:
    """The revision is draining; call ``drain``, then it is inactive."""

    revision: Revision


@dataclass(frozen=True, slots=True)
class Archive:
    """Call ``archive``, then the revision is archived."""

    revision: Revision


@dataclass(frozen=True, slots=True)
class Arrived:
    """Nothing is left to do."""


@dataclass(frozen=True, slots=True)
class Stuck:
    """The chain ends here, for a person to look at."""

    why: str


Step = Stage | Warm | Shift | Drain | Archive | Arrived | Stuck


@dataclass(frozen=True, slots=True)
class _Shares:
    """The split as weights by revision, in its order."""

    weights: dict[str, int] = field(default_factory=dict)

    def of(self, revision_id: str) -> int:
        return self.weights.get(revision_id, 0)


def next_step(deployment: Deployment, target_id: str, course: Course) -> Step:
    """The step that brings the workload nearer to serving ``target_id`` alone.

    The new revision is brought up first, then traffic is moved, then the others are drained and archived, so that
    there is always one that serves (T6).

    :raises RevisionNotFound: it is not a revision of this workload.
    """
    target = revision_of(deployment, target_id)
    split = deployment.split
    shares = _Shares({each.revision_id: each.weight for each in split.entries} if split else {})
    if target.state is not S.READY:
        return _bring_up(target)
    if shares.weights != {target_id: BASIS_POINTS}:
        return Shift(_shifted(shares, target_id, course))
    return _clear_away(deployment, target, course)


def _bring_up(target: Revision) -> Step:
    if target.state in (S.INACTIVE, S.FAILED):
        return Stage(target)
    if target.state in (S.STAGED, S.WARMING):
        return Warm(target)
    if target.state is S.DRAINING:
        return Drain(target)
    return Stuck(f"revision {target.id!r} is {target.state}; deploy another one")


def _shifted(shares: _Shares, target_id: str, course: Course) -> list[SplitEntry]:
    """The next split: the target's next weight, and what is left to the others in proportion to what they had."""
    others = {each: weight for each, weight in shares.weights.items() if each != target_id and weight > 0}
    now = shares.of(target_id)
    weight = next((each for each in course.weights if each > now), BASIS_POINTS) if others else BASIS_POINTS
    if weight == BASIS_POINTS:
        return [SplitEntry(target_id, BASIS_POINTS)]
    return [*_shared_out(others, BASIS_POINTS - weight), SplitEntry(target_id, weight)]


def without(entries: Sequence[SplitEntry], revision_id: str) -> list[SplitEntry]:
    """A split that gives a revision's share back to the others; empty where no other has any traffic."""
    others = {
        each.revision_id: each.weight for each in entries if each.revision_id != revision_id and each.weight > 0
    }
    return _shared_out(others, BASIS_POINTS) if others else []


def _shared_out(others: dict[str, int], left: int) -> list[SplitEntry]:
    """Largest remainder: whole basis points that sum up to ``left`` exactly."""
    total = sum(others.values())
    parts = {each: divmod(weight * left, total) for each, weight in others.items()}
    missing = left - sum(whole for whole, _ in parts.values())
    first = sorted(parts, key=lambda each: -parts[each][1])[:missing]
    return [SplitEntry(each, whole + (each in first)) for each, (whole, _) in parts.items()]


def _clear_away(deployment: Deployment, target: Revision, course: Course) -> Step:
    others = [each for each in deployment.revisions.values() if each.id != target.id]
    for each in others:
        if each.state in (S.STAGED, S.WARMING):  # a deploy that was cut short, and not gone on with
            return Archive(each)
        if each.state in (S.READY, S.DRAINING):
            return Drain(each)
    inactive = sorted((each for each in others if each.state is S.INACTIVE), key=lambda each: -each.sequence)
    older = [each for each in inactive if each.sequence < target.sequence]
    for each in older[course.keep :]:
        return Archive(each)
    return Arrived()
