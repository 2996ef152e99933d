"""`/api/v1/config`: the controller config under compare-and-swap, and what became of it (G, O4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Body, Response

from controller.declared.config import ConfigStore, config_envelope, patch_config, set_config
from controller.declared.reload_status import ReloadStatus
from controller.declared.reloaded import Reloaded
from controller.errors import ReloadFailed
from controller.http.auth import Access
from controller.http.guards import IfMatch, generation_of, guarded_by
from controller.http.problems import answers
from controller.settings_sources import config_schema
from store.records import ConfigDocument

RELOAD_SECONDS = 10.0
AUTHOR = "API"

_PATCH_TYPES = {"requestBody": {"content": {"application/merge-patch+json": {"schema": {"type": "object"}}}}}


class Worker(Protocol):
    """What puts a config into force."""

    def reload(self, reason: str, timeout_seconds: float) -> Reloaded: ...


@dataclass(frozen=True, slots=True)
class ConfigContext:
    """What these routes need. ``instance_id`` names this process."""

    host: str
    instance_id: str
    store: ConfigStore
    status: ReloadStatus
    worker: Worker


def build_config(context: ConfigContext, access: Access) -> APIRouter:
    """The routes of the config."""
    always: dict[str, Any] = {
        "prefix": "/api/v1/config",
        "tags": ["config"],
        "responses": answers(401, 403, 422, 503),
    }
    reads = APIRouter(route_class=guarded_by(access.check_read), **always)
    writes = APIRouter(route_class=guarded_by(access.check_write), **always)
    _add_reads(reads, context)
    _add_writes(writes, context)
    together = APIRouter()
    for each in (reads, writes):
        together.include_router(each)
    return together


def _add_reads(router: APIRouter, context: ConfigContext) -> None:
    @router.get("", summary="The controller config with its generation; secrets are hidden.")
    def get_config(response: Response) -> dict[str, Any]:
        return _shown(context, context.store.read(), response)

    @router.get("/status", summary="What is in force since when, and what went wrong last.")
    def status() -> dict[str, Any]:
        return context.status.as_dict()

    @router.get("/history", summary="The generations that are kept, newest first.")
    def history() -> dict[str, Any]:
        kept = context.store.history()
        return {"items": [config_envelope(each, context.store, context.host, context.instance_id) for each in kept]}

    @router.get("/schema", summary="JSON schema of the config, for editors and forms.")
    def schema() -> dict[str, Any]:
        return config_schema()


def _add_writes(router: APIRouter, context: ConfigContext) -> None:
    @router.get("/diagnostic", summary="As the config, with the paths of the files that hold it.")
    def get_diagnostic(response: Response) -> dict[str, Any]:
        return _shown(context, context.store.read(), response, diagnostic=True)

    @router.put("", summary="Replace the whole config.", responses=answers(400, 412))
    def put_config(body: dict[str, Any], response: Response, match: IfMatch = None) -> dict[str, Any]:
        return _changed(context, response, lambda expected: _set(context, body, expected), match)

    @router.patch(
        "",
        summary="Change it by a JSON Merge Patch (RFC 7396).",
        openapi_extra=_PATCH_TYPES,
        responses=answers(400, 412),
    )
    def patch(
        body: Annotated[dict[str, Any], Body(media_type="application/merge-patch+json")],
        response: Response,
        match: IfMatch = None,
    ) -> dict[str, Any]:
        return _changed(context, response, lambda expected: _patch(context, body, expected), match)


def _set(context: ConfigContext, body: Mapping[str, Any], expected: int | None) -> ConfigDocument:
    return set_config(context.store, body, author=AUTHOR, expected_generation=expected)


def _patch(context: ConfigContext, body: Mapping[str, Any], expected: int | None) -> ConfigDocument:
    return patch_config(context.store, body, author=AUTHOR, expected_generation=expected)


def _changed(
    context: ConfigContext, response: Response, change: Callable[[int | None], ConfigDocument], match: str | None
) -> dict[str, Any]:
    """Store, have it put into force, and answer when that is over; it is stored whatever becomes of the reload."""
    stored = change(generation_of(match))
    return _shown(context, stored, response) | {"reload": _reloaded(context)}


def _reloaded(context: ConfigContext) -> dict[str, str]:
    try:
        done = context.worker.reload("API", RELOAD_SECONDS)
    except TimeoutError:
        return {"result": "pending", "detail": f"not over after {RELOAD_SECONDS:g} s; see /api/v1/config/status"}
    except ReloadFailed as error:
        return {"result": "error", "detail": str(error)}
    return {"result": str(done.result), "detail": done.detail}


def _shown(
    context: ConfigContext, document: ConfigDocument, response: Response, *, diagnostic: bool = False
) -> dict[str, Any]:
    response.headers["ETag"] = f'"{document.generation}"'
    return config_envelope(document, context.store, context.host, context.instance_id, diagnostic=diagnostic)
