"""What a check works with: a subject, scenes on it, and words for what went wrong.

A check first prepares a world and then looks at one promise. What fails in the preparation blocks the check and is no
finding of its own, so that one defect is told once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from controller.rollout.conformance.subject import OneAtATime, Subject
from controller.rollout.deployer import BASIS_POINTS, Deployment, Done, Revision, SplitEntry, TrafficSplit, Workload
from controller.wording import words_of
from store.rollout_records import RevisionState

HOST = "conformance"
VERBS = ("stage", "warm", "drain", "archive")
_SHOWN = 400

_STATE_BEFORE: Mapping[str, RevisionState] = {
    "stage": RevisionState.INACTIVE,
    "warm": RevisionState.WARMING,
    "drain": RevisionState.DRAINING,
    "archive": RevisionState.INACTIVE,
}


class CheckFailed(Exception):
    """The promise is not kept; the text says what was seen and what was expected."""


class CheckBlocked(Exception):
    """The promise cannot be looked at, because another one is not kept."""


class CheckImpossible(Exception):
    """The subject has no hook for this check."""


@dataclass(frozen=True, slots=True)
class Check:
    """One promise, as a function that raises where it is not kept. ``remedy`` tells an author what to do then."""

    name: str
    promise: str
    title: str
    remedy: str
    run: Callable[[Bench], None]


@dataclass(frozen=True, slots=True)
class Scene:
    """A workload and its revisions, as one check uses them."""

    workload: Workload
    revisions: Sequence[Revision]

    def split(self, *weights: int, revisions: Sequence[Revision] | None = None) -> TrafficSplit:
        """A split over the first revisions, or over those that are given."""
        weighed = zip(revisions or self.revisions, weights, strict=False)
        return TrafficSplit(self.workload.id, tuple(SplitEntry(each.id, weight) for each, weight in weighed), 1)

    def deployment(
        self,
        split: TrafficSplit | None = None,
        *,
        state: RevisionState = RevisionState.READY,
        strangers: Sequence[Revision] = (),
    ) -> Deployment:
        """The workload as a verb sees it, all its revisions in one state."""
        own = {each.id: replace(each, state=state) for each in self.revisions}
        return Deployment(self.workload, own | {each.id: each for each in strangers}, split, HOST)


class Bench:
    """A subject under one check. ``doing`` and ``preparing`` say how far the check has come."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.doing = ""
        self.preparing = False

    @contextmanager
    def preparation(self) -> Iterator[None]:
        """What is raised inside blocks the check; so it ends without being left where the block is left by it."""
        self.preparing = True
        yield
        self.preparing = False

    def scene(self, name: str, revisions: int = 2) -> Scene:
        """A workload with so many revisions; nothing is deployed."""
        with self.preparation():
            self.doing = f"making workload {name!r}"
            workload = self.subject.workload(name)
            return Scene(workload, tuple(self.subject.revision(workload, each + 1) for each in range(revisions)))

    def ready_scene(self, name: str, *weights: int) -> Scene:
        """A workload with two revisions that are staged and warm, and with this split where weights are given."""
        scene = self.scene(name)
        with self.preparation():
            for each in scene.revisions:
                self.verb("stage", scene, each.id)
                self.verb("warm", scene, each.id)
        if weights:
            split = self.split(scene, *weights)
            with self.preparation():
                self.apply(scene, split)
        return scene

    @property
    def one_at_a_time(self) -> bool:
        """Whether the deployer has one revision of a workload at a time."""
        return isinstance(self.subject, OneAtATime) and self.subject.one_at_a_time

    def split(self, scene: Scene, *weights: int) -> TrafficSplit:
        """A split that can be applied now.

        Where there is one revision at a time, whoever has most of it gets all, and is brought up for that.
        """
        if not self.one_at_a_time:
            return scene.split(*weights)
        most = weights.index(max(weights))
        with self.preparation():
            self.verb("warm", scene, scene.revisions[most].id)
        return scene.split(*(BASIS_POINTS if each == most else 0 for each in range(len(weights))))

    def verb(self, verb: str, scene: Scene, revision_id: str, **more: Any) -> Any:
        """Call a revision verb with the state that its caller would have left the revisions in."""
        self.doing = f"{verb} of revision {revision_id!r}"
        deployment = scene.deployment(state=_STATE_BEFORE[verb], **more)
        return getattr(self.subject.deployer, verb)(deployment, revision_id)

    def apply(self, scene: Scene, split: TrafficSplit | None, **more: Any) -> Any:
        """Call the split verb."""
        self.doing = f"apply_traffic_split of workload {scene.workload.id!r}"
        return self.subject.deployer.apply_traffic_split(scene.deployment(split, **more))

    def report(self, scene: Scene, split: TrafficSplit, **more: Any) -> Any:
        """Ask for the runtime config."""
        self.doing = f"report_runtime_config of workload {scene.workload.id!r}"
        return self.subject.deployer.report_runtime_config(scene.deployment(split, **more))

    def enforced(self, scene: Scene) -> dict[str, int]:
        """What the provider enforces of a workload, without zeros."""
        return without_zeros(self.subject.traffic(scene.workload))


def without_zeros(weights: Mapping[str, int]) -> dict[str, int]:
    """Revision id → basis points, where there are any."""
    return {revision_id: weight for revision_id, weight in weights.items() if weight}


def weights_of(split: TrafficSplit) -> dict[str, int]:
    """What a split asks for, without zeros."""
    return without_zeros({each.revision_id: each.weight for each in split.entries})


def expect(kept: bool, told: str) -> None:
    """Fail with this text unless the promise is kept.

    :raises CheckFailed: it is not.
    """
    if not kept:
        raise CheckFailed(told)


def expect_equal(seen: object, expected: object, what: str) -> None:
    """Fail unless both are equal.

    :raises CheckFailed: they are not; the text shows both.
    """
    expect(seen == expected, f"{what} is {shown(seen)}; expected: {shown(expected)}")


def expect_same(before: object, after: object, what: str) -> None:
    """Fail unless nothing has changed.

    :raises CheckFailed: something has; the text shows what.
    """
    expect(before == after, f"{what}: {difference(before, after)}")


def difference(before: object, after: object) -> str:
    """What differs between two snapshots: the keys of mappings, else both whole. Pure."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        absent = object()
        keys = [*before, *(after.keys() - before.keys())]
        changed = [key for key in keys if before.get(key, absent) != after.get(key, absent)]
        parts = (f"{key!r}: {_of(before, key)} → {_of(after, key)}" for key in changed)
        return shown_text(", ".join(parts))
    return f"{shown(before)} → {shown(after)}"


def _of(snapshot: Mapping[Any, Any], key: object) -> str:
    return shown(snapshot[key]) if key in snapshot else "absent"


def shown(value: object) -> str:
    """A value for a person, cut where it is long; also one that cannot be shown."""
    try:
        return shown_text(repr(value))
    except Exception as error:  # noqa: BLE001  # a stranger's value; that it has no words is what is told
        return f"something of type {type(value).__name__} that cannot be shown ({type(error).__name__})"


def shown_text(text: str) -> str:
    """A text, cut where it is long."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"


def told_error(error: BaseException) -> str:
    """An exception for a person; also one that cannot be printed."""
    return shown_text(words_of(error).removesuffix(": "))


def changed_of(done: object, verb: str) -> bool:
    """Whether an outcome says that the world was changed.

    :raises CheckBlocked: it is no outcome; that is a finding of another check.
    """
    changed = getattr(done, "changed", None)
    if not isinstance(changed, bool):
        raise CheckBlocked(f"{verb} returned {shown(done)}, which does not say whether anything changed")
    return changed


def done_of(done: object, verb: str) -> Done:
    """An outcome of a revision verb.

    :raises CheckFailed: it is something else.
    """
    if not isinstance(done, Done):
        raise CheckFailed(f"{verb} returned {shown(done)} instead of a Done")
    return done
