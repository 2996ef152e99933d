"""`/api/v1/workloads/{id}/deploys`: deploys that this controller does, asked for and looked at (T6, L2)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from controller.errors import Conflict, PluginError, UsageError
from controller.http.auth import API, Access
from controller.http.guards import guarded_by
from controller.http.problems import answers
from controller.rollout.chain import Course
from controller.rollout.jobs import DeployJob, DeployJobs, JobState
from controller.rollout.rollouts import DeployRequest
from store.rollout_records import BASIS_POINTS

Weight = Annotated[int, Field(strict=True, ge=1, le=BASIS_POINTS)]


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


_ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {
        "description": "It is done as soon as those before it are",
        "headers": {"Location": {"description": "Where to look at it", "schema": {"type": "string"}}},
    }
}


def build_deploys(jobs: DeployJobs, access: Access) -> APIRouter:
    """The routes of deploys."""
    always: dict[str, Any] = {
        "prefix": "/api/v1/workloads/{workload_id}/deploys",
        "tags": ["rollout"],
        "responses": answers(401, 403, 404, 422, 503),
    }
    reads = APIRouter(route_class=guarded_by(access.check_read), **always)
    asks = APIRouter(route_class=guarded_by(access.check_pass), **always)

    @reads.get("", summary="Deploys that this controller was asked for since it started, the oldest first.")
    def list_deploys(workload_id: str) -> DeployList:
        return DeployList(items=[view_of(each) for each in jobs.of(workload_id)])

    @reads.get("/{deploy_id}", summary="One of them: its state, and its steps so far.")
    def get_deploy(workload_id: str, deploy_id: str) -> DeployView:
        return view_of(jobs.get(workload_id, deploy_id))

    @asks.post("", status_code=202, summary="Deploy.", responses=answers(400, 409) | _ACCEPTED)
    def post_deploy(workload_id: str, body: DeployBody, response: Response) -> DeployView:
        request = DeployRequest(workload_id, body.revision_id, _course(body), actor=API, reason=body.reason)
        try:
            job = jobs.submit(request, body.idempotency_key)
        except PluginError as error:
            raise Conflict(str(error)) from error
        response.headers["Location"] = f"/api/v1/workloads/{workload_id}/deploys/{job.id}"
        return view_of(job)

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
        actor=job.request.actor,
        reason=job.request.reason,
        steps=list(job.steps),
        detail=job.detail,
        checks=dict(job.checks),
        created_at=job.created_at,
        started_at=job.started_at,
        ended_at=job.ended_at,
    )


def _course(body: DeployBody) -> Course:
    try:
        return Course(tuple(body.weights), body.keep)
    except ValueError as error:
        raise UsageError(str(error)) from error
