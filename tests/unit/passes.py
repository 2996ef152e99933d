"""What it takes to run a pass in a test: an activation, and clocks that go only when they are told."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from controller.clock import Clock
from controller.engine.client import EngineClient, Listing
from controller.labels import LabelNames
from controller.loop.converge import ConvergeLimits, Converger
from controller.loop.report import TickReport
from controller.loop.tick import Activation, run_tick
from controller.plugins.registry import Registry
from store.database import Database
from store.index import list_containers
from store.leases import acquire_lease
from store.records import ContainerRow
from store.workloads import apply_workloads
from tests.builders import HOST, NOW, workload

SITE = workload("www", "site", ref="site-1")
STACK = workload("blog", "stack")
PROJECT = workload("shop", "project")
OF_SITE = {"tallyd.static-site": "site-1"}
OF_STACK = {"com.docker.compose.project": "tallyd-blog", "com.docker.compose.service": "web"}
OF_PROJECT = {"tallyd.workload.id": "shop"}


class Times:
    """Both clocks; :meth:`go_on` moves them together."""

    def __init__(self) -> None:
        self.now: datetime = NOW
        self.monotonic = 1000.0

    def go_on(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)
        self.monotonic += seconds

    @property
    def clock(self) -> Clock:
        """As a pass takes it."""
        return Clock(now=lambda: self.now, monotonic=lambda: self.monotonic)


class Meanwhile:
    """A real client; between the beginning and the end of each of its whole listings something else happens."""

    def __init__(self, client: EngineClient, act: Callable[[], object]) -> None:
        self._client = client
        self._act = act

    def begin_listing(self, only: Collection[str] | None = None) -> Callable[[], Listing]:
        """As the client's."""
        finish = self._client.begin_listing(only)
        if only is not None:
            return finish

        def finish_later() -> Listing:
            listing = finish()
            self._act()
            return listing

        return finish_later


def activation_for(
    database: Database, engine: Any, registry: Registry | None = None, limits: ConvergeLimits | None = None
) -> Activation:
    """An activation under a lease of its own."""
    lease = acquire_lease(database, HOST, f"tests {random.random()}", 3600.0, holder_is_dead=True)
    converger = Converger(registry or Registry(), limits or ConvergeLimits(), chance=random.Random(7))
    return Activation(HOST, LabelNames(), database, engine, converger, lambda: lease)


@dataclass
class Passes:
    """Passes of one host, one after the other."""

    activation: Activation
    times: Times

    @classmethod
    def of(cls, database: Database, client: EngineClient, registry: Registry | None = None) -> Passes:
        """Of a store where a site, a stack and a project are declared."""
        apply_workloads(database, [SITE, STACK, PROJECT], NOW)
        return cls(activation_for(database, client, registry), Times())

    def tick(self, after_seconds: float = 30.0) -> TickReport:
        """One pass, so long after the one before."""
        self.times.go_on(after_seconds)
        return run_tick(self.activation, self.times.clock)

    @property
    def rows(self) -> dict[str, ContainerRow]:
        """The index by row id."""
        return {row.id: row for row in list_containers(self.activation.database)}

    @property
    def states(self) -> dict[str, str]:
        """Row id → state."""
        return {row_id: row.state for row_id, row in self.rows.items()}
