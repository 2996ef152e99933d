"""Deploys that a source asks for while it reconciles: each on a thread of its own, one at a time for a workload."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime

import structlog

from controller.errors import TallydError
from controller.plugins.registry import Registry
from controller.rollout.rollouts import Deployed, DeployRequest, Rollouts
from store.database import Database
from store.records import Workload

MOST_AT_ONCE = 4

log = structlog.get_logger(__name__)


def asked_of(
    database: Database, registry: Registry, host: str, now: Callable[[], datetime], halt: threading.Event
) -> Callable[[Workload, str], bool]:
    """Who deploys in this process what sources ask for, until it stops."""
    return AskedDeploys(Rollouts(database, registry, host, now, halt).deploy).ask


class AskedDeploys:
    """Who asks is level-triggered: what is lost when the process ends is asked for again by a later pass."""

    def __init__(self, deploy: Callable[[DeployRequest], Deployed]) -> None:
        self._deploy = deploy
        self._lock = threading.Lock()
        self._going_on: set[str] = set()

    def ask(self, workload: Workload, reason: str) -> bool:
        """Have a workload's declaration deployed; returns at once, false where too many are going on."""
        with self._lock:
            if workload.id in self._going_on:
                return True
            if len(self._going_on) >= MOST_AT_ONCE:
                return False
            self._going_on.add(workload.id)
        name = f"deploy-{workload.id}"
        threading.Thread(target=self._run, args=(workload, reason), name=name, daemon=True).start()
        return True

    def _run(self, workload: Workload, reason: str) -> None:
        try:
            done = self._deploy(DeployRequest(workload.id, actor=f"source:{workload.source_kind}", reason=reason))
            log.info(
                "deployed" if done.walked.arrived else "deploy failed",
                workload=workload.id,
                revision=done.revision_id,
                reason=reason,
                detail=done.walked.detail,
            )
        except TallydError as error:
            log.warning("deploy failed", workload=workload.id, reason=reason, error=str(error))
        except Exception:  # a thread ends here; a defect leaves its traceback
            log.exception("deploy failed by a defect", workload=workload.id)
        finally:
            with self._lock:
                self._going_on.discard(workload.id)
