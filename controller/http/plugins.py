"""`/api/v1/plugins`: which plugins there are, and what their configuration looks like, for forms and editors."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query

from controller.errors import NotFound
from controller.http.auth import Access
from controller.http.guards import guarded_by
from controller.http.problems import answers
from controller.plugins.contract import Described, Looking, Receiving
from controller.plugins.registry import Registry
from controller.rollout.deployer import Deployer

Role = Literal["source", "trigger"]


def build_plugins(registry: Registry, access: Access) -> APIRouter:
    """The routes of plugins."""
    always: dict[str, Any] = {"prefix": "/api/v1/plugins", "tags": ["plugins"], "responses": answers(401, 403)}
    router = APIRouter(route_class=guarded_by(access.check_read), **always)

    @router.get("", summary="The plugins at hand, and those that cannot be loaded.")
    def list_plugins() -> dict[str, Any]:
        sources = [
            {"kind": kind, "role": "source", "deploys": isinstance(each, Deployer)}
            for kind, each in sorted(registry.sources.items())
        ]
        triggers = [
            {
                "kind": kind,
                "role": "trigger",
                "looks": isinstance(each, Looking),
                "takes_calls": isinstance(each, Receiving),
            }
            for kind, each in sorted(registry.triggers.items())
        ]
        return {"items": [*sources, *triggers], "broken": dict(registry.broken)}

    @router.get("/{kind}/schema", summary="JSON schema of a plugin's configuration.", responses=answers(404, 422))
    def schema(kind: str, role: Annotated[Role | None, Query()] = None) -> dict[str, Any]:
        return schema_of(registry, kind, role)

    return router


def schema_of(registry: Registry, kind: str, role: Role | None) -> dict[str, Any]:
    """The schema of a kind: of the source where there are both and none is asked for; ``{}``: it tells none.

    :raises NotFound: there is no such plugin.
    """
    by_role = {"source": registry.sources.get(kind), "trigger": registry.triggers.get(kind)}
    found = [each for name, each in by_role.items() if each is not None and role in (None, name)]
    if not found:
        known = ", ".join(sorted({*registry.sources, *registry.triggers}))
        raise NotFound(f"there is no {role or 'plugin'} of kind {kind!r}; there are: {known}")
    plugin = found[0]
    return plugin.config_schema() if isinstance(plugin, Described) else {}
