"""Telling the routers of this host: all splits of the store, projected into one file that they follow (T2)."""

from __future__ import annotations

import threading
from pathlib import Path

import structlog

from controller.plugins.registry import Registry
from controller.rollout.deployer import RuntimeConfig
from controller.rollout.projection import Written, write_runtime_config
from controller.rollout.reports import projection_of
from store.database import Database

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
            projected = projection_of(self._database, self._host, self._registry, runtime)
            problems = {workload_id: tuple(wrong) for workload_id, wrong in projected.problems.items()}
            for workload_id, wrong in problems.items():
                if self._told.get(workload_id) != wrong:
                    log.warning("faces left out", workload=workload_id, detail="; ".join(wrong))
            self._told = problems
            return write_runtime_config(self._path, projected.document) is not Written.UNCHANGED
