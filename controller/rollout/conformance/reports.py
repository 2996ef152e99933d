"""Checks of the contract's shape, of the subject itself, and of what a router is told (D1, D9, T2)."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from controller.rollout.conformance.bench import (
    VERBS,
    Bench,
    Check,
    CheckFailed,
    Scene,
    expect,
    expect_equal,
    expect_same,
    shown,
)
from controller.rollout.deployer import RuntimeConfig, TrafficSplit
from store.rollout_records import RevisionState

_MEMBERS = {**dict.fromkeys(VERBS, 2), "apply_traffic_split": 1, "report_runtime_config": 1}
_LAST_PORT = 65_535


def _members(bench: Bench) -> None:
    deployer = bench.subject.deployer
    lacking = [name for name in _MEMBERS if not callable(getattr(deployer, name, None))]
    expect(not lacking, f"{type(deployer).__name__} lacks: {', '.join(lacking)}")
    for name, count in _MEMBERS.items():
        signature = inspect.signature(getattr(deployer, name))
        try:
            signature.bind(*range(count))
        except TypeError as error:
            raise CheckFailed(f"{name}{signature} cannot be called with {count} argument(s): {error}") from error
    kind = getattr(deployer, "kind", None)
    expect(isinstance(kind, str) and kind != "", f"kind is {shown(kind)}; expected: the name of the entry point")
    expect_equal(bench.subject.workload("shop").source_kind, kind, "the source_kind of the subject's workload")


def _subject(bench: Bench) -> None:
    _ids_differ(bench.scene("shop"), bench.scene("blog"))
    subject = bench.subject
    calls, world = subject.provider_calls(), subject.snapshot()
    scene = bench.ready_scene("shop", 4_000, 6_000)
    expect(subject.provider_calls() > calls, "provider_calls() did not rise while two revisions were deployed")
    expect(subject.snapshot() != world, "snapshot() is the same before and after two revisions were deployed")
    calls, world = subject.provider_calls(), subject.snapshot()
    expect_same(world, subject.snapshot(), "snapshot() differs between two looks at one world")
    subject.answers(scene.workload, scene.revisions[0])
    subject.traffic(scene.workload)
    expect_equal(subject.provider_calls(), calls, "provider_calls() after the subject alone has looked")


def _ids_differ(scene: Scene, other: Scene) -> None:
    expect(other.workload.id != scene.workload.id, f"two workloads have the same id, {other.workload.id!r}")
    first, second = scene.revisions
    expect(first.id != second.id, f"revisions 1 and 2 have the same id, {first.id!r}")
    same = sorted({first.id, second.id} & {each.id for each in other.revisions})
    expect(not same, f"revision ids of two workloads are the same: {shown(same)}")
    owners = {first.workload_id, second.workload_id}
    expect_equal(owners, {scene.workload.id}, "the workload ids of the subject's revisions")


def _report_pure(bench: Bench) -> None:
    scene = bench.ready_scene("shop", 2_500, 7_500)
    split = scene.split(2_500, 7_500)
    calls, world = bench.subject.provider_calls(), bench.subject.snapshot()
    first, second = bench.report(scene, split), bench.report(scene, split)
    made = bench.subject.provider_calls() - calls
    expect(made == 0, f"report_runtime_config made {made} call(s) of the provider")
    expect_same(world, bench.subject.snapshot(), "report_runtime_config changed the provider's world")
    expect_equal(second, first, "what is reported when it is asked again")


def _blocks(bench: Bench, scene: Scene, split: TrafficSplit, **more: Any) -> Sequence[Mapping[str, Any]]:
    config = bench.report(scene, split, **more)
    if not isinstance(config, RuntimeConfig):
        raise CheckFailed(f"report_runtime_config returned {shown(config)} instead of a RuntimeConfig")
    return config.blocks


def _weights(blocks: Sequence[Mapping[str, Any]]) -> list[tuple[Any, Any]]:
    return [(each.get("revision_id"), each.get("weight")) for each in blocks]


def _wanted(split: TrafficSplit) -> list[tuple[Any, Any]]:
    return [(each.revision_id, each.weight) for each in split.entries]


def _report_projection(bench: Bench) -> None:
    for name, turned in (("shop", False), ("blog", True)):
        scene = bench.ready_scene(name)
        split = scene.split(2_500, 7_500, revisions=scene.revisions[::-1] if turned else scene.revisions)
        blocks = _blocks(bench, scene, split)
        expect_equal(_weights(blocks), _wanted(split), "the blocks, in order,")
        expect_equal(bench.report(scene, split).workload_id, scene.workload.id, "the workload that is reported")


def _report_targets(bench: Bench) -> None:
    scene = bench.ready_scene("shop", 2_500, 7_500)
    for block in _blocks(bench, scene, scene.split(2_500, 7_500)):
        targets = block.get("targets")
        told = f"targets of the block of {block.get('revision_id')!r} are {shown(targets)}"
        expect(isinstance(targets, list | tuple), f"{told}; expected: a list")
        for each in targets or ():
            fits = isinstance(each, Mapping) and isinstance(each.get("address"), str) and _is_port(each.get("port"))
            expect(fits, f'{told}; expected of each: {{"address": text, "port": 1 to {_LAST_PORT}}}')


def _is_port(port: object) -> bool:
    return isinstance(port, int) and not isinstance(port, bool) and 1 <= port <= _LAST_PORT


def _report_zero(bench: Bench) -> None:
    scene = bench.ready_scene("shop", 10_000, 0)
    reported = dict(_weights(_blocks(bench, scene, scene.split(10_000, 0))))
    kept = scene.revisions[1].id
    expect(kept in reported, f"revision {kept!r} has weight 0 and no block; blocks are of {shown(list(reported))}")
    expect_equal(reported[kept], 0, "the weight in the block of a revision without traffic")


def _report_lifecycle(bench: Bench) -> None:
    scene = bench.ready_scene("shop", 2_500, 7_500)
    split = scene.split(2_500, 7_500)
    for state in RevisionState:
        blocks = _blocks(bench, scene, split, state=state)
        expect_equal(
            {each for each, _ in _weights(blocks)}, {each.id for each in scene.revisions}, f"{state}: blocks"
        )


def _report_follows(bench: Bench) -> None:
    scene = bench.ready_scene("shop", 2_500, 7_500)
    with bench.preparation():
        bench.report(scene, scene.split(2_500, 7_500))
    for weights in ((7_500, 2_500), (5_000, 5_000)):
        split = bench.split(scene, *weights)
        bench.apply(scene, split)
        expect_equal(
            set(_weights(_blocks(bench, scene, split))), set(_wanted(split)), "blocks after the split changed"
        )


CHECKS = (
    Check(
        "members",
        "D1",
        "the deployer has a kind, five verbs and a report",
        "implement every member of controller.rollout.deployer.Deployer, with its parameters",
        _members,
    ),
    Check(
        "subject",
        "D9",
        "the subject counts and shows what the deployer does, and nothing else",
        "count in the one place through which the deployer reaches the provider; look past it in the subject",
        _subject,
    ),
    Check(
        "report-pure",
        "D1",
        "the report makes no call of the provider, and says the same twice",
        "work the report out of the deployment alone; keep what it needs when warm has learnt it",
        _report_pure,
    ),
    Check(
        "report-projection",
        "T2",
        "the report has one block for each entry of the split, in its order",
        "answer with report(deployment, targets) of controller.rollout.projection, which makes a block of each entry",
        _report_projection,
    ),
    Check(
        "report-targets",
        "T2",
        "the targets of a block have an address and a port",
        'give each block "targets": a list of {"address", "port"}; an empty one where none is known',
        _report_targets,
    ),
    Check(
        "report-zero-weights",
        "T2",
        "the report keeps entries of weight 0",
        "do not filter by weight: a router has to know a revision before it gets traffic",
        _report_zero,
    ),
    Check(
        "report-lifecycle",
        "T2",
        "the report does not filter by lifecycle",
        "do not look at the state of a revision: the split alone says what is routed",
        _report_lifecycle,
    ),
    Check(
        "report-follows",
        "T2",
        "the report follows the split that it is given",
        "work the report out anew at each call; remember none",
        _report_follows,
    ),
)
