"""Checks of what a verb says and does: its outcome, its effect, and that it touches nothing else (D5, D6, D8)."""

from __future__ import annotations

import threading

from controller.rollout.conformance.bench import (
    VERBS,
    Bench,
    Check,
    CheckFailed,
    CheckImpossible,
    Scene,
    done_of,
    expect,
    expect_equal,
    shown,
    weights_of,
)
from controller.rollout.conformance.subject import HoldsSessions, ShowsWhatIsStaged
from controller.rollout.deployer import Applied

TOO_EARLY_SECONDS = 0.3
"""How long a drain is watched while a session is in flight. Shorter than any ``drain_seconds`` of a subject."""


def _verb_outcomes(bench: Bench) -> None:
    scene = bench.scene("shop")
    for verb in VERBS:
        revision_id = scene.revisions[0].id
        done = done_of(bench.verb(verb, scene, revision_id), verb)
        named = (done.workload_id, done.revision_id)
        expect_equal(named, (scene.workload.id, revision_id), f"workload and revision that {verb} names")


def _split_outcome(bench: Bench) -> None:
    scene = bench.ready_scene("shop")
    for weights in ((2_500, 7_500), (10_000, 0)):
        split = bench.split(scene, *weights)
        applied = bench.apply(scene, split)
        if not isinstance(applied, Applied):
            raise CheckFailed(f"apply_traffic_split returned {shown(applied)} instead of an Applied")
        expect_equal(applied.workload_id, scene.workload.id, "the workload that the outcome names")
        expect_equal(tuple(applied.entries), tuple(split.entries), "what the outcome says was applied")


def _split_enforced(bench: Bench) -> None:
    scene = bench.ready_scene("shop")
    split = bench.split(scene, 2_500, 7_500)
    bench.apply(scene, split)
    expect_equal(bench.enforced(scene), weights_of(split), "what the provider enforces when the verb has returned")


def _split_change(bench: Bench) -> None:
    scene = bench.ready_scene("shop", 10_000, 0)
    for weights in ((9_999, 1), (0, 10_000), (10_000, 0)):
        split = bench.split(scene, *weights)
        bench.apply(scene, split)
        expect_equal(bench.enforced(scene), weights_of(split), "what the provider enforces after the split changed")


def _independence(bench: Bench) -> None:
    scene, other = bench.ready_scene("shop", 10_000, 0), bench.ready_scene("blog", 3_000, 7_000)
    split = other.split(3_000, 7_000)
    with bench.preparation():
        recorded, enforced = bench.report(other, split), bench.enforced(other)
    for weights in ((0, 10_000), (5_000, 5_000)):
        bench.apply(scene, bench.split(scene, *weights))
        expect_equal(bench.enforced(other), enforced, "what the provider enforces of a workload that was not named")
        expect_equal(bench.report(other, split), recorded, "what is reported of a workload that was not named")


def _stage_effect(bench: Bench) -> None:
    subject = bench.subject
    if not isinstance(subject, ShowsWhatIsStaged):
        raise CheckImpossible("the subject has no staged()")
    scene = bench.scene("shop")
    revision = scene.revisions[0]
    bench.verb("stage", scene, revision.id)
    expect(subject.staged(scene.workload, revision), "stage has returned, but what the revision needs is not at hand")


def _warm_effect(bench: Bench) -> None:
    scene = bench.scene("shop")
    revision = scene.revisions[0]
    with bench.preparation():
        bench.verb("stage", scene, revision.id)
    bench.verb("warm", scene, revision.id)
    expect(bench.subject.answers(scene.workload, revision), "warm has returned, but the revision does not answer")


def _drain_effect(bench: Bench) -> None:
    scene = _moved_scene(bench)
    bench.verb("drain", scene, scene.revisions[0].id)
    expect_equal(
        bench.enforced(scene), weights_of(scene.split(0, 10_000)), "what the provider enforces after a drain"
    )
    _still_answers(bench, scene, 1, "drain of another revision")


def _drain_waits(bench: Bench) -> None:
    subject = bench.subject
    if not isinstance(subject, HoldsSessions):
        raise CheckImpossible("the subject has no session()")
    # Where there is one revision at a time, the old one is not there any more once traffic was moved.
    scene = bench.ready_scene("shop", 10_000, 0) if bench.one_at_a_time else _moved_scene(bench)
    old = scene.revisions[0]
    returned, raised = threading.Event(), []

    def drain() -> None:
        try:
            bench.verb("drain", scene, old.id)
        except BaseException as error:  # noqa: BLE001  # a thread ends here; raised again by the check
            raised.append(error)
        finally:
            returned.set()

    with subject.session(scene.workload, old):
        threading.Thread(target=drain, name="conformance-drain", daemon=True).start()
        too_early = returned.wait(TOO_EARLY_SECONDS)
    returned.wait()  # for as long as the check may take
    if raised:
        raise raised[0]
    expect(not too_early, "drain returned while a session was in flight, and before drain_seconds had passed")


def _archive_effect(bench: Bench) -> None:
    scene, other = _moved_scene(bench), bench.ready_scene("blog", 10_000, 0)
    old = scene.revisions[0]
    with bench.preparation():
        bench.verb("drain", scene, old.id)
    bench.verb("archive", scene, old.id)
    expect(not bench.subject.answers(scene.workload, old), "archive has returned, but the revision still answers")
    _still_answers(bench, scene, 1, "archive of another revision")
    _still_answers(bench, other, 0, "archive of another workload's revision")


def _moved_scene(bench: Bench) -> Scene:
    """Two revisions that answer, all traffic moved from the first to the second."""
    scene = bench.ready_scene("shop", 10_000, 0)
    split = bench.split(scene, 0, 10_000)
    with bench.preparation():
        bench.apply(scene, split)
    return scene


def _still_answers(bench: Bench, scene: Scene, number: int, after: str) -> None:
    revision = scene.revisions[number]
    expect(bench.subject.answers(scene.workload, revision), f"revision {revision.id!r} does not answer after {after}")


CHECKS = (
    Check(
        "outcome-verbs",
        "D5",
        "the outcome of a revision verb names its workload and revision",
        "return Done(deployment.workload.id, revision_id, changed=…) from every revision verb",
        _verb_outcomes,
    ),
    Check(
        "outcome-split",
        "D5",
        "the outcome of the split verb names the workload and exactly the entries applied",
        "return Applied(deployment.workload.id, split.entries, changed=…): all entries, in their order",
        _split_outcome,
    ),
    Check(
        "split-enforced",
        "D5",
        "what the outcome says is what the provider enforces",
        "return from apply_traffic_split only when the provider has taken the weights, and pass them on unscaled",
        _split_enforced,
    ),
    Check(
        "split-change",
        "D5",
        "a changed split is enforced at once, to a basis point",
        "compare with what the provider has now, not with what was applied first",
        _split_change,
    ),
    Check(
        "independence",
        "D6",
        "a split never changes what is recorded or enforced of another workload",
        "write to the provider under the workload's id, and only there",
        _independence,
    ),
    Check(
        "stage-effect",
        "D8",
        "stage returns when the image is there by digest",
        "wait in stage until the provider has all of it; compare by digest, not by tag",
        _stage_effect,
    ),
    Check(
        "warm-effect",
        "D8",
        "warm returns when the revision answers",
        "ask the revision itself in warm, and return when it has answered; that it was started is not enough",
        _warm_effect,
    ),
    Check(
        "drain-effect",
        "D8",
        "drain takes a revision out of service, and no other",
        "leave the split and the other revisions alone in drain",
        _drain_effect,
    ),
    Check(
        "drain-waits",
        "D8",
        "drain returns when sessions in flight ended, or had their time",
        "count the sessions of the revision in drain, and wait for the last one or for drain_seconds",
        _drain_waits,
    ),
    Check(
        "archive-effect",
        "D8",
        "archive returns when the revision is gone, and it alone",
        "wait in archive until the provider no longer has it; choose what to remove by workload and revision",
        _archive_effect,
    ),
)
