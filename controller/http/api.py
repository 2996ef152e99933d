"""`/api/v1`: containers, workloads, hosts, and forcing a pass. Every answer says how old its truth is (R21)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response

from controller.declared.manifests import parse_workload
from controller.errors import UsageError
from controller.http.auth import Access
from controller.loop.report import TickReport
from controller.plugins.registry import Registry
from controller.views import container_views, host_view, workload_view
from store import hosts, index, workloads
from store.database import Database

FORCED_PASS_SECONDS = 120.0
_ETAG = re.compile(r'^"(\d+)"$')


@dataclass(frozen=True, slots=True)
class ApiContext:
    """What the API needs."""

    host: str
    label_prefix: str
    database: Database
    registry: Registry
    access: Access
    now: Callable[[], datetime]
    force: Callable[[float], TickReport]


def build_api(context: ApiContext) -> APIRouter:
    """The routes of the API."""
    router = APIRouter(prefix="/api/v1")
    _add_reads(router, context)
    _add_workloads(router, context)

    @router.post("/tick", tags=["index"], summary="Run one pass now and return its report.")
    def tick(request: Request) -> dict[str, Any]:
        context.access.check_pass(request)
        return context.force(FORCED_PASS_SECONDS).as_dict()

    return router


def _add_reads(router: APIRouter, context: ApiContext) -> None:
    readers = [Depends(_reader(context.access))]

    @router.get("/containers", tags=["index"], dependencies=readers, summary="Rows of the index.")
    def containers(
        host: Annotated[str | None, Query()] = None,
        workload: Annotated[str | None, Query()] = None,
        state: Annotated[str | None, Query()] = None,
    ) -> dict[str, Any]:
        rows = index.list_containers(context.database, host=host, workload_id=workload, state=state)
        known = hosts.list_hosts(context.database)
        now = context.now()
        return {"items": container_views(rows, known, now), "hosts": [host_view(each, now) for each in known]}

    @router.get("/hosts", tags=["index"], dependencies=readers, summary="Hosts, and how old our truth of each is.")
    def list_hosts() -> dict[str, Any]:
        now = context.now()
        return {"items": [host_view(each, now) for each in hosts.list_hosts(context.database)]}

    @router.get("/workloads", tags=["workloads"], dependencies=readers, summary="Declared workloads.")
    def list_workloads() -> dict[str, Any]:
        return {"items": [workload_view(each) for each in workloads.list_workloads(context.database)]}

    @router.get("/workloads/{workload_id}", tags=["workloads"], dependencies=readers, summary="One workload.")
    def get_workload(workload_id: str, response: Response) -> dict[str, Any]:
        found = workloads.get_workload(context.database, workload_id)
        response.headers["ETag"] = f'"{found.generation}"'
        return workload_view(found)


def _add_workloads(router: APIRouter, context: ApiContext) -> None:
    if_match = Annotated[
        str | None, Header(alias="If-Match", description='The generation that is replaced, as `"3"`.')
    ]
    writers = [Depends(_writer(context.access))]

    @router.put("/workloads/{workload_id}", tags=["workloads"], dependencies=writers, summary="Create or replace.")
    def put_workload(
        workload_id: str, body: dict[str, Any], response: Response, match: if_match = None
    ) -> dict[str, Any]:
        if body.get("id", workload_id) != workload_id:
            raise UsageError(f"the body says id {body['id']!r}, the path says {workload_id!r}")
        declared = parse_workload({**body, "id": workload_id}, context.registry, context.label_prefix)
        expected = _generation(match)
        applied = workloads.apply_workloads(
            context.database, [declared], context.now(), expected_generation=expected
        )[0]
        response.headers["ETag"] = f'"{applied.workload.generation}"'
        response.status_code = 201 if applied.result == "created" else 200
        return {"result": applied.result} | workload_view(applied.workload)

    @router.delete("/workloads/{workload_id}", tags=["workloads"], dependencies=writers, summary="Delete.")
    def delete_workload(workload_id: str, match: if_match = None, force: bool = False) -> dict[str, Any]:
        rows = workloads.delete_workload(
            context.database, workload_id, force=force, expected_generation=_generation(match)
        )
        return {"id": workload_id, "rows_deleted": rows}


def _generation(if_match: str | None) -> int | None:
    if if_match is None or if_match.strip() == "*":
        return None
    found = _ETAG.match(if_match.strip())
    if found is None:
        raise UsageError(f'If-Match is {if_match!r}; allowed: "N" with N the generation, or *')
    return int(found.group(1))


def _reader(access: Access) -> Callable[[Request], None]:
    def check(request: Request) -> None:
        access.check_read(request)

    return check


def _writer(access: Access) -> Callable[[Request], None]:
    def check(request: Request) -> None:
        access.check_write(request)

    return check
