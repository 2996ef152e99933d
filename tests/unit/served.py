"""The HTTP application over a loop that runs passes on request."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partialmethod
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient, Response

from controller.clock import Clock
from controller.declared.config import ConfigTable
from controller.declared.reload_status import ReloadStatus
from controller.declared.reloaded import ReloadAnswer, Reloaded, ReloadResult
from controller.engine.client import EngineClient
from controller.errors import TallydError
from controller.http.app import HttpContext, build_app
from controller.http.auth import Access
from controller.http.config import ConfigContext
from controller.http.history import HistoryContext
from controller.http.reload import ReloadAccess
from controller.loop.publish import publish_metrics
from controller.loop.report import TickReport
from controller.loop.schedule import Loop, LoopHooks
from controller.loop.status import LoopStatus
from controller.metrics import Metrics
from controller.plugins.registry import Registry, load_registry
from controller.rollout.jobs import DeployJobs
from controller.rollout.rollouts import Rollouts
from controller.rollout.secrets import Secrets
from controller.triggering import Ground, Triggering
from controller.triggers.dispatcher import Dispatcher
from store.database import Database
from tests.builders import HOST, NOW
from tests.harness import wait_until
from tests.rollouts import any_engine
from tests.unit.passes import Passes, Times

TOKEN = "the right token!"
CONTROL = "the control token"
RELOAD_TOKEN = "the token of the reload webhook!"
HERE = "c0ffee" + "0" * 34
REGISTRY = load_registry()


def dispatcher_of(database: Database, registry: Registry, clock: Clock) -> Dispatcher:
    """The one dispatcher."""
    rollouts = Rollouts(database, registry, HOST, clock.now, check_engine=any_engine)
    return Triggering(Ground(registry, database, HOST, {}), rollouts, Metrics(), lambda: True, clock).dispatcher


def deploys_of(database: Database, registry: Registry, now: Callable[[], datetime]) -> DeployJobs:
    """Deploys that are asked for over HTTP."""
    halt = threading.Event()
    return DeployJobs(Rollouts(database, registry, HOST, now, halt, check_engine=any_engine), now, halt)


class Browser:
    """Requests to an application, without a network."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    def request(self, method: str, path: str, **options: Any) -> Response:
        """One request, and its answer."""

        async def ask() -> Response:
            async with AsyncClient(transport=ASGITransport(app=self._app), base_url="http://tallyd") as client:
                return await client.request(method, path, **options)

        return asyncio.run(ask())

    get = partialmethod(request, "GET")
    put = partialmethod(request, "PUT")
    patch = partialmethod(request, "PATCH")
    post = partialmethod(request, "POST")
    delete = partialmethod(request, "DELETE")


@dataclass
class Reloads:
    """A reloader that answers what it is told to, and counts."""

    status: ReloadStatus
    asked: list[str] = field(default_factory=list)
    error: TallydError | None = None

    def holds(self, commit: str) -> bool:
        """For the webhook."""
        return commit == HERE

    def reload(self, *asked: object) -> Any:
        """For the webhook, and for the API."""
        self.asked.append(str(asked[0]))
        if self.error is not None:
            raise self.error
        if len(asked) == 1:
            return ReloadAnswer(True, "fast-forwarded", "", HERE, None, 3)
        reloaded = Reloaded(ReloadResult.ACTIVATED, 1, "interval_seconds 30.0 -> 5.0", NOW)
        self.status.record(reloaded, ("listen",))
        return reloaded


@dataclass
class Served:
    """A loop that runs passes on request, and the application over what it leaves behind."""

    passes: Passes
    client: EngineClient
    host_holds: list[str] = field(default_factory=list)
    times: Times = field(default_factory=Times)
    metrics: Metrics = field(default_factory=Metrics)
    key_file: Path | None = None

    def __post_init__(self) -> None:
        self.status = LoopStatus(30.0, lambda: self.times.monotonic)
        hooks = LoopHooks(lambda: self.passes.activation, self._record, self.client.cancel)
        self.loop = Loop(hooks, self.times.clock, 300.0)
        self.config = ConfigTable(self.passes.activation.database, lambda: NOW)
        self.reload_status = ReloadStatus(lambda: NOW)
        self.reloading = Reloads(self.reload_status)
        self.triggers = dispatcher_of(self.passes.activation.database, REGISTRY, self.times.clock)

    def _record(self, report: TickReport) -> None:
        self.status.record(report)
        publish_metrics(report, self.metrics, {})

    def browser(self, *, token: str | None = TOKEN, on_loopback: bool = True) -> Browser:
        """A client of the application with that access."""
        context = HttpContext(
            host=HOST,
            label_prefix=lambda: "tallyd",
            database=self.passes.activation.database,
            registry=REGISTRY,
            loop=self.loop,
            status=self.status,
            metrics=self.metrics,
            access=Access(token, on_loopback, CONTROL),
            now=lambda: self.times.now,
            longest_silence_seconds=lambda: 60.0,
            deploys=deploys_of(self.passes.activation.database, REGISTRY, (lambda: self.times.now)),
            reloader=self.reloading,
            reload_access=ReloadAccess((RELOAD_TOKEN,)),
            config=ConfigContext(HOST, "instance", self.config, self.reload_status, self.reloading),
            history=HistoryContext(
                HOST, self.passes.activation.database, lambda: self.times.now, host_holds=lambda: self.host_holds
            ),
            secrets=Secrets(self.passes.activation.database, self.key_file),
            triggers=self.triggers,
        )
        return Browser(build_app(context))

    def booted(self) -> Browser:
        """After the boot pass, as its only user on loopback."""
        self.loop.start()
        wait_until(lambda: self.status.last, what="the boot pass")
        return self.browser()
