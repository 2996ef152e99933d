"""Looking after a deployed project, and what was declared since it was deployed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from controller.plugins.contract import Deployment, EngineTools, PluginConfigInvalid, Revision, VerbFailed, Workload
from controller.plugins.sources.compose_actions import repair
from controller.plugins.sources.compose_document import digest_of
from controller.plugins.sources.compose_options import ComposeOptions, options_of
from controller.plugins.sources.compose_plan import differs, failed_with
from controller.plugins.sources.compose_project import Project, bind, containers_of
from controller.plugins.waiting import Timing


def look_after(
    tools: EngineTools, project: Project, deployment: Deployment, timing: Timing
) -> tuple[list[str], list[str]]:
    """Have a project up as it was deployed; returns what was repaired, and what is told.

    :raises DeployUnderWay: somebody deploys the workload.
    :raises VerbFailed: Compose refuses, or a service does not get up.
    :raises EngineError: the engine failed.
    """
    plan = project.plan(tools, containers_of(tools, project.workload), deployment.rows)
    unwanted = plan.orphans if project.options.remove_orphans else ()
    repaired, denied = repair(tools, project, timing) if plan.services or unwanted else ([], [])
    repaired += bind(tools, project)
    return repaired, [*plan.told, *denied]


def news(
    tools: EngineTools,
    deployment: Deployment,
    revision: Revision,
    freeze: Callable[[Mapping[str, Any]], Mapping[str, Any]],
) -> list[str]:
    """What was declared since the revision was made, and which of its secrets cannot be had.

    :param freeze: has Compose resolve a declaration.
    """
    workload = deployment.workload
    try:
        config = freeze(workload.source_config)
    except (PluginConfigInvalid, VerbFailed) as error:
        return [f"what is declared now cannot be deployed: {error}"]
    declared, deployed = options_of(config), options_of(revision.config)
    troubles = _unreadable(tools, workload, declared, deployed)
    if differs(declared, deployed):
        return ["deploy the declaration", *troubles]
    digest = f"sha256:{digest_of(declared.frozen)}"
    if digest != revision.image_digest:
        return [_changed(tools, deployment, digest, follow=declared.follow), *troubles]
    as_frozen = replace(workload, source_config=config)
    if declared.secrets and tools.declared_digest(as_frozen) != revision.config_digest:
        return ["deploy the declaration: a secret of it has another value now", *troubles]
    return troubles


def _changed(tools: EngineTools, deployment: Deployment, digest: str, *, follow: bool) -> str:
    if why := failed_with(digest, deployment):
        return f"its files changed, and could not be deployed: {why}"
    if follow and tools.ask_deploy(deployment.workload, "its files changed"):
        return "its files changed; they are being deployed"
    return "its files changed; deploy the declaration"


def _unreadable(tools: EngineTools, workload: Workload, *options: ComposeOptions) -> list[str]:
    used = {name for each in options for name in each.secrets.values()}
    if not used:
        return []
    seen = tools.secrets(workload)
    told = [f"secret {name} is not stored" for name in sorted(used - set(seen))]
    return told + [
        f"secret {name} cannot be read: {each.trouble}"
        for name, each in seen.items()
        if name in used and each.trouble
    ]
