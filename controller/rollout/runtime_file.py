"""Telling the routers of this host: all splits of the store, projected into one file that they follow (T2)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import structlog

from controller.errors import TallydError
from controller.plugins.registry import Registry
from controller.rollout.deployer import Deployer, Deployment, RuntimeConfig
from controller.rollout.ledger import read_deployment
from controller.rollout.projection import Written, project, write_runtime_config
from store.database import Database
from store.splits import list_splits

log = structlog.get_logger(__name__)


class RuntimeFile:
    """The runtime config of one host. Safe from several threads."""

    def __init__(self, path: Path, database: Database, host: str, registry: Registry) -> None:
        self._path = path
        self._database = database
        self._host = host
        self._registry = registry
        self._lock = threading.Lock()
        self._told: dict[str, tuple[str, ...]] = {}

    def follow(self, runtime: RuntimeConfig) -> bool:
        """Write what is stored of every workload; returns whether that changed the file.

        :param runtime: of the workload whose split is to be followed, as its deployer just reported it.
        :raises StoreError: the store cannot be read; the file is as it was.
        :raises OSError: the file cannot be written; it is as it was.
        """
        with self._lock:
            projected = project(self._host, self._reports(runtime))
            problems = {workload_id: tuple(wrong) for workload_id, wrong in projected.problems.items()}
            for workload_id in problems.keys() - {key for key in problems if self._told.get(key) == problems[key]}:
                log.warning("faces left out", workload=workload_id, detail="; ".join(problems[workload_id]))
            self._told = problems
            return write_runtime_config(self._path, projected.document) is not Written.UNCHANGED

    def _reports(self, runtime: RuntimeConfig) -> Iterator[tuple[Deployment, RuntimeConfig]]:
        for split in list_splits(self._database):
            try:
                deployment = read_deployment(self._database, split.workload_id, self._host)
                if split.workload_id == runtime.workload_id:
                    yield deployment, runtime
                    continue
                source = self._registry.source(deployment.workload.source_kind)
                if isinstance(source, Deployer):
                    yield deployment, source.report_runtime_config(deployment)
            except TallydError as error:
                log.warning("workload is not in the runtime config", workload=split.workload_id, reason=str(error))
