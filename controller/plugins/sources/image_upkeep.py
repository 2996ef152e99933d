"""What `reconcile` looks after, and what it says. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from controller.plugins.contract import ContainerSeen, Deployment, Outcome, Result, Revision, RevisionState
from controller.plugins.sources.image_plan import of_revision, options_of

_UNDER_WAY = {RevisionState.STAGED, RevisionState.WARMING, RevisionState.DRAINING}


def serving(deployment: Deployment) -> Sequence[Revision]:
    """The revisions to look after; none while a deploy is under way, whose containers are its own business."""
    states = {each.state for each in deployment.revisions.values()}
    ready = [each for each in deployment.revisions.values() if each.state is RevisionState.READY]
    one_alone = any(options_of(each.config).strategy == "recreate" for each in ready)
    return [] if states & _UNDER_WAY or (one_alone and len(ready) > 1) else ready


def unwell(there: Iterable[ContainerSeen], ready: Sequence[Revision], prefix: str) -> list[str]:
    """What is told of containers that serve, and left to a person or to the engine."""
    seen = list(there)
    looked_after = [each for revision in ready for each in of_revision(seen, revision, prefix)]
    stopped = [f"{each.name} is {each.state}" for each in looked_after if each.state != "running"]
    return stopped + [f"{each.name} is unhealthy" for each in looked_after if each.health == "unhealthy"]


def outcome_of(repaired: Sequence[str], drifts: Sequence[str]) -> Outcome:
    """The answer: what was repaired, and what is left."""
    if repaired:
        return Outcome(Result.REPAIRED, "; ".join([*repaired, *drifts]))
    return Outcome(Result.DRIFT, "; ".join(drifts)) if drifts else Outcome(Result.IN_SYNC)
