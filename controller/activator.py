"""From what is declared to what is in force: activations are built here, and swapped in while everything runs."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from controller.clock import Clock
from controller.declared.declaration import Declared
from controller.declared.reload_status import ReloadStatus
from controller.declared.reloaded import Prepared
from controller.engine.client import EngineClient
from controller.labels import LabelNames
from controller.logs import configure_logs
from controller.loop.activations import Activations
from controller.loop.converge import ConvergeLimits, Converger
from controller.loop.lease import Candidate, LeaseKeeper, lease_seconds
from controller.loop.memory import Memory
from controller.loop.schedule import Loop
from controller.loop.status import LoopStatus
from controller.loop.tick import Activation
from controller.opening import register_host
from controller.plugins.registry import Registry
from controller.settings import Settings, clamp_interval
from store.database import Database
from store.declared import Plan, apply_declared
from store.leases import Lease

COMMAND_LEASE_SECONDS = 5.0


def candidate_for(settings: Settings, address: str, control_token: str) -> Candidate:
    """A controller that stands for its host, under a new random name."""
    ttl = lease_seconds(clamp_interval(settings.interval_seconds))
    return Candidate(settings.host, secrets.token_hex(16), ttl, address, control_token)


def command_candidate(settings: Settings) -> Candidate:
    """A single command that runs one pass; who waits for it need not wait long if it is killed."""
    return Candidate(settings.host, secrets.token_hex(16), COMMAND_LEASE_SECONDS)


def instance_id(owner: str) -> str:
    """What names a running controller in answers: the beginning of the random name that it leads under (G10)."""
    return owner[:12]


def converge_limits(settings: Settings) -> ConvergeLimits:
    """How much of a tick plugins may take."""
    return ConvergeLimits(
        workers=settings.plugin_workers,
        deadline_seconds=settings.plugin_deadline_seconds,
        pass_seconds=min(settings.plugin_deadline_seconds * 1.25, clamp_interval(settings.interval_seconds)),
    )


def first_activation(
    settings: Settings,
    database: Database,
    engine: EngineClient,
    lease: Callable[[], Lease],
    *,
    registry: Registry,
    clock: Clock,
    interrupted: Callable[[], bool] = lambda: False,
) -> Activation:
    """All that one pass works with, for a process that starts."""
    converger = Converger(registry, converge_limits(settings), chance=random.Random(), monotonic=clock.monotonic)
    names = LabelNames(settings.label_prefix)
    return Activation(settings.host, names, database, engine, converger, lease, interrupted)


@dataclass(frozen=True, slots=True)
class Running:
    """What a new activation is put into."""

    activations: Activations
    loop: Loop
    status: LoopStatus
    keeper: LeaseKeeper
    endpoint: str


class Activator:
    """Builds the next activation from the one in force. Used by one worker at a time."""

    def __init__(
        self,
        running: Running,
        database: Database,
        told: ReloadStatus,
        now: Callable[[], datetime],
        started_with: Settings,
    ) -> None:
        """:param started_with: what is in force before the first activation."""
        self._running = running
        self._database = database
        self._told = told
        self._now = now
        self._applied = started_with

    def build(self, declared: Declared) -> Prepared:
        """Build all aside, and write the manifests' workloads in one transaction.

        :raises StoreError: the store refuses or fails; nothing is changed.
        """
        settings, before = declared.settings, self._running.activations.current()
        names = LabelNames(settings.label_prefix)
        activation = replace(
            before,
            names=names,
            converger=before.converger.under(converge_limits(settings)),
            memory=before.memory if names == before.names else Memory(),
        )
        plan = self._apply_manifests(declared)
        if self._applied.interval_seconds != settings.interval_seconds:
            register_host(self._database, settings, self._running.endpoint)
        return Prepared(
            swap=lambda: self._swap(activation, settings),
            summary=self._summary(declared, plan),
            changed=not plan.empty,
            unfinished=settings.manifests_prune and bool(plan.kept),
        )

    def _apply_manifests(self, declared: Declared) -> Plan:
        if declared.workloads is None:
            return Plan()
        settings = declared.settings
        plan = apply_declared(
            self._database, declared.workloads, settings.host, self._now(), prune=settings.manifests_prune
        )
        self._told.record_plan(plan)
        return plan

    def _summary(self, declared: Declared, plan: Plan) -> str:
        old, new = self._applied.live(), declared.settings.live()
        told = [f"{name} {old[name]} -> {new[name]}" for name in sorted(new) if new[name] != old[name]]
        if not plan.empty or plan.kept:
            told.append(f"workloads: {plan.summary}")
        if declared.restart_needed:
            told.append(f"after a restart: {', '.join(declared.restart_needed)}")
        return "; ".join(told) or "nothing to change"

    def _swap(self, activation: Activation, settings: Settings) -> None:
        interval = clamp_interval(settings.interval_seconds)
        self._running.activations.swap(activation, settings.reload_drain_seconds)
        self._running.loop.set_interval(interval)
        self._running.status.set_interval(interval)
        self._running.keeper.set_ttl(lease_seconds(interval))
        self._running.loop.request()
        before, self._applied = self._applied, settings
        if before.log_level != settings.log_level:
            configure_logs(settings.log_level, settings.log_format)
