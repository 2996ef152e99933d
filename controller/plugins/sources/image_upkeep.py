"""What `reconcile` looks after, and what it says. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from controller.plugins.contract import (
    ContainerSeen,
    Deployment,
    EngineTools,
    Outcome,
    Result,
    Revision,
    RevisionState,
    Workload,
)
from controller.plugins.cut_short import cut_short, told_of
from controller.plugins.sources.image_plan import of_revision, options_of


def serving(deployment: Deployment) -> Sequence[Revision]:
    """The revisions to look after where nobody deploys: those that are ready, whatever a deploy left behind."""
    ready = [each for each in deployment.revisions.values() if each.state is RevisionState.READY]
    one_alone = any(options_of(each.config).strategy == "recreate" for each in ready)
    return [] if one_alone and len(ready) > 1 else ready


def waiting(deployment: Deployment) -> Outcome:
    """The answer where there is nothing to look after."""
    told = left_over(deployment)
    return Outcome(Result.DRIFT, told[0]) if told else Outcome(Result.IN_SYNC, "no deploy has ended well yet")


def left_over(deployment: Deployment) -> list[str]:
    """That a deploy was cut short. A person asked for it, so a person goes on with it."""
    left = cut_short(deployment)
    return [] if left is None else [told_of(left)]


def unwell(there: Iterable[ContainerSeen], ready: Sequence[Revision], prefix: str) -> list[str]:
    """What is told of containers that serve, and left to a person or to the engine."""
    seen = list(there)
    looked_after = [each for revision in ready for each in of_revision(seen, revision, prefix)]
    stopped = [f"{each.name} is {each.state}" for each in looked_after if each.state != "running"]
    return stopped + [f"{each.name} is unhealthy" for each in looked_after if each.health == "unhealthy"]


def behind(tools: EngineTools, workload: Workload, ready: Sequence[Revision]) -> list[str]:
    """What of the declaration does not serve yet, and which secrets would be missed by a container made anew."""
    declared = options_of(workload.source_config)
    serve = [options_of(each.config) for each in ready]
    used = {name for each in (declared, *serve) for name in each.secrets.values()}
    if not used:
        return [] if declared in serve else ["deploy the declaration"]
    seen = tools.secrets(workload)
    told = [f"secret {name} is not stored" for name in sorted(used - set(seen))]
    told += [f"secret {name} cannot be read: {each.trouble}" for name, each in seen.items() if each.trouble]
    if declared not in serve:
        return ["deploy the declaration", *told]
    if tools.declared_digest(workload) not in {each.config_digest for each in ready}:
        return ["deploy the declaration: a secret of it has another value now", *told]
    return told
