"""What an intent becomes: a deploy of what is declared, or of what a trigger found."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from controller.plugins.contract import Workload
from controller.rollout.deploy import revision_recording
from controller.rollout.rollouts import Deployed, DeployRequest, Rollouts
from store.database import Database
from store.triggers import Owed
from store.workloads import get_workload


def deploys_by(
    rollouts: Rollouts, database: Database, now: Callable[[], datetime]
) -> Callable[[Workload, Owed], Deployed]:
    """The ``deploy`` of :class:`~controller.triggers.dispatcher.DispatchHooks`."""

    def deploy(workload: Workload, owed: Owed) -> Deployed:
        revision_id = None
        if owed.reference:
            declared = get_workload(database, workload.id)
            revision_id = revision_recording(database, declared, owed.reference, owed.digest, now)[0].id
        return rollouts.deploy(DeployRequest(workload.id, revision_id, actor=owed.actor, reason=owed.reason))

    return deploy
