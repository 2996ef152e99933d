"""Bringing a revision's containers up, and taking them down. What there is to do, `image_plan` works out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from controller.labels import LabelNames
from controller.plugins.contract import (
    ContainerRow,
    ContainerSeen,
    ContainerSpec,
    Deployment,
    EngineError,
    EngineTools,
    Revision,
    VerbFailed,
    Workload,
)
from controller.plugins.sources.image_options import ImageOptions
from controller.plugins.sources.image_plan import (
    Plan,
    of_revision,
    options_of,
    ours,
    pinned,
    plan_of,
    specs_of,
)
from controller.plugins.sources.image_ready import wait_until_ready
from controller.plugins.sources.image_volumes import with_volumes
from controller.plugins.waiting import Timing

RUNNING = ("running", "paused", "restarting")
_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Target:
    """A revision of a workload, and what it was declared as."""

    workload: Workload
    revision: Revision
    options: ImageOptions

    @classmethod
    def of(cls, deployment: Deployment, revision: Revision) -> Target:
        """The revision, with its config read.

        :raises PluginConfigInvalid: it cannot be read.
        """
        return cls(deployment.workload, revision, options_of(revision.config))


def of_workload(tools: EngineTools, workload: Workload) -> list[ContainerSeen]:
    """All containers of a workload that this source made."""
    return ours(
        tools.engine.list_containers({LabelNames(tools.prefix).workload_id: workload.id}), workload, tools.prefix
    )


def of_this(tools: EngineTools, target: Target) -> list[ContainerSeen]:
    """The containers of one revision."""
    return of_revision(of_workload(tools, target.workload), target.revision, tools.prefix)


def image_at_hand(tools: EngineTools, revision: Revision) -> str:
    """What the engine finds a revision's image by: its digest, or its id where no registry knows it; else empty."""
    for reference in (pinned(revision), revision.image_digest):
        if tools.engine.find_image(reference):
            return reference
    return ""


def plan_for(tools: EngineTools, target: Target) -> Plan:
    """What there is to do for a revision to be up.

    :raises VerbFailed: its image is not here.
    """
    image = image_at_hand(tools, target.revision)
    if not image:
        raise VerbFailed(f"the image {pinned(target.revision)} is not on the engine; stage brings it")
    wanted = specs_of(target.workload, target.revision, target.options, tools.prefix, image)
    return plan_of(wanted, of_this(tools, target), LabelNames(tools.prefix).spec)


def bring_up(
    tools: EngineTools, target: Target, timing: Timing, *, all_or_none: bool, repairs: Plan | None = None
) -> tuple[bool, dict[str, str]]:
    """Have all containers of a revision up, and answering; returns whether that took anything, and what was seen.

    With the strategy ``recreate`` those of other revisions are stopped first, and started again where this fails.

    :param all_or_none: stop what was brought up where not all of it gets ready.
    :param repairs: do this and nothing else, and wait for nobody else.
    :raises VerbFailed: one could not be started, ended, or does not answer; or a secret or volume is not to be had.
    :raises EngineError: the engine failed.
    """
    plan = plan_for(tools, target) if repairs is None else repairs
    # Before anything is taken down: without its secrets and volumes nothing would come up.
    complete = [_complete(tools, target, each) for each in plan.create]
    displaced = _make_room(tools, target)
    try:
        _carry_out(tools, replace(plan, create=complete))
        there = of_this(tools, target)
        # Before it is waited for: the events of the start find the rows.
        _bind_rows(tools, target, there)
        waited = [each for each in there if repairs is None or each.name in repairs.repaired]
        checks = wait_until_ready(tools, {each.name: each.id for each in waited}, target.options, timing)
    except (EngineError, VerbFailed):
        if all_or_none or displaced:
            stop_all(tools, of_this(tools, target))
        for each in displaced:
            tools.engine.start_container(each.id)
        raise
    _bind_rows(tools, target, of_this(tools, target))
    return not plan.empty or bool(displaced), checks


def rebind(tools: EngineTools, target: Target, rows: Sequence[ContainerRow]) -> list[str]:
    """Bring the rows of running containers up to date that have other addresses than were written down."""
    known = {each.container_id: each.extra_json for each in rows}
    running = [each for each in of_this(tools, target) if each.state == "running"]
    moved = [each for each in running if _addresses_in(known.get(each.id, "")) != dict(each.addresses)]
    _bind_rows(tools, target, moved)
    return [f"{each.name} has another address" for each in moved]


def _addresses_in(extra: str) -> object:
    try:
        return json.loads(extra).get("addresses")
    except (ValueError, AttributeError):
        return None


def stop_all(tools: EngineTools, containers: Iterable[ContainerSeen]) -> dict[str, str]:
    """Stop those that run, several at once, each with its grace period; returns how each of them ended."""
    going = [each for each in containers if each.state in RUNNING]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(lambda each: tools.engine.stop_container(each.id, each.stop_grace_seconds), going))
    ended = ((each.name, tools.engine.inspect_container(each.id)) for each in going)
    return {name: f"stopped, exit code {seen.exit_code}" if seen else "is gone" for name, seen in ended}


def remove_all(tools: EngineTools, containers: Sequence[ContainerSeen]) -> None:
    """Remove containers, several at once."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(lambda each: tools.engine.remove_container(each.id), containers))


def _make_room(tools: EngineTools, target: Target) -> list[ContainerSeen]:
    if target.options.strategy != "recreate":
        return []
    label = LabelNames(tools.prefix).revision
    others = [
        each
        for each in of_workload(tools, target.workload)
        if each.labels.get(label) != target.revision.id and each.state in RUNNING
    ]
    stop_all(tools, others)
    return others


def _complete(tools: EngineTools, target: Target, spec: ContainerSpec) -> ContainerSpec:
    """A spec with what is only known now; the label with its digest is the one of what was declared."""
    revealed = {variable: tools.reveal(target.workload, name) for variable, name in spec.secrets.items()}
    return replace(with_volumes(tools, spec), revealed=revealed)


def _carry_out(tools: EngineTools, plan: Plan) -> None:
    remove_all(tools, plan.remove)
    for each in plan.start:
        tools.engine.start_container(each.id)
    for spec in plan.create:
        made = tools.engine.create_container(spec)
        try:
            tools.engine.start_container(made)
        except EngineError:
            # Nothing ran: there is nothing to look at, and its name would only be in the way.
            tools.engine.remove_container(made)
            raise


def _bind_rows(tools: EngineTools, target: Target, containers: Iterable[ContainerSeen]) -> None:
    for each in containers:
        tools.bind_row(target.workload, target.revision, each, each.labels.get(LabelNames(tools.prefix).role, ""))
