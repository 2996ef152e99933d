"""What is done to a Compose project: pulling, bringing up, going back, stopping, taking down."""

from __future__ import annotations

import re
from collections.abc import Sequence

from controller.labels import LabelNames
from controller.plugins.answering import check_secrets
from controller.plugins.contract import (
    ContainerSeen,
    Deployment,
    EngineError,
    EngineTools,
    PluginConfigInvalid,
    Revision,
    VerbFailed,
)
from controller.plugins.sources.compose_document import images_of
from controller.plugins.sources.compose_plan import Plan, holders, made_here, service_of, serving
from controller.plugins.sources.compose_project import (
    Project,
    bind,
    containers_of,
    rows_of,
    run,
)
from controller.plugins.sources.compose_ready import Patience, wait_until_up
from controller.plugins.waiting import Timing

RUNNING = ("running", "paused", "restarting")
DOWN_SECONDS = 60.0
"""What stopping and removing may take besides the grace period."""
_REMOVED_VOLUME = re.compile(r"Removing volume (\S+)|Volume (\S+)\s+Removed")


def held_by(tools: EngineTools, project: Project) -> list[ContainerSeen]:
    """The containers of the project, if it was brought up for this revision last; none where it was for another."""
    containers = made_here(containers_of(tools, project.workload), LabelNames(tools.prefix).spec)
    return containers if project.revision.id in holders(rows_of(tools, project.workload)) else []


def pull_images(tools: EngineTools, project: Project) -> tuple[bool, dict[str, str]]:
    """Have the images of all services; returns whether that took anything, and what was seen of each.

    :raises VerbFailed: one is not to be had.
    :raises EngineError: the engine failed.
    """
    options, images = project.options, images_of(project.document, project.options)
    before = {each: tools.engine.find_image(each) for each in images.values()}
    missing = sorted(name for name, image in images.items() if not before[image])
    if missing and options.pull == "never":
        raise VerbFailed(f"image {images[missing[0]]} is not on the engine, and pull is never")
    pulled = sorted(images) if options.pull == "always" else missing
    if pulled:
        run(tools, project, ["pull", "--quiet", *pulled], options.pull_timeout_seconds)
    after = {each: tools.engine.find_image(each) for each in before}
    for image, found in after.items():
        if not found:
            raise VerbFailed(f"{image} was pulled, and is not on the engine", {image: "not there"})
    told = {image: "is here" if before[image] == found else "was pulled" for image, found in after.items()}
    return before != after, told


def bring_up(tools: EngineTools, project: Project, plan: Plan, timing: Timing, *, everything: bool) -> dict[str, str]:
    """Have services up, and their rows; a job that has done its work is not done again. Returns what was seen.

    :param everything: all services, since the project was another revision's; else those of the plan.
    :raises VerbFailed: Compose refuses, or a service does not get up.
    :raises EngineError: the engine failed.
    """
    wanted, seconds = project.wanted(tools.prefix), project.options.start_timeout_seconds
    ends = timing.monotonic() + seconds
    services = sorted(plan.services)
    if everything:
        services = sorted(set(wanted.specs) - (wanted.jobs - set(plan.services)))
    remove(tools, plan.strange)
    for each in plan.start:
        tools.engine.start_container(each)
    if services:
        # All of them are Compose's to bring into order; of a part, the others are not to be touched.
        alone = [] if set(services) == set(wanted.specs) else ["--no-deps", *services]
        orphans = ["--remove-orphans"] if project.options.remove_orphans else []
        grace = ["--timeout", str(project.options.stop_grace_seconds)]
        run(tools, project, ["up", "--detach", "--no-build", "--quiet-pull", *grace, *orphans, *alone], seconds)
        bind(tools, project)
    looked_at = services or ([] if plan.start else wanted.specs)
    there = made_here(containers_of(tools, project.workload), wanted.spec_label)
    chosen = [each for each in there if service_of(each) in looked_at or each.id in plan.start]
    return wait_until_up(tools, chosen, Patience(wanted.jobs, project.options.web, ends, seconds), timing)


def repair(tools: EngineTools, project: Project, timing: Timing) -> tuple[list[str], list[str]]:
    """Repair what is to be repaired by the time that it is our turn: a deploy may have been faster.

    :returns: what was repaired, and what was not because its budget or somebody says no.
    :raises DeployUnderWay: somebody deploys the workload.
    :raises VerbFailed: Compose refuses, or a service does not get up.
    :raises EngineError: the engine failed.
    """
    with tools.turn(project.workload, "drift is repaired"):
        deployment = tools.deployment(project.workload)
        now = serving(deployment) if deployment is not None else None
        if deployment is None or now is None or now.id != project.revision.id:
            return [], []
        plan = project.plan(tools, containers_of(tools, project.workload), deployment.rows)
        if plan.services:  # what cannot be done costs no attempt; Compose is given all of them in any case
            check_secrets(tools, project.workload, project.options.secrets.values())
        denied = _denied(tools, project, plan)
        allowed = plan.without(denied)
        if allowed.services or allowed.start:
            bring_up(tools, project, allowed, timing, everything=False)
        removed = remove(tools, plan.orphans) if project.options.remove_orphans else []
        return [*allowed.why, *removed], [f"{name} is not healed: {why}" for name, why in denied.items()]


def _denied(tools: EngineTools, project: Project, plan: Plan) -> dict[str, str]:
    """Ask for each broken container; returns which are not to be healed now, and why (S5).

    A service is brought up as a whole. So where one of it may not be healed, it is not asked for those that would
    have to be made anew: that would spend an attempt of theirs for nothing.
    """
    denied: dict[str, str] = {}
    for service in plan.services:
        spared = ""
        for each in sorted(
            (each for each in plan.broken if each.service == service), key=lambda each: not each.start
        ):
            if spared and not each.start:
                denied[each.slot] = f"Compose would bring {spared} up too"
                continue
            answer = tools.may_heal(project.workload, each.slot, each.why)
            if not answer.given:
                denied[each.slot], spared = answer.message, each.slot
    return denied


def go_back(tools: EngineTools, project: Project, before: Revision | None, error: Exception) -> None:
    """Bring up again what was there before, or else stop what was begun and keep it, to be looked at.

    :raises VerbFailed: that failed too; says both.
    """
    try:
        if before is None:
            stop(tools, project)
            return
        old = Project.of(project.workload, before)
        run(tools, old, ["up", "--detach", "--no-build"], old.options.start_timeout_seconds)
        bind(tools, old)
    except (EngineError, VerbFailed, PluginConfigInvalid) as again:
        raise VerbFailed(f"{error}; and going back failed: {again}", getattr(error, "checks", {})) from error


def stop(tools: EngineTools, project: Project) -> None:
    """Stop all services; what is stopped stays.

    :raises VerbFailed: Compose refuses.
    :raises EngineError: the engine failed.
    """
    grace = project.options.stop_grace_seconds
    run(tools, project, ["stop", "--timeout", str(grace)], grace + DOWN_SECONDS)


def take_down(tools: EngineTools, project: Project, *, data: bool) -> list[str]:
    """Remove containers and networks, and with ``data`` the volumes; returns those.

    :raises VerbFailed: Compose refuses, or the controller runs in the project.
    :raises EngineError: the engine failed.
    """
    containers_of(tools, project.workload)
    grace = project.options.stop_grace_seconds
    more = ["--remove-orphans"] if project.options.remove_orphans else []
    more += ["--volumes"] if data else []
    done = run(tools, project, ["down", "--timeout", str(grace), *more], grace + DOWN_SECONDS)
    said = f"{done.output}\n{done.errors}"
    volumes = ["".join(each) for each in _REMOVED_VOLUME.findall(said)]
    return [f"volume {each}" for each in volumes if f"Volume {each} not found" not in said]


def tear_down(tools: EngineTools, deployment: Deployment, *, data: bool) -> list[str]:
    """Take the project down, whichever revision it is of, and its rows; returns what was removed.

    :raises VerbFailed: something could not be removed.
    :raises EngineError: the engine failed.
    """
    workload, label = deployment.workload, LabelNames(tools.prefix).spec
    newest_first = sorted(deployment.revisions.values(), key=lambda each: -each.sequence)
    up = [each for each in newest_first if each.id in holders(deployment.rows)] or newest_first[:1]
    before = made_here(containers_of(tools, workload), label)
    volumes = [told for each in up for told in take_down(tools, Project.of(workload, each), data=data)]
    remove(tools, made_here(containers_of(tools, workload), label))
    for each in newest_first:
        tools.drop_rows(workload, each)
    return [*(f"container {each.name}" for each in before), *volumes]


def remove(tools: EngineTools, containers: Sequence[ContainerSeen]) -> list[str]:
    """Stop and remove containers that Compose does not know; returns what is told of it."""
    for each in containers:
        tools.engine.stop_container(each.id, each.stop_grace_seconds)
        tools.engine.remove_container(each.id)
    return [f"{each.name} is of no service and was removed" for each in containers]
