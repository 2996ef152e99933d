"""Checks of what a deployer must refuse, and that it refuses before it calls its provider (D2, D3, D4)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from controller.errors import ForeignRevision, InvalidSplit, RevisionNotFound, SplitNotFound
from controller.rollout.conformance.bench import (
    VERBS,
    Bench,
    Check,
    CheckBlocked,
    CheckFailed,
    CheckImpossible,
    Scene,
    expect,
    expect_equal,
    expect_same,
    shown,
    told_error,
)
from controller.rollout.conformance.subject import BreaksItsProvider
from controller.rollout.deployer import BASIS_POINTS, SplitEntry, TrafficSplit

_UNKNOWN = "no-such-revision"
_SHARED = "a split over two revisions, of which there is one at a time,"
_NEEDS_THE_PROVIDER = ("stage", "warm", "archive")

Refused = tuple[str, type[Exception], Callable[[], object]]


def _refused(call: Callable[[], object], expected: type[Exception], what: str) -> Exception:
    try:
        answer = call()
    except expected as error:
        return error
    except Exception as error:  # a stranger's code; that it is another refusal is the finding
        raise CheckFailed(f"{what} raised {told_error(error)}; expected: {expected.__name__}") from error
    raise CheckFailed(f"{what} was not refused but returned {shown(answer)}; expected: {expected.__name__}")


def _unknown(verb: str, bench: Bench) -> None:
    scene = bench.ready_scene("shop")
    _refused(lambda: bench.verb(verb, scene, _UNKNOWN), RevisionNotFound, f"{verb} of a revision that does not exist")


def _foreign_calls(verb: str, bench: Bench, scene: Scene, other: Scene) -> Iterator[Refused]:
    stranger = other.revisions[0]
    what = f"{verb} of a revision of another workload"
    yield what, RevisionNotFound, lambda: bench.verb(verb, scene, stranger.id)
    among = f"{what} that stands among the deployment's revisions"
    yield among, RevisionNotFound, lambda: bench.verb(verb, scene, stranger.id, strangers=(stranger,))


def _foreign(verb: str, bench: Bench) -> None:
    scene, other = bench.ready_scene("shop"), bench.ready_scene("blog")
    for what, expected, call in _foreign_calls(verb, bench, scene, other):
        _refused(call, expected, what)


def _split_missing(bench: Bench) -> None:
    scene = bench.ready_scene("shop")
    _refused(lambda: bench.apply(scene, None), SplitNotFound, "a workload without a split")


def _split_sum(off_by: int, bench: Bench) -> None:
    scene = bench.ready_scene("shop")
    split = scene.split(4_000, 6_000 + off_by)
    error = _refused(lambda: bench.apply(scene, split), InvalidSplit, f"a split with a sum of {split.total}")
    expect_equal(getattr(error, "actual", None), split.total, "`actual` of the InvalidSplit")


def _split_bounds(bench: Bench) -> None:
    scene = bench.ready_scene("shop")
    twice = TrafficSplit(scene.workload.id, tuple(SplitEntry(scene.revisions[0].id, 5_000) for _ in range(2)), 1)
    below = scene.split(-1, BASIS_POINTS + 1)
    refused = [(below, "a split with a weight below 0"), (twice, "a split that names a revision twice")]
    if bench.one_at_a_time:
        refused.append((scene.split(5_000, 5_000), _SHARED))
    for split, what in refused:
        _refused(partial(bench.apply, scene, split), InvalidSplit, what)


def _split_foreign(bench: Bench) -> None:
    scene, other = bench.ready_scene("shop"), bench.ready_scene("blog")
    for strangers, where in (((), ""), (other.revisions, " that stands among the deployment's revisions")):
        split = scene.split(5_000, 5_000, revisions=(scene.revisions[0], other.revisions[0]))
        call = partial(bench.apply, scene, split, strangers=strangers)
        _refused(call, ForeignRevision, f"a split over a revision of another workload{where}")


def _without_calls(bench: Bench, refusals: Iterable[Refused]) -> None:
    unrefused = [what for what, expected, call in refusals if not _refused_without_calls(bench, what, expected, call)]
    if unrefused:
        raise CheckBlocked(f"not refused as it has to be, so there is no refusal to look at: {'; '.join(unrefused)}")


def _refused_without_calls(bench: Bench, what: str, expected: type[Exception], call: Callable[[], object]) -> bool:
    calls, world = bench.subject.provider_calls(), bench.subject.snapshot()
    try:
        call()
    except expected:
        made = bench.subject.provider_calls() - calls
        expect(made == 0, f"{what}: refused, but only after {made} call(s) of the provider")
        expect_same(world, bench.subject.snapshot(), f"{what}: refused, but the provider changed")
        return True
    except Exception:  # noqa: BLE001  # another refusal than expected is a finding of D2 or D3
        return False
    return False


def _verb_calls(verb: str, bench: Bench) -> None:
    scene, other = bench.ready_scene("shop"), bench.ready_scene("blog")
    unknown = f"{verb} of a revision that does not exist"
    refusals: list[Refused] = [(unknown, RevisionNotFound, lambda: bench.verb(verb, scene, _UNKNOWN))]
    refusals += _foreign_calls(verb, bench, scene, other)
    _without_calls(bench, refusals)


def _split_calls(bench: Bench) -> None:
    scene, other = bench.ready_scene("shop"), bench.ready_scene("blog")
    mixed = scene.split(5_000, 5_000, revisions=(scene.revisions[0], other.revisions[0]))
    refusals: list[Refused] = [
        ("a workload without a split", SplitNotFound, lambda: bench.apply(scene, None)),
        ("a sum of 9999", InvalidSplit, lambda: bench.apply(scene, scene.split(9_999, 0))),
        ("a sum of 10001", InvalidSplit, lambda: bench.apply(scene, scene.split(10_000, 1))),
        ("a foreign revision", ForeignRevision, lambda: bench.apply(scene, mixed, strangers=other.revisions)),
    ]
    if bench.one_at_a_time:
        refusals.append((_SHARED, InvalidSplit, lambda: bench.apply(scene, scene.split(5_000, 5_000))))
    _without_calls(bench, refusals)


def _provider_failure(bench: Bench) -> None:
    subject = bench.subject
    if not isinstance(subject, BreaksItsProvider):
        raise CheckImpossible("the subject has no break_provider()")
    scene = bench.ready_scene("shop", 10_000, 0)
    subject.break_provider()
    named = (scene.workload.id, scene.revisions[0].id)
    for verb in VERBS:
        _failure_is_told(partial(bench.verb, verb, scene, named[1]), verb, named)
    _failure_is_told(partial(bench.apply, scene, scene.split(0, 10_000)), "apply_traffic_split", named)


def _failure_is_told(call: Callable[[], object], verb: str, named: tuple[str, ...]) -> None:
    try:
        answer = call()
    except Exception as error:  # noqa: BLE001  # whatever it raises, its words are looked at
        told = str(error)
        names_it = any(each in told for each in named)
        expect(
            names_it and len(told.split()) > 3,
            f"{verb} on a provider that fails raised {told_error(error)}; expected: a sentence that names the "
            f"workload ({named[0]!r}) or the revision ({named[1]!r}) and says what the provider did",
        )
    else:
        expect(verb not in _NEEDS_THE_PROVIDER, f"{verb} on a provider that fails returned {shown(answer)}")


CHECKS = (
    *(
        Check(
            f"unknown-revision-{verb}",
            "D2",
            f"{verb} refuses a revision that does not exist",
            f"begin {verb} with revision_of(deployment, revision_id)",
            partial(_unknown, verb),
        )
        for verb in VERBS
    ),
    *(
        Check(
            f"foreign-revision-{verb}",
            "D2",
            f"{verb} refuses a revision of another workload",
            f"begin {verb} with revision_of(deployment, revision_id), which compares the revision's workload too",
            partial(_foreign, verb),
        )
        for verb in VERBS
    ),
    Check(
        "split-missing",
        "D3",
        "a workload without a split is refused",
        "begin apply_traffic_split with split_of(deployment)",
        _split_missing,
    ),
    *(
        Check(
            f"split-sum-{BASIS_POINTS + off_by}",
            "D3",
            f"a split whose weights sum up to {BASIS_POINTS + off_by} is refused",
            "begin apply_traffic_split with split_of(deployment); weights are basis points and never scaled",
            partial(_split_sum, off_by),
        )
        for off_by in (-1, 1)
    ),
    Check(
        "split-bounds",
        "D3",
        "a split with a weight out of bounds, or with a revision twice, is refused",
        "begin apply_traffic_split with split_of(deployment); the right sum is not enough",
        _split_bounds,
    ),
    Check(
        "split-foreign",
        "D3",
        "a split over a revision of another workload is refused",
        "begin apply_traffic_split with split_of(deployment)",
        _split_foreign,
    ),
    *(
        Check(
            f"refusal-without-calls-{verb}",
            "D4",
            f"{verb} refuses before any call of the provider",
            f"move revision_of(…) to the first line of {verb}; look nothing up before it",
            partial(_verb_calls, verb),
        )
        for verb in VERBS
    ),
    Check(
        "refusal-without-calls-split",
        "D4",
        "apply_traffic_split refuses before any call of the provider",
        "move split_of(deployment) to the first line of apply_traffic_split; look nothing up before it",
        _split_calls,
    ),
    Check(
        "provider-failure",
        "D4",
        "a failure of the provider is told in words that one can act on",
        "catch the provider's exception, and raise a VerbFailed that says which workload and revision it was about, "
        "what was asked of the provider, and what it answered",
        _provider_failure,
    ),
)
