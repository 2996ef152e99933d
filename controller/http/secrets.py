"""`/api/v1/workloads/…/secrets`: names and generations, and new values. No value is ever answered (S4)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from controller.http.auth import Access
from controller.http.guards import guarded_by
from controller.http.problems import answers
from controller.rollout.secrets import Secrets
from controller.views import secret_view


class SecretBody(BaseModel):
    """A new value."""

    model_config = ConfigDict(extra="forbid")

    value: SecretStr = Field(description="Text without NUL, up to 64 KiB. It is never answered.")


def build_secrets(secrets: Secrets, now: Callable[[], datetime], access: Access) -> APIRouter:
    """The routes of secrets; even their names are for who may write."""
    router = APIRouter(
        prefix="/api/v1/workloads/{workload_id}/secrets",
        tags=["secrets"],
        responses=answers(401, 403, 404, 422, 503),
        route_class=guarded_by(access.check_write),
    )

    @router.get("", summary="Names, generations, and whether each value can be decrypted.")
    def list_secrets(workload_id: str) -> dict[str, Any]:
        found = secrets.seen(workload_id)
        return {"items": [secret_view(each, seen.trouble, now()) for each, seen in found]}

    @router.put("/{name}", summary="Store a value, encrypted.", responses=answers(201, 400))
    def put_secret(workload_id: str, name: str, body: SecretBody, response: Response) -> dict[str, Any]:
        stored = secrets.put(workload_id, name, body.value.get_secret_value(), now())
        response.status_code = 201 if stored.generation == 1 else 200
        return {"workload_id": workload_id, "name": name, "generation": stored.generation}

    @router.delete("/{name}", summary="Forget a value.")
    def delete_secret(workload_id: str, name: str) -> dict[str, Any]:
        secrets.delete(workload_id, name, now())
        return {"workload_id": workload_id, "name": name}

    return router
