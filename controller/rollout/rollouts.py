"""The one place that deploys: for the command line, the API and triggers alike.

One deploy of a workload at a time, in whatever process. What is stored decides what comes next, so a deploy that was
killed, or that stopped with its process, is resumed by deploying again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from controller.errors import NotFound, PluginError, VerbFailed
from controller.plugins.registry import Registry
from controller.rollout.back import one_before, split_is_ready
from controller.rollout.chain import Archive, Course, Drain, Shift, Stage, Step, Warm
from controller.rollout.deploy import deployer_of, known_revision, revision_for
from controller.rollout.deployer import Deployment, Revision, TrafficSplit
from controller.rollout.gates import Gates, gate_of
from controller.rollout.ledger import Asked, StoreLedger, read_deployment
from controller.rollout.tellings import split_events
from controller.rollout.turns import HeldTurn, Patience, turn_held
from controller.rollout.walker import Gate, Verdict, Walk, Walked, always_open
from controller.telling import tell_history
from store.database import Database
from store.splits import get_split, rollback_split

_DOING = {Stage: "stage", Warm: "warm", Drain: "drain", Archive: "archive"}


@dataclass(frozen=True, slots=True)
class DeployRequest:
    """What is to be deployed, and how; ``actor`` is who asks, such as ``cli:root``, ``api`` or ``trigger:registry``.

    ``revision_id``: a revision to go back to; ``None`` for what is declared now. ``found``: reference and digest that
    the declared image is to stand for, where somebody has looked already; a source that freezes files looks itself.
    """

    workload_id: str
    revision_id: str | None = None
    course: Course = field(default_factory=Course)
    gates: Gates = field(default_factory=Gates)
    actor: str = ""
    reason: str = ""
    found: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Deployed:
    """How a deploy ended. ``made``: the revision is a new one."""

    workload_id: str
    revision_id: str
    made: bool
    walked: Walked


@dataclass(frozen=True, slots=True)
class RolledBack:
    """How a rollback ended: the split that is stored now, and the deploy that it took, if it took one."""

    split: TrafficSplit
    deployed: Deployed | None


class Rollouts:
    """Deploys on one host, from any thread.

    :param halt: set when this process stops: deploys end where they are, with nothing marked (R3).
    :param check_engine: raises where the engine is another one than this host is bound to (R18).
    :param make_gate: makes what is looked at of what was asked for; it waits with the function that it is given.
    """

    def __init__(
        self,
        database: Database,
        registry: Registry,
        host: str,
        now: Callable[[], datetime],
        halt: threading.Event | None = None,
        make_gate: Callable[[Gates, Callable[[float], bool]], Gate | None] = gate_of,
        *,
        check_engine: Callable[[], None],
    ) -> None:
        self._database = database
        self._registry = registry
        self._host = host
        self._now = now
        self._halt = halt or threading.Event()
        self._make_gate = make_gate
        self.check_engine = check_engine

    def deploy(
        self,
        request: DeployRequest,
        told: Callable[[Step], None] = lambda _step: None,
        *,
        chose: Callable[[Revision, bool], None] = lambda _revision, _made: None,
        wait_seconds: float = 0.0,
    ) -> Deployed:
        """Deploy; returns when the revision serves, or when it is known that it does not.

        :param told: hears of each step before it is done.
        :param chose: hears which revision it is, and whether it was made just now.
        :param wait_seconds: how long to wait for another deploy of the same workload.
        :raises DeployUnderWay: somebody else deploys this workload.
        :raises DeployInterrupted: this process stops; deploy again.
        :raises NotFound: no such workload, or it is declared for another host.
        :raises PluginError: its source is not installed, or does not deploy.
        :raises EngineRefused: the engine is another one than this host is bound to; nothing was done.
        :raises VerbFailed: nobody can tell what the declaration stands for.
        :raises StoreError: the store failed, or somebody else changed the rollout meanwhile; deploy again.
        """
        workload = read_deployment(self._database, request.workload_id, self._host).workload
        deployer = deployer_of(self._registry, workload)
        self.check_engine()
        by = f"{request.actor or 'somebody'} deploys"
        with turn_held(self._database, workload.id, by, patience=Patience(wait_seconds), halt=self._halt) as held:
            if request.revision_id is not None:
                revision, made = known_revision(self._database, workload.id, request.revision_id), False
            else:
                workload = read_deployment(self._database, workload.id, self._host).workload
                revision, made = revision_for(self._database, deployer, workload, self._now, request.found)
            chose(revision, made)
            held.say(f"{by} {revision.id}")

            def heard(step: Step) -> None:
                held.say(f"{by} {revision.id}: {told_step(step)}")
                told(step)

            asked = Asked(request.actor, request.reason)
            ledger = StoreLedger(self._database, workload.id, self._host, self._now, held.turn, asked)
            gate = _told_gate(self._make_gate(request.gates, self._halt.wait), ledger)
            walk = Walk(ledger, deployer, revision.id, request.course, gate, heard, lambda: self._halted(held))
            ledger.tell_begun(revision, made=made)
            return Deployed(workload.id, revision.id, made, walk.walk())

    def check(self, request: DeployRequest) -> None:
        """Whether it can be asked for at all; the deploy itself checks again.

        :raises NotFound: no such workload, or it is declared for another host.
        :raises PluginError: its source is not installed, or does not deploy.
        :raises RevisionConflict: there is no such revision to go back to.
        """
        workload = read_deployment(self._database, request.workload_id, self._host).workload
        deployer_of(self._registry, workload)
        if request.revision_id is not None:
            known_revision(self._database, workload.id, request.revision_id)

    def enforce_split(self, split: TrafficSplit) -> bool:
        """Have the routers of this host follow a split that was stored; whether that changed anything.

        Nothing is to do where the source does not deploy, or where another host has the workload, and does it.

        :raises VerbFailed: they do not follow yet; a running controller has them do so at its next pass.
        :raises StoreError: the store cannot be read.
        """
        try:
            deployment = read_deployment(self._database, split.workload_id, self._host)
            deployer = deployer_of(self._registry, deployment.workload)
        except (NotFound, PluginError):
            return False
        try:
            self.check_engine()
            return deployer.apply_traffic_split(deployment).changed
        except Exception as error:
            raise VerbFailed(
                f"generation {split.generation} of the split of workload {split.workload_id!r} is stored, but "
                f"routers do not follow it yet: {error}"
            ) from error

    def roll_back(
        self,
        request: DeployRequest,
        told: Callable[[Step], None] = lambda _step: None,
        *,
        chose: Callable[[Revision, bool], None] = lambda _revision, _made: None,
        wait_seconds: float = 0.0,
    ) -> RolledBack:
        """Go back by one step: to the split before, or, where that is not up, by a deploy of the one before.

        :raises SplitNotFound: the workload has no split.
        :raises RevisionConflict: nothing is left to go back to.
        :raises VerbFailed: the split before is stored, but routers do not follow it yet.
        """
        back = self.step_back(request)
        if isinstance(back, TrafficSplit):
            return RolledBack(back, None)
        deployed = self.deploy(back, told, chose=chose, wait_seconds=wait_seconds)
        return RolledBack(get_split(self._database, request.workload_id), deployed)

    def step_back(self, request: DeployRequest) -> TrafficSplit | DeployRequest:
        """Set the split before again, where all of it is up; else nothing is done, and the deploy told that it takes.

        :raises SplitNotFound: the workload has no split.
        :raises RevisionConflict: nothing is left to go back to.
        :raises VerbFailed: the split before is stored, but routers do not follow it yet.
        """
        deployment = read_deployment(self._database, request.workload_id, self._host)
        if not split_is_ready(deployment):
            return replace(request, revision_id=one_before(deployment).id)
        assert deployment.split is not None
        seen, now = deployment.split.generation, self._now()
        split = rollback_split(self._database, request.workload_id, now, expected_generation=seen)
        tell_history(self._database, *split_events(split, now, request.actor, back=True))
        self.enforce_split(split)
        return split

    def _halted(self, held: HeldTurn) -> str:
        return "the process stops" if self._halt.is_set() else held.lost


def _told_gate(gate: Gate | None, ledger: StoreLedger) -> Gate:
    """A gate of which history is told; without one all is let through."""
    if gate is None:
        return always_open

    def looked(deployment: Deployment, revision_id: str) -> Verdict:
        verdict = gate(deployment, revision_id)
        ledger.tell_gate(revision_id, verdict)
        return verdict

    return looked


def told_step(step: Step) -> str:
    """A step for a person: ``stage shop-2``, ``shift traffic: shop-1 90%, shop-2 10%``. Pure."""
    if isinstance(step, Shift):
        return "shift traffic: " + ", ".join(f"{each.revision_id} {percent_of(each.weight)}" for each in step.entries)
    assert isinstance(step, Stage | Warm | Drain | Archive)
    return f"{_DOING[type(step)]} {step.revision.id}"


def percent_of(weight: int) -> str:
    """Basis points → ``10%``, ``0.01%``. Pure."""
    whole, part = divmod(weight, 100)
    return f"{whole}.{part:02}".rstrip("0").removesuffix(".") + "%"
