"""What `image` does to an engine besides starting containers: has images, repairs what drifted, takes away."""

from __future__ import annotations

from collections.abc import Sequence

from controller.plugins.answering import check_secrets
from controller.plugins.contract import (
    Deployment,
    EngineTools,
    Revision,
    RevisionState,
    VerbFailed,
    Workload,
    WorkloadKind,
)
from controller.plugins.image_reference import credentials_for
from controller.plugins.sources.image_containers import (
    Target,
    bring_up,
    image_at_hand,
    of_this,
    of_workload,
    plan_for,
    remove_all,
    stop_all,
)
from controller.plugins.sources.image_plan import of_revision, pinned
from controller.plugins.sources.image_upkeep import serving
from controller.plugins.sources.image_volumes import check_paths, remove_of_revision
from controller.plugins.waiting import Timing


def check_revision(target: Target) -> None:
    """Check that a revision can be deployed by this source.

    :raises VerbFailed: it records no digest, or its workload is of another kind.
    """
    if not target.revision.image_digest:
        raise VerbFailed(f"revision {target.revision.id!r} records no image digest; resolve its image first")
    if target.workload.kind is not WorkloadKind.PROJECT:
        raise VerbFailed(f"workload {target.workload.id!r} is a {target.workload.kind}; `image` deploys projects")


def have_image(tools: EngineTools, target: Target) -> tuple[bool, dict[str, str]]:
    """Have a revision's image on the engine, and its secrets readable; returns whether it was pulled, and more.

    :raises VerbFailed: the image is not to be had.
    :raises EngineError: the engine failed.
    """
    reference = pinned(target.revision)
    check_paths(tools, target.options.volumes)
    check_secrets(tools, target.workload, target.options.secrets.values())
    if found := image_at_hand(tools, target.revision):
        return False, {"image": f"{found} is here"}
    tools.engine.pull_image(reference, credentials_for(target.options.image, target.options.credentials_file))
    if not tools.engine.find_image(reference):
        raise VerbFailed(f"{reference} was pulled, and is not on the engine", {"image": "not there by its digest"})
    return True, {"image": f"{reference} was pulled"}


def take_away(tools: EngineTools, target: Target) -> list[str]:
    """Remove a revision's containers, rows, and volumes that live no longer; returns what was removed."""
    containers = of_this(tools, target)
    stop_all(tools, containers)
    remove_all(tools, containers)
    tools.drop_rows(target.workload, target.revision)
    return [*(each.name for each in containers), *remove_of_revision(tools, target.workload, target.revision)]


def due(tools: EngineTools, deployment: Deployment, ready: Sequence[Revision]) -> bool:
    """Whether anything is to be repaired. Only looks."""
    lacking = any(
        not image_at_hand(tools, each) or not plan_for(tools, Target.of(deployment, each)).empty for each in ready
    )
    return lacking or bool(_left_over(tools, deployment))


def repair(tools: EngineTools, workload: Workload, timing: Timing) -> tuple[list[str], list[str]]:
    """Repair what is to be repaired by the time that it is our turn: a deploy may have been faster.

    :returns: what was repaired, and what was not because its budget or somebody says no.
    :raises DeployUnderWay: somebody deploys the workload.
    """
    with tools.turn(workload, "drift is repaired"):
        deployment = tools.deployment(workload)
        if deployment is None:
            return [], []
        repaired: list[str] = []
        denied: list[str] = []
        for each in serving(deployment):
            done, left = _repair(tools, Target.of(deployment, each), timing)
            repaired += done
            denied += left
        return [*repaired, *_clear_away(tools, deployment)], denied


def _repair(tools: EngineTools, target: Target, timing: Timing) -> tuple[Sequence[str], Sequence[str]]:
    if not image_at_hand(tools, target.revision):
        have_image(tools, target)
    plan = plan_for(tools, target)
    if plan.empty:
        return plan.why, []
    if plan.create:  # what cannot be done costs no attempt
        check_secrets(tools, target.workload, target.options.secrets.values())
    asked = {name: tools.may_heal(target.workload, name, why) for name, why in plan.repaired.items()}
    denied = {name: answer.message for name, answer in asked.items() if not answer.given}
    allowed = plan.without(denied)
    if not allowed.empty:
        bring_up(tools, target, timing, all_or_none=False, repairs=allowed)
    return allowed.why, [f"{name} is not healed: {message}" for name, message in denied.items()]


def _clear_away(tools: EngineTools, deployment: Deployment) -> Sequence[str]:
    left = _left_over(tools, deployment)
    for each in left:
        take_away(tools, Target.of(deployment, each))
    return [f"containers of archived revision {each.sequence} are removed" for each in left]


def _left_over(tools: EngineTools, deployment: Deployment) -> Sequence[Revision]:
    there = of_workload(tools, deployment.workload)
    archived = [each for each in deployment.revisions.values() if each.state is RevisionState.ARCHIVED]
    return [each for each in archived if of_revision(there, each, tools.prefix)]
