"""The HTTP application over a loop that runs passes on request."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partialmethod
from typing import Any

from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient, Response

from controller.engine.client import EngineClient
from controller.http.app import HttpContext, build_app
from controller.http.auth import Access
from controller.loop.publish import publish_metrics
from controller.loop.report import TickReport
from controller.loop.schedule import Loop, LoopHooks
from controller.loop.status import LoopStatus
from controller.metrics import Metrics
from controller.plugins.registry import load_registry
from tests.builders import HOST
from tests.harness import wait_until
from tests.unit.passes import Passes, Times

TOKEN = "the right token!"
CONTROL = "the control token"
REGISTRY = load_registry()


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
    post = partialmethod(request, "POST")
    delete = partialmethod(request, "DELETE")


@dataclass
class Served:
    """A loop that runs passes on request, and the application over what it leaves behind."""

    passes: Passes
    client: EngineClient
    times: Times = field(default_factory=Times)
    metrics: Metrics = field(default_factory=Metrics)

    def __post_init__(self) -> None:
        self.status = LoopStatus(30.0, lambda: self.times.monotonic)
        hooks = LoopHooks(lambda: self.passes.activation, self._record, self.client.cancel)
        self.loop = Loop(hooks, self.times.clock, 300.0)

    def _record(self, report: TickReport) -> None:
        self.status.record(report)
        publish_metrics(report, self.metrics, {})

    def browser(self, *, token: str | None = TOKEN, on_loopback: bool = True) -> Browser:
        """A client of the application with that access."""
        context = HttpContext(
            host=HOST,
            label_prefix="tallyd",
            database=self.passes.activation.database,
            registry=REGISTRY,
            loop=self.loop,
            status=self.status,
            metrics=self.metrics,
            access=Access(token, on_loopback, CONTROL),
            now=lambda: self.times.now,
            longest_silence_seconds=60.0,
        )
        return Browser(build_app(context))

    def booted(self) -> Browser:
        """After the boot pass, as its only user on loopback."""
        self.loop.start()
        wait_until(lambda: self.status.last, what="the boot pass")
        return self.browser()
