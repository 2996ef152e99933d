"""`/api/v1`: containers, workloads, hosts, and forcing a pass. Every answer says how old its truth is (R21)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Response

from controller.declared.manifests import parse_workload
from controller.errors import UsageError
from controller.http.auth import Access
from controller.http.guards import IfMatch, generation_of, guarded_by
from controller.http.problems import answers
from controller.loop.report import TickReport
from controller.plugins.registry import Registry
from controller.views import container_views, host_view, workload_view
from store import hosts, index, workloads
from store.database import Database

FORCED_PASS_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class ApiContext:
    """What the API needs."""

    host: str
    label_prefix: Callable[[], str]
    database: Database
    registry: Registry
    access: Access
    now: Callable[[], datetime]
    force: Callable[[float], TickReport]


def build_api(context: ApiContext) -> APIRouter:
    """The routes of the API."""
    always: dict[str, Any] = {"prefix": "/api/v1", "responses": answers(401, 403, 503)}
    reads = APIRouter(route_class=guarded_by(context.access.check_read), **always)
    writes = APIRouter(route_class=guarded_by(context.access.check_write), **always)
    passes = APIRouter(route_class=guarded_by(context.access.check_pass), **always)
    _add_reads(reads, context)
    _add_writes(writes, context)
    _add_passes(passes, context)
    together = APIRouter()
    for each in (reads, writes, passes):
        together.include_router(each)
    return together


def _add_reads(router: APIRouter, context: ApiContext) -> None:
    @router.get("/containers", tags=["index"], summary="Rows of the index.", responses=answers(422))
    def containers(
        host: Annotated[str | None, Query()] = None,
        workload: Annotated[str | None, Query()] = None,
        state: Annotated[str | None, Query()] = None,
    ) -> dict[str, Any]:
        rows = index.list_containers(context.database, host=host, workload_id=workload, state=state)
        known = hosts.list_hosts(context.database)
        now = context.now()
        return {"items": container_views(rows, known, now), "hosts": [host_view(each, now) for each in known]}

    @router.get("/hosts", tags=["index"], summary="Hosts, and how old our truth of each is.")
    def list_hosts() -> dict[str, Any]:
        now = context.now()
        return {"items": [host_view(each, now) for each in hosts.list_hosts(context.database)]}

    @router.get("/workloads", tags=["workloads"], summary="Declared workloads.")
    def list_workloads() -> dict[str, Any]:
        return {"items": [workload_view(each) for each in workloads.list_workloads(context.database)]}

    @router.get("/workloads/{workload_id}", tags=["workloads"], summary="One workload.", responses=answers(404, 422))
    def get_workload(workload_id: str, response: Response) -> dict[str, Any]:
        found = workloads.get_workload(context.database, workload_id)
        response.headers["ETag"] = f'"{found.generation}"'
        return workload_view(found)


def _add_passes(router: APIRouter, context: ApiContext) -> None:
    @router.post("/tick", tags=["index"], summary="Run one pass now and return its report.", responses=answers(504))
    def tick() -> dict[str, Any]:
        try:
            return context.force(FORCED_PASS_SECONDS).as_dict()
        except TimeoutError as error:
            raise HTTPException(504, f"the pass did not end within {FORCED_PASS_SECONDS:g} s; it goes on") from error


def _add_writes(router: APIRouter, context: ApiContext) -> None:
    @router.put(
        "/workloads/{workload_id}",
        tags=["workloads"],
        summary="Create or replace.",
        responses=answers(201, 400, 404, 409, 412, 422),
    )
    def put_workload(
        workload_id: str, body: dict[str, Any], response: Response, match: IfMatch = None
    ) -> dict[str, Any]:
        if body.get("id", workload_id) != workload_id:
            raise UsageError(f"the body says id {body['id']!r}, the path says {workload_id!r}")
        declared = parse_workload({**body, "id": workload_id}, context.registry, context.label_prefix())
        expected = generation_of(match)
        applied = workloads.apply_workloads(
            context.database, [declared], context.now(), expected_generation=expected
        )[0]
        response.headers["ETag"] = f'"{applied.workload.generation}"'
        response.status_code = 201 if applied.result == "created" else 200
        return {"result": applied.result} | workload_view(applied.workload)

    @router.delete(
        "/workloads/{workload_id}", tags=["workloads"], summary="Delete.", responses=answers(404, 409, 412, 422)
    )
    def delete_workload(workload_id: str, match: IfMatch = None, force: bool = False) -> dict[str, Any]:
        rows = workloads.delete_workload(
            context.database, workload_id, force=force, expected_generation=generation_of(match)
        )
        return {"id": workload_id, "rows_deleted": rows}
