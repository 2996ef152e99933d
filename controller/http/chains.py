"""`/api/v1/workloads/…/promote`: a revision goes from a parent workload to its child (S4)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from controller.http.auth import API, Access
from controller.http.guards import guarded_by
from controller.http.problems import answers
from controller.plugins.registry import Registry
from controller.rollout.promote import promote_revision
from controller.rollout.tellings import promoted_event
from controller.telling import tell_history
from controller.views import revision_view
from store.database import Database


class PromotionBody(BaseModel):
    """Where a revision is promoted to."""

    model_config = ConfigDict(extra="forbid")

    to: str = Field(description="The child workload.")
    revision_id: Annotated[
        str | None, Field(description="A ready revision of the parent; none: the one with most of its traffic.")
    ] = None


def build_chains(
    database: Database, registry: Registry, host: str, now: Callable[[], datetime], access: Access
) -> APIRouter:
    """The route of promotions. It makes a revision; deploying that is another request."""
    router = APIRouter(
        prefix="/api/v1/workloads/{workload_id}",
        tags=["rollout"],
        responses=answers(401, 403, 404, 422, 503),
        route_class=guarded_by(access.check_write),
    )

    @router.post("/promote", summary="Make a revision of a child workload.", responses=answers(201, 400, 409))
    def promote(workload_id: str, body: PromotionBody, response: Response) -> dict[str, Any]:
        made, new = promote_revision(
            database,
            registry,
            host,
            now,
            parent_id=workload_id,
            child_id=body.to,
            revision_id=body.revision_id,
        )
        tell_history(database, promoted_event(made, workload_id, now(), API, made=new))
        response.status_code = 201 if new else 200
        return revision_view(made)

    return router
