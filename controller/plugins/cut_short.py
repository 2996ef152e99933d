"""A deploy that was left in the middle, by a kill or a stop, and what a source does about it.

Only where nobody deploys: ask `EngineTools.busy` first.
"""

from __future__ import annotations

from controller.plugins.contract import IN_THE_MIDDLE, Deployment, EngineTools, Outcome, Result, Revision


def cut_short(deployment: Deployment) -> Revision | None:
    """The newest revision that is on its way, though nobody deploys; none where all have arrived. Pure."""
    found = [each for each in deployment.revisions.values() if each.state in IN_THE_MIDDLE]
    return max(found, key=lambda each: each.sequence, default=None)


def told_of(left: Revision) -> str:
    """For a person, with what to do. Pure."""
    return f"{_said_of(left)}; go on with: tallyd deploy {left.workload_id}"


def go_on(tools: EngineTools, deployment: Deployment, left: Revision, *, follow: bool) -> Outcome:
    """Have the declaration deployed, where changes of it are followed; else tell."""
    if follow and tools.ask_deploy(deployment.workload, "its deploy was cut short"):
        return Outcome(Result.DRIFT, f"{_said_of(left)}; it goes on")
    return Outcome(Result.DRIFT, told_of(left))


def _said_of(left: Revision) -> str:
    return f"the deploy was cut short, revision {left.sequence} is {left.state}"
