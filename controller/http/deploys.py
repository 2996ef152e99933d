"""`/api/v1/workloads/{id}/deploys`: deploys that this controller does, asked for and looked at (T6, L2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from controller.errors import Conflict, PluginError, UsageError
from controller.http.auth import API, Access
from controller.http.guards import guarded_by
from controller.http.problems import answers
from controller.rollout.chain import Course
from controller.rollout.gates import Gates
from controller.rollout.jobs import DeployJob, DeployJobs, JobState
from controller.rollout.rollouts import DeployRequest
from controller.views import split_view
from store.database import Database
from store.rollout_records import BASIS_POINTS, TrafficSplit
from store.splits import get_split

Weight = Annotated[int, Field(strict=True, ge=1, le=BASIS_POINTS)]


class GatesBody(BaseModel):
    """What is to be looked at after each step; what is closed ends the deploy, and traffic goes back."""

    model_config = ConfigDict(extra="forbid")

    probe: Annotated[
        str | None, Field(max_length=2_000, description="URL that has to answer well; {revision} becomes its id.")
    ] = None
    prometheus: Annotated[str | None, Field(max_length=2_000, description="URL of a Prometheus, for query.")] = None
    query: Annotated[str | None, Field(max_length=5_000, description="PromQL condition that has to hold.")] = None
    hold_seconds: Annotated[float, Field(ge=0, le=86_400, description="How long that has to stay so.")] = 0.0


class DeployBody(BaseModel):
    """What to deploy, and how."""

    model_config = ConfigDict(extra="forbid")

    revision_id: Annotated[
        str | None, Field(max_length=300, description="A revision to go back to; null for what is declared now.")
    ] = None
    weights: Annotated[
        list[Weight],
        Field(max_length=100, description="What the new revision gets, step by step, in basis points, to 10000."),
    ] = [BASIS_POINTS]  # pydantic copies it
    keep: Annotated[int, Field(strict=True, ge=0, le=1_000, description="How many earlier revisions stay.")] = 1
    gates: GatesBody = GatesBody()
    reason: Annotated[str, Field(max_length=500, description="Why, for who looks at it later.")] = ""
    idempotency_key: Annotated[
        str, Field(max_length=200, description="The same key again is the same deploy, while it is remembered.")
    ] = ""


class DeployView(BaseModel):
    """A deploy: what was asked for, and how far it is."""

    id: str
    workload_id: str
    state: JobState
    revision_id: Annotated[str, Field(description="Empty until it is known.")]
    made: Annotated[bool, Field(description="Whether the revision is a new one.")]
    weights: list[int]
    keep: int
    gates: GatesBody
    actor: str
    reason: str
    steps: Annotated[list[str], Field(description="Those that were begun, in order.")]
    detail: Annotated[str, Field(description="Why it did not arrive.")]
    checks: Annotated[Mapping[str, str], Field(description="What was looked at, and what it said.")]
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


class DeployList(BaseModel):
    """The deploys of a workload that this controller remembers, the oldest first."""

    items: list[DeployView]


class RollbackView(BaseModel):
    """The split as it is now, and the deploy that goes back, where it takes one."""

    split: dict[str, Any]
    deploy: DeployView | None


_ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {
        "description": "It is done as soon as those before it are",
        "headers": {"Location": {"description": "Where to look at it", "schema": {"type": "string"}}},
    }
}


def build_deploys(database: Database, jobs: DeployJobs, access: Access) -> APIRouter:
    """The routes of deploys."""
    always: dict[str, Any] = {
        "prefix": "/api/v1/workloads/{workload_id}",
        "tags": ["rollout"],
        "responses": answers(401, 403, 404, 422, 503),
    }
    reads = APIRouter(route_class=guarded_by(access.check_read), **always)
    asks = APIRouter(route_class=guarded_by(access.check_pass), **always)

    @reads.get("/deploys", summary="Deploys that this controller was asked for since it started, the oldest first.")
    def list_deploys(workload_id: str) -> DeployList:
        return DeployList(items=[view_of(each) for each in jobs.of(workload_id)])

    @reads.get("/deploys/{deploy_id}", summary="One of them: its state, and its steps so far.")
    def get_deploy(workload_id: str, deploy_id: str) -> DeployView:
        return view_of(jobs.get(workload_id, deploy_id))

    @asks.post("/deploys", status_code=202, summary="Deploy.", responses=answers(400, 409) | _ACCEPTED)
    def post_deploy(workload_id: str, body: DeployBody, response: Response) -> DeployView:
        with _conflicts():
            job = jobs.submit(_request(workload_id, body), body.idempotency_key)
        response.headers["Location"] = _location(job)
        return view_of(job)

    @asks.post("/rollback", summary="Go back by one step.", responses=answers(409) | _ACCEPTED)
    def post_rollback(workload_id: str, response: Response) -> RollbackView:
        request = DeployRequest(workload_id, actor=API, reason="rollback")
        with _conflicts():
            back = jobs.roll_back(request)
        if isinstance(back, TrafficSplit):
            return RollbackView(split=split_view(back), deploy=None)
        response.status_code, response.headers["Location"] = 202, _location(back)
        return RollbackView(split=split_view(get_split(database, workload_id)), deploy=view_of(back))

    together = APIRouter()
    for each in (reads, asks):
        together.include_router(each)
    return together


def view_of(job: DeployJob) -> DeployView:
    """A deploy as the API shows it."""
    return DeployView(
        id=job.id,
        workload_id=job.request.workload_id,
        state=job.state,
        revision_id=job.revision_id,
        made=job.made,
        weights=list(job.request.course.weights),
        keep=job.request.course.keep,
        gates=GatesBody(**asdict(job.request.gates)),
        actor=job.request.actor,
        reason=job.request.reason,
        steps=list(job.steps),
        detail=job.detail,
        checks=dict(job.checks),
        created_at=job.created_at,
        started_at=job.started_at,
        ended_at=job.ended_at,
    )


def _location(job: DeployJob) -> str:
    return f"/api/v1/workloads/{job.request.workload_id}/deploys/{job.id}"


def _request(workload_id: str, body: DeployBody) -> DeployRequest:
    """:raises UsageError: weights or gates make no sense."""
    try:
        course, gates = Course(tuple(body.weights), body.keep), Gates(**body.gates.model_dump())
    except ValueError as error:
        raise UsageError(str(error)) from error
    return DeployRequest(workload_id, body.revision_id, course, gates, actor=API, reason=body.reason)


@contextmanager
def _conflicts() -> Iterator[None]:
    """A source that does not deploy is in conflict with what was asked.

    :raises Conflict: it does not.
    """
    try:
        yield
    except PluginError as error:
        raise Conflict(str(error)) from error
