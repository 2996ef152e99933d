"""One fake engine with one container in a migrated store, and the real command beside them."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from controller.clock import Clock
from controller.engine.client import EngineClient
from controller.engine.endpoint import Endpoint
from controller.labels import LabelNames
from controller.loop.converge import ConvergeLimits, Converger
from controller.loop.report import TickReport
from controller.loop.tick import Activation, run_tick
from controller.plugins.registry import load_registry
from store import hosts, workloads
from store.database import Database, open_database
from store.leases import acquire_lease
from store.records import Host, Workload, WorkloadKind
from store.schema import migrate
from tests.fakes import FakeDocker

CLOCK = Clock(now=lambda: datetime.now(UTC), monotonic=time.monotonic)
HOST = "web-1"
SITE = Workload("docs", "Docs", WorkloadKind.SITE, "docs.example", source_kind="report", trigger_kind="manual")


@pytest.fixture
def fake() -> Iterator[FakeDocker]:
    """An engine with one container of a site."""
    with FakeDocker() as engine:
        engine.world.run("docs", {"tallyd.static-site": SITE.ref})
        yield engine


@pytest.fixture
def database(sqlite_url: str) -> Iterator[Database]:
    """A store that knows the host and the site."""
    with contextlib.closing(open_database(sqlite_url)) as store:
        migrate(store)
        hosts.register(store, Host(HOST))
        workloads.apply_workloads(store, [SITE], CLOCK.now())
        yield store


@pytest.fixture
def report(fake: FakeDocker, database: Database) -> Iterator[TickReport]:
    """The report of one complete pass."""
    with contextlib.closing(EngineClient(Endpoint(fake.endpoint))) as client:
        converger = Converger(load_registry(), ConvergeLimits(), chance=random.Random(0))
        lease = acquire_lease(database, HOST, "the-docs", 60.0)
        activation = Activation(HOST, LabelNames(), database, client, converger, lambda: lease)
        done = run_tick(activation, CLOCK)
        assert done.complete, done.errors
        yield done


@dataclass(frozen=True, slots=True)
class Done:
    """What a command printed, and its exit code."""

    out: str
    code: int

    @property
    def json(self) -> Any:
        """Its stdout as JSON."""
        return json.loads(self.out)


@pytest.fixture
def tallyd(fake: FakeDocker, sqlite_url: str, report: TickReport, tmp_path: Path) -> Callable[..., Done]:
    """The command, against the fake engine and a store that one pass has filled."""
    settings = {"DOCKER_HOST": fake.endpoint, "TALLYD_DATABASE_URL": sqlite_url, "TALLYD_HOST": report.host}
    program = Path(sysconfig.get_path("scripts")) / "tallyd"

    def run(*arguments: str) -> Done:
        environment = {**os.environ, **settings, "HOME": str(tmp_path)}
        done = subprocess.run([program, *arguments], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode in (0, 1, 3), done.stderr
        return Done(done.stdout, done.returncode)

    return run
