"""Checks that every verb can be repeated: it succeeds twice, and leaves the same world behind (D7)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from controller.rollout.conformance.bench import (
    Bench,
    Check,
    CheckFailed,
    changed_of,
    expect,
    expect_same,
    told_error,
)

_PREPARED_BY = {"stage": (), "warm": ("stage",), "archive": ("stage", "warm")}


def _repeat(verb: str, bench: Bench) -> None:
    scene = bench.scene("shop")
    revision_id = scene.revisions[0].id
    with bench.preparation():
        for each in _PREPARED_BY[verb]:
            bench.verb(each, scene, revision_id)
    _twice(bench, verb, partial(bench.verb, verb, scene, revision_id), changes=verb != "stage")


def _repeat_drain(bench: Bench) -> None:
    scene = bench.ready_scene("shop", 10_000, 0)
    split = bench.split(scene, 0, 10_000)
    with bench.preparation():
        bench.apply(scene, split)
    _twice(bench, "drain", partial(bench.verb, "drain", scene, scene.revisions[0].id), changes=False)


def _repeat_split(bench: Bench) -> None:
    scene = bench.ready_scene("shop")
    _twice(bench, "apply_traffic_split", partial(bench.apply, scene, bench.split(scene, 2_500, 7_500)), changes=True)


def _twice(bench: Bench, verb: str, call: Callable[[], object], *, changes: bool) -> None:
    """Call it twice. ``changes``: whether the first call cannot have found the world as it should be."""
    with bench.preparation():
        first = call()
        world = bench.subject.snapshot()
    second = _succeeds(call, f"{verb}, called again,")
    expect_same(world, bench.subject.snapshot(), f"{verb}, called again, changed the provider's world")
    expect(not changed_of(second, verb), f"{verb}, called again, said that it changed something; the world is equal")
    if changes:
        expect(changed_of(first, verb), f"{verb} said that it changed nothing when it was called first")


def _archive_of_nothing(bench: Bench) -> None:
    scene = bench.scene("shop")
    with bench.preparation():
        world = bench.subject.snapshot()
    archive = partial(bench.verb, "archive", scene, scene.revisions[0].id)
    done = _succeeds(archive, "archive of a revision that was never staged")
    expect_same(world, bench.subject.snapshot(), "archive of what is not there changed the provider's world")
    expect(not changed_of(done, "archive"), "archive of what is not there said that it changed something")


def _succeeds(call: Callable[[], object], what: str) -> object:
    try:
        return call()
    except Exception as error:  # a stranger's code; that it raises at all is the finding
        raise CheckFailed(f"{what} raised {told_error(error)}") from error


CHECKS = (
    *(
        Check(
            f"repeat-{verb}",
            "D7",
            f"{verb} twice succeeds, leaves an equal world, and says so",
            f"look in {verb} at what is there; do what is missing, and return changed=False where nothing is",
            partial(_repeat, verb) if verb in _PREPARED_BY else _repeat_drain,
        )
        for verb in ("stage", "warm", "drain", "archive")
    ),
    Check(
        "repeat-split",
        "D7",
        "apply_traffic_split twice succeeds, leaves an equal world, and says so",
        "compare the split with what the provider has, and write nothing where they are equal",
        _repeat_split,
    ),
    Check(
        "archive-of-nothing",
        "D7",
        "archive tolerates what is already gone",
        "take the provider's answer that there is no such thing for success",
        _archive_of_nothing,
    ),
)
