"""What an intent becomes: a deploy of what is declared, or of what a trigger found."""

from __future__ import annotations

from collections.abc import Callable

from controller.plugins.contract import Workload
from controller.rollout.rollouts import Deployed, DeployRequest, Rollouts
from store.triggers import Owed


def deploys_by(rollouts: Rollouts) -> Callable[[Workload, Owed], Deployed]:
    """The ``deploy`` of :class:`~controller.triggers.dispatcher.DispatchHooks`."""

    def deploy(workload: Workload, owed: Owed) -> Deployed:
        found = (owed.reference, owed.digest) if owed.reference else None
        return rollouts.deploy(DeployRequest(workload.id, found=found, actor=owed.actor, reason=owed.reason))

    return deploy
