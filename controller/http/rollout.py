"""`/api/v1/workloads/…`: revisions, and the traffic split under compare-and-swap (T1, O4)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from controller.http.auth import API, Access
from controller.http.guards import IfMatch, generation_of, guarded_by
from controller.http.problems import answers
from controller.rollout.rollouts import Rollouts
from controller.rollout.tellings import split_events
from controller.telling import tell_history
from controller.views import revision_view, split_view
from store import revisions, splits
from store.database import Database
from store.rollout_records import BASIS_POINTS, SplitEntry, TrafficSplit


class EntryBody(BaseModel):
    """A revision's share of the traffic."""

    model_config = ConfigDict(extra="forbid")

    revision_id: str
    weight: Annotated[int, Field(strict=True, ge=0, le=BASIS_POINTS, description="In basis points; 0 is no traffic.")]


class SplitBody(BaseModel):
    """A whole split; the weights sum up to 10,000."""

    model_config = ConfigDict(extra="forbid")

    entries: list[EntryBody]
    idempotency_key: Annotated[
        str, Field(max_length=200, description="The same key with the same entries changes nothing.")
    ] = ""


def build_rollout(database: Database, now: Callable[[], datetime], access: Access, rollouts: Rollouts) -> APIRouter:
    """The routes of revisions and splits."""
    always: dict[str, Any] = {
        "prefix": "/api/v1/workloads/{workload_id}",
        "tags": ["rollout"],
        "responses": answers(401, 403, 404, 422, 503),
    }
    reads = APIRouter(route_class=guarded_by(access.check_read), **always)
    writes = APIRouter(route_class=guarded_by(access.check_write), **always)
    _add_reads(reads, database)
    _add_writes(writes, database, now, rollouts)
    together = APIRouter()
    for each in (reads, writes):
        together.include_router(each)
    return together


def _add_reads(router: APIRouter, database: Database) -> None:
    @router.get("/revisions", summary="Revisions of a workload, the oldest first.")
    def list_revisions(workload_id: str) -> dict[str, Any]:
        return {"items": [revision_view(each) for each in revisions.list_revisions(database, workload_id)]}

    @router.get("/revisions/{revision_id}", summary="One revision.")
    def get_revision(workload_id: str, revision_id: str) -> dict[str, Any]:
        return revision_view(revisions.get_revision(database, workload_id, revision_id))

    @router.get("/split", summary="The traffic split, its generation also as ETag.")
    def get_split(workload_id: str, response: Response) -> dict[str, Any]:
        return _shown(splits.get_split(database, workload_id), response)


def _add_writes(router: APIRouter, database: Database, now: Callable[[], datetime], rollouts: Rollouts) -> None:
    @router.put("/split", summary="Set the traffic split.", responses=answers(201, 400, 409, 412))
    def put_split(workload_id: str, body: SplitBody, response: Response, match: IfMatch = None) -> dict[str, Any]:
        at = now()
        split = splits.set_split(
            database,
            workload_id,
            [SplitEntry(each.revision_id, each.weight) for each in body.entries],
            at,
            idempotency_key=body.idempotency_key,
            expected_generation=generation_of(match),
        )
        tell_history(database, *split_events(split, at, API))
        rollouts.enforce_split(split)
        response.status_code = 201 if split.generation == 0 else 200
        return _shown(split, response)

    @router.post("/split/rollback", summary="Go back to the entries before.", responses=answers(409, 412))
    def rollback_split(workload_id: str, response: Response, match: IfMatch = None) -> dict[str, Any]:
        expected, at = generation_of(match), now()
        split = splits.rollback_split(database, workload_id, at, expected_generation=expected)
        tell_history(database, *split_events(split, at, API, back=True))
        rollouts.enforce_split(split)
        return _shown(split, response)


def _shown(split: TrafficSplit, response: Response) -> dict[str, Any]:
    response.headers["ETag"] = f'"{split.generation}"'
    return split_view(split)
