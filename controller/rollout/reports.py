"""What routers of this host are told: the report of every deployer, put together (T2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import structlog

from controller.errors import TallydError
from controller.plugins.registry import Registry
from controller.rollout.deployer import Deployer, Deployment, RuntimeConfig
from controller.rollout.ledger import read_deployment
from controller.rollout.projection import Projection, project, render
from controller.rollout.routers.document import load_document
from controller.rollout.routers.traefik import render_traefik
from store.database import Database
from store.splits import list_splits

log = structlog.get_logger(__name__)


def projection_of(
    database: Database, host: str, registry: Registry, fresh: RuntimeConfig | None = None
) -> Projection:
    """The runtime config of a host, from what is stored.

    :param fresh: of one workload, as its deployer just reported it.
    :raises StoreError: the store cannot be read.
    """
    return project(host, _reports(database, host, registry, fresh))


def traefik_of(database: Database, host: str, registry: Registry) -> dict[str, Any]:
    """The same in the words of Traefik's HTTP provider (T5).

    :raises StoreError: the store cannot be read.
    """
    projected = projection_of(database, host, registry)
    document, quarantined = load_document(render(projected.document), host)
    return render_traefik(document, quarantined)


def _reports(
    database: Database, host: str, registry: Registry, fresh: RuntimeConfig | None
) -> Iterator[tuple[Deployment, RuntimeConfig]]:
    for split in list_splits(database):
        try:
            deployment = read_deployment(database, split.workload_id, host)
            if fresh is not None and _is_of(fresh, deployment):
                yield deployment, fresh
                continue
            source = registry.source(deployment.workload.source_kind)
            if isinstance(source, Deployer):
                yield deployment, source.report_runtime_config(deployment)
        except TallydError as error:
            log.warning("routers are not told of a workload", workload=split.workload_id, reason=str(error))


def _is_of(fresh: RuntimeConfig, deployment: Deployment) -> bool:
    """Whether a report is one of the split that is stored now; another deploy may have set one since."""
    split = deployment.split
    if split is None or split.workload_id != fresh.workload_id:
        return False
    return [(each["revision_id"], each["weight"]) for each in fresh.blocks] == [
        (each.revision_id, each.weight) for each in split.entries
    ]
