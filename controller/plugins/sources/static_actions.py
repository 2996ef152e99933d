"""Bringing the web server of a site up and taking it down. Who calls holds the lock of the site."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from controller.labels import LabelNames
from controller.plugins.contract import (
    ContainerSeen,
    ContainerSpec,
    Deployment,
    EngineError,
    EngineTools,
    Revision,
    RevisionState,
    VerbFailed,
    Workload,
)
from controller.plugins.sources.static_content import Target, site_of
from controller.plugins.sources.static_ready import (
    Question,
    preview_question,
    public_question,
    wait_until_answered,
)
from controller.plugins.sources.static_server import (
    RUNNING,
    addresses_in,
    ours,
    pinned,
    stopped,
    wrong_with,
)
from controller.plugins.waiting import Timing


def image_at_hand(tools: EngineTools, revision: Revision) -> tuple[str, str]:
    """What the engine finds a revision's image by, and the image's id; both empty where it is not here."""
    for reference in (pinned(revision), revision.image_digest):
        if found := tools.engine.find_image(reference):
            return reference, found
    return "", ""


def have_image(tools: EngineTools, revision: Revision) -> bool:
    """Have the image of the web server; returns whether it had to be pulled.

    :raises VerbFailed: it was, and is not there.
    """
    if image_at_hand(tools, revision)[0]:
        return False
    tools.engine.pull_image(pinned(revision))
    if not image_at_hand(tools, revision)[0]:
        raise VerbFailed(f"{pinned(revision)} was pulled, and is not on the engine")
    return True


def servers_of(tools: EngineTools, workload: Workload) -> list[ContainerSeen]:
    """The web servers of a site that this source made."""
    labelled = tools.engine.list_containers({LabelNames(tools.prefix).static_site: workload.ref})
    return ours(labelled, workload, tools.prefix)


def wrong_server(tools: EngineTools, target: Target, there: Sequence[ContainerSeen]) -> str:
    """What is wrong with a revision's web server; empty where nothing is to be done."""
    spec = target.server.spec
    seen = next((each for each in there if each.name == spec.name), None)
    wrong = wrong_with(spec, seen, image_at_hand(tools, target.revision)[1])
    told = wrong or (f"is {stopped(seen)}" if stopped(seen) else "")
    return f"{spec.name} {told}" if told else ""


def bring_up(tools: EngineTools, target: Target, question: Question | None, timing: Timing) -> tuple[bool, str]:
    """Have a revision's web server up, and answering; returns whether that took anything, and what was seen.

    What did not answer and was made for this is removed again. A port of the host that another server of the site
    holds is given up by that one first.

    :param question: what it has to answer; ``None`` for its release, by its name.
    :raises VerbFailed: it does not answer.
    """
    question = question or preview_question(target.options, target.site.path_of(target.release))
    changed = bool(target.server.configuration) and target.site.configure(target.server.configuration)
    there = servers_of(tools, target.workload)
    displaced = _make_room(tools, target.server.spec, there)
    made = _have_container(tools, target, there)
    try:
        if made is not None:
            tools.engine.start_container(made)
        seen = tools.engine.inspect_container(made or target.server.spec.name)
        if seen is None:
            raise VerbFailed(f"{target.server.spec.name} is gone")
        said = wait_until_answered(tools, seen.id, question, target.options, timing)
    except (EngineError, VerbFailed):
        if made is not None:
            tools.engine.remove_container(made)
        for each in displaced:
            tools.engine.start_container(each.id)
        raise
    return changed or bool(displaced) or made is not None or stopped(_named(there, target)) != "", said


def _named(there: Sequence[ContainerSeen], target: Target) -> ContainerSeen | None:
    return next((each for each in there if each.name == target.server.spec.name), None)


def _have_container(tools: EngineTools, target: Target, there: Sequence[ContainerSeen]) -> str | None:
    """Have the container, started where it was only stopped; returns the id of one that was made, and is not started.

    :raises VerbFailed: its image is not here.
    """
    reference, image_id = image_at_hand(tools, target.revision)
    seen, spec = _named(there, target), target.server.spec
    wrong = wrong_with(spec, seen, image_id)
    if wrong:
        if not reference:
            raise VerbFailed(f"the image {pinned(target.revision)} is not on the engine; stage brings it")
        if seen is not None:
            tools.engine.remove_container(seen.id)
        return _created(tools, spec, reference)
    if seen is not None and stopped(seen):
        tools.engine.start_container(seen.id)
    return None


def _created(tools: EngineTools, spec: ContainerSpec, reference: str) -> str:
    fields = {name: getattr(spec, name) for name in ContainerSpec.__slots__} | {"image": reference}
    try:
        return tools.engine.create_container(ContainerSpec(**fields))
    except EngineError as error:
        if "bind source path" in str(error):
            raise VerbFailed(
                f"{error}; the engine's machine must have the folder of TALLYD_SITES at the same path as the "
                "controller: where that runs in a container, mount it there at its own path"
            ) from error
        raise


def _make_room(tools: EngineTools, spec: ContainerSpec, there: Sequence[ContainerSeen]) -> list[ContainerSeen]:
    if not spec.publish_port:
        return []
    others = [each for each in there if each.name != spec.name and each.state in RUNNING]
    for each in others:
        tools.engine.stop_container(each.id, each.stop_grace_seconds)
    return others


def bind(tools: EngineTools, target: Target, deployment: Deployment, *, revision_too: bool) -> bool:
    """Bring the site's row up to date with its server; returns whether it was not.

    :param revision_too: also where only the revision is another one.
    """
    seen = next((each for each in servers_of(tools, target.workload) if each.name == target.server.spec.name), None)
    if seen is None or seen.state != "running":
        return False
    row = next((each for each in deployment.rows if each.id == f"{target.workload.id}:site"), None)
    same = row is not None and row.container_id == seen.id and addresses_in(row) == dict(seen.addresses)
    if same and row is not None and (row.stage_id == target.revision.id or not revision_too):
        return False
    tools.bind_row(target.workload, target.revision, seen, "")
    return True


def clear_servers(tools: EngineTools, deployment: Deployment, leaving: str = "") -> list[str]:
    """Remove the web servers that no release which is in service needs; returns their names.

    :param leaving: a revision that is going.
    """
    site = site_of(tools, deployment.workload)
    needed, current = set(), site.current()
    for each in deployment.revisions.values():
        target = Target.of(tools, deployment.workload, each)
        release = target.release
        gone = each.state in (RevisionState.ARCHIVED, RevisionState.FAILED) or each.id == leaving
        idle = gone or site.marked(release, "idle") is not None
        if release and (release == current or not idle):
            needed.add(target.server.spec.name)
    removed = [each for each in servers_of(tools, deployment.workload) if each.name not in needed]
    for server in removed:
        if server.state in RUNNING:
            tools.engine.stop_container(server.id, server.stop_grace_seconds)
        tools.engine.remove_container(server.id)
    return [each.name for each in removed]


def publish(tools: EngineTools, target: Target, timing: Timing) -> bool:
    """Publish a revision's release; returns whether another was. That one is published again where this fails.

    :raises VerbFailed: there is no release, or the web server does not answer with it.
    """
    site, release = target.site, target.release
    if not release:
        raise VerbFailed("there is no release; stage makes it")
    before = site.current()
    changed = site.publish(release)
    try:
        question = public_question(target.options, site.path_of(release))
        started, _ = bring_up(tools, target, question, timing)
    except (EngineError, VerbFailed):
        if changed and before in site.releases():
            site.publish(before)
        raise
    return changed or started


def take_away(tools: EngineTools, workload: Workload) -> list[str]:
    """Remove web servers, rows and releases of a site; returns what was removed."""
    site, removed = site_of(tools, workload), []
    for each in servers_of(tools, workload):
        tools.engine.stop_container(each.id, each.stop_grace_seconds)
        tools.engine.remove_container(each.id)
        removed.append(f"container {each.name}")
    deployment = tools.deployment(workload)
    for revision in deployment.revisions.values() if deployment is not None else ():
        tools.drop_rows(workload, revision)
    if site.root.is_dir():
        removed += [f"release {each}" for each in site.releases()]
        shutil.rmtree(site.root)
    return removed
