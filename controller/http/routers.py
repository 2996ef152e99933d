"""`/api/v1/routers/…`: what routers ask for that fetch their configuration themselves (T5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter

from controller.http.auth import Access
from controller.http.guards import guarded_by
from controller.http.problems import answers
from controller.plugins.registry import Registry
from controller.rollout.reports import traefik_of
from store.database import Database


def build_routers(
    database: Database,
    host: str,
    registry: Registry,
    access: Access,
    traefik_asks: Callable[[], None] = lambda: None,
) -> APIRouter:
    """The routes for routers.

    :param traefik_asks: hears of every request of Traefik's.
    """
    reads = APIRouter(
        prefix="/api/v1/routers",
        tags=["rollout"],
        responses=answers(401, 403, 503),
        route_class=guarded_by(access.check_read),
    )

    @reads.get("/traefik", summary="Splits and revisions, for Traefik's HTTP provider.")
    def traefik() -> dict[str, Any]:
        traefik_asks()
        return traefik_of(database, host, registry)

    return reads
