"""Metrics, probes and API on one port. Reads what the loop left behind; the only thing it starts is a pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client.exposition import choose_encoder

from controller import __version__
from controller.errors import (
    Conflict,
    DeployInterrupted,
    EngineCallCancelled,
    ForeignRevision,
    GenerationConflict,
    InvalidSplit,
    LockTimeout,
    NotFound,
    PluginError,
    RowRejected,
    SecretsKeyInvalid,
    SplitGenerationConflict,
    StandingBy,
    StoreUnavailable,
    TallydError,
    UsageError,
    WorkloadConflict,
)
from controller.http.api import ApiContext, build_api
from controller.http.auth import Access
from controller.http.chains import build_chains
from controller.http.config import ConfigContext, build_config
from controller.http.deploys import build_deploys
from controller.http.history import HistoryContext, build_history
from controller.http.plugins import build_plugins
from controller.http.reload import ReloadAccess, Reloader, build_reload
from controller.http.rollout import build_rollout
from controller.http.routers import build_routers
from controller.http.secrets import build_secrets
from controller.http.triggers import Triggers, build_hooks, build_triggers
from controller.loop.schedule import Loop
from controller.loop.status import LoopStatus
from controller.metrics import Metrics
from controller.plugins.registry import Registry
from controller.rollout.jobs import DeployJobs
from controller.rollout.secrets import Secrets
from store.database import Database


@dataclass(frozen=True, slots=True)
class HttpContext:
    """What the HTTP surface shows. ``longest_silence_seconds``: the loop is taken for hung after it."""

    host: str
    label_prefix: Callable[[], str]
    database: Database
    registry: Registry
    loop: Loop
    status: LoopStatus
    metrics: Metrics
    access: Access
    now: Callable[[], datetime]
    longest_silence_seconds: Callable[[], float]
    deploys: DeployJobs
    reloader: Reloader
    reload_access: ReloadAccess
    config: ConfigContext
    history: HistoryContext
    secrets: Secrets
    triggers: Triggers
    traefik_asks: Callable[[], None] = lambda: None


_STATUS_OF_ERROR: tuple[tuple[type[TallydError], int], ...] = (
    (WorkloadConflict, 412),
    (GenerationConflict, 412),
    (SplitGenerationConflict, 412),
    (NotFound, 404),
    (Conflict, 409),
    (UsageError, 422),
    (RowRejected, 422),
    (InvalidSplit, 422),
    (PluginError, 422),
    (ForeignRevision, 422),
    (StoreUnavailable, 503),
    (StandingBy, 503),
    (LockTimeout, 503),
    (SecretsKeyInvalid, 503),
    (DeployInterrupted, 503),
    (EngineCallCancelled, 503),
    (DeployInterrupted, 503),
    (TallydError, 500),
)


def build_app(context: HttpContext) -> FastAPI:
    """The application; nothing runs yet."""
    app = FastAPI(
        title="tallyd",
        version=__version__,
        docs_url="/api/docs",
        redoc_url=None,
        openapi_url="/api/openapi.json",
    )
    app.add_exception_handler(TallydError, _tallyd_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.include_router(build_api(_api_context(context)))
    app.include_router(build_chains(context.database, context.registry, context.host, context.now, context.access))
    app.include_router(build_secrets(context.secrets, context.now, context.access))
    app.include_router(build_rollout(context.database, context.now, context.access, context.deploys.rollouts))
    app.include_router(build_deploys(context.database, context.deploys, context.access))
    app.include_router(build_history(context.history, context.access))
    app.include_router(build_config(context.config, context.access))
    routers = build_routers(context.database, context.host, context.registry, context.access, context.traefik_asks)
    app.include_router(routers)
    app.include_router(build_triggers(context.database, context.triggers, context.now, context.access))
    app.include_router(build_plugins(context.registry, context.access))
    app.router.routes.extend(build_hooks(context.triggers))
    app.router.routes.extend(build_reload(context.reload_access, context.reloader))
    _add_probes(app, context)
    return app


def _api_context(context: HttpContext) -> ApiContext:
    return ApiContext(
        host=context.host,
        label_prefix=context.label_prefix,
        database=context.database,
        registry=context.registry,
        access=context.access,
        now=context.now,
        force=context.loop.force,
    )


def _add_probes(app: FastAPI, context: HttpContext) -> None:
    red: dict[int | str, dict[str, Any]] = {503: {"description": "No; the body says why"}}

    @app.get(
        "/-/healthy", tags=["probes"], summary="Is the loop alive? Touches neither engine nor store.", responses=red
    )
    def healthy() -> Response:
        silence = context.loop.heartbeat_age_seconds
        alive = silence <= context.longest_silence_seconds()
        body = {"healthy": alive, "heartbeat_age_seconds": round(silence, 3)}
        return JSONResponse(body, 200 if alive else 503)

    @app.get("/-/ready", tags=["probes"], summary="Can the index be relied on?", responses=red)
    def ready() -> Response:
        why = [*context.config.status.not_ready_because(), *context.status.not_ready_because()]
        listed_at = context.status.listed_at
        body = {
            "ready": not why,
            "reasons": why,
            "last_listed_at": listed_at.isoformat() if listed_at else None,
            "holds": context.history.host_holds(),
        }
        return JSONResponse(body, 503 if why else 200)

    @app.get("/metrics", tags=["metrics"], summary="Prometheus metrics.", response_class=PlainTextResponse)
    def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return Response(encode(context.metrics.registry), media_type=content_type)


def _invalid_request(_request: Request, error: Exception) -> Response:
    # FastAPI's own handler repeats the body, and fails where that is no UTF-8.
    assert isinstance(error, RequestValidationError)
    problems = (f"{'.'.join(str(step) for step in each['loc'])}: {each['msg']}" for each in error.errors())
    return JSONResponse({"detail": "; ".join(problems)}, 422)


def _tallyd_error(_request: Request, error: Exception) -> Response:
    status = next(code for kind, code in _STATUS_OF_ERROR if isinstance(error, kind))
    body: dict[str, object] = {"detail": str(error)}
    if isinstance(error, WorkloadConflict | GenerationConflict | SplitGenerationConflict):
        body |= {"expected": error.expected, "current": error.current}
    return JSONResponse(body, status)
