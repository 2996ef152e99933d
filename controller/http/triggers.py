"""`/api/v1/triggers`, firing one by hand, and the webhook of each workload, `POST /-/hooks/WORKLOAD`.

A call of the webhook is answered as soon as it is stored, since forges wait a few seconds only. Its body is read
before anybody knows whether the caller may call, because the signature is over it, so that it is bounded.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from datetime import datetime
from typing import Annotated, Any, Protocol

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.responses import Response as PlainResponse
from starlette.routing import BaseRoute, Route

from controller.errors import StandingBy, StoreError
from controller.http.auth import Access
from controller.http.bodies import Early, read_body
from controller.http.guards import guarded_by
from controller.http.problems import answers
from controller.plugins.contract import HookMalformed, HookRefused, HookRequest
from controller.triggers.answers import UNDER_WAY, Answer, Answered
from controller.views import trigger_view
from store.database import Database
from store.triggers import list_bindings

PATH = "/-/hooks/{workload}"
MOST_BODY_BYTES = 1024 * 1024
LONGEST_WAIT_SECONDS = 110.0
_MOST_AT_ONCE = 8
_RETRY_SECONDS = 10


class Triggers(Protocol):
    """What dispatches."""

    def by_hand(self, workload_id: str, reason: str, actor: str) -> Future[Answered]:
        """See :class:`~controller.triggers.dispatcher.Dispatcher`."""

    def receive(self, workload_id: str, request: HookRequest) -> Future[Answered]:
        """See :class:`~controller.triggers.dispatcher.Dispatcher`."""


class FireBody(BaseModel):
    """Why a trigger is fired by hand."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, Field(max_length=200)] = ""


def build_triggers(database: Database, triggers: Triggers, now: Callable[[], datetime], access: Access) -> APIRouter:
    """The routes of the API."""
    always: dict[str, Any] = {"prefix": "/api/v1", "tags": ["triggers"], "responses": answers(401, 403, 503)}
    reads = APIRouter(route_class=guarded_by(access.check_read), **always)
    fires = APIRouter(route_class=guarded_by(access.check_pass), **always)

    @reads.get("/triggers", summary="Each workload's trigger: when it fired last, and what came of it.")
    def list_triggers() -> dict[str, Any]:
        return {"items": [trigger_view(each, now()) for each in list_bindings(database)]}

    @fires.post(
        "/workloads/{workload_id}/trigger",
        summary="Fire a workload's trigger by hand.",
        responses=answers(202, 400, 404, 422),
    )
    def fire(
        workload_id: str,
        response: Response,
        body: FireBody | None = None,
        wait_seconds: Annotated[float, Query(ge=0, le=LONGEST_WAIT_SECONDS)] = 0.0,
    ) -> dict[str, Any]:
        reason = body.reason if body is not None else ""
        told = shown(triggers.by_hand(workload_id, reason, "api"), workload_id, wait_seconds)
        response.status_code = 202 if told["answer"] == UNDER_WAY else 200
        return told

    together = APIRouter()
    for each in (reads, fires):
        together.include_router(each)
    return together


def shown(future: Future[Answered], workload_id: str, wait_seconds: float | None) -> dict[str, Any]:
    """An answer, or that it is not there yet, in the shape that the command line and HTTP share."""
    try:
        answered = future.result(wait_seconds)
    except TimeoutError:
        going_on = "the deploy goes on; tallyd trigger list shows how it ends"
        return {"workload_id": workload_id, "kind": "", "answer": UNDER_WAY, "message": going_on, "revision_id": ""}
    return {
        "workload_id": workload_id,
        "kind": answered.trigger_kind,
        "answer": str(answered.answer),
        "message": answered.message,
        "revision_id": answered.revision_id,
    }


def build_hooks(triggers: Triggers) -> list[BaseRoute]:
    """The webhooks; plain routes, so that nothing reads the body before we do and OpenAPI does not show them."""
    limiter = CapacityLimiter(_MOST_AT_ONCE)  # its own, so that calls that wait keep no read from its thread

    async def hook(request: Request) -> PlainResponse:
        try:
            body = await read_body(request, MOST_BODY_BYTES)
        except ClientDisconnect:
            return _problem(400, "the connection was closed before the end of the body")
        if body is None:
            return Early(_problem(413, f"at most {MOST_BODY_BYTES} bytes are allowed"))
        headers = {name.lower(): value for name, value in request.headers.items()}
        call = HookRequest(headers, body)
        return await to_thread.run_sync(take, triggers, request.path_params["workload"], call, limiter=limiter)

    return [Route(PATH, hook, methods=["POST"], include_in_schema=False)]


def take(triggers: Triggers, workload_id: str, call: HookRequest) -> PlainResponse:
    """Take one call. Whoever proves nothing learns nothing: not even whether there is such a workload."""
    try:
        future = triggers.receive(workload_id, call)
    except HookRefused:
        return _problem(401, "a signature with this workload's secret is needed")
    except HookMalformed as error:
        return _problem(422, str(error))
    except (StandingBy, StoreError) as error:
        told = _problem(503, str(error))
        told.headers["Retry-After"] = str(_RETRY_SECONDS)
        return told
    told_now = shown(future, workload_id, 0.0)
    status = {UNDER_WAY: 202, Answer.ERRORED: 500}.get(told_now["answer"], 200)
    return JSONResponse({name: told_now[name] for name in ("answer", "message")}, status)


def _problem(status: int, detail: str) -> JSONResponse:
    return JSONResponse({"detail": detail}, status)
