"""Telling the routers of this host: all splits of the store, projected into one file that they follow (T2)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog
from filelock import FileLock, Timeout

from controller.errors import LockTimeout
from controller.plugins.registry import Registry
from controller.rollout.deployer import RuntimeConfig
from controller.rollout.followers import Followers
from controller.rollout.projection import Written, write_runtime_config
from controller.rollout.reports import projection_of
from store.database import Database

FOLLOW_SECONDS = 10.0
_POLL_SECONDS = 0.02

log = structlog.get_logger(__name__)


_LOCK_SECONDS = 5.0


class RuntimeFile:
    """The runtime config of one host. Safe from several threads."""

    def __init__(
        self,
        path: Path,
        database: Database,
        host: str,
        registry: Registry,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._monotonic = monotonic
        self._pause = threading.Event()
        self.followers = Followers(path)
        self._database = database
        self._host = host
        self._registry = registry
        self._lock = threading.Lock()
        self._told: dict[str, tuple[str, ...]] = {}
        self._others = FileLock(path.with_name(f".{path.name}.lock"), thread_local=False)

    def follow(self, runtime: RuntimeConfig) -> bool:
        """Write what is stored of every workload, and wait a while for the routers; returns whether it was a change.

        :param runtime: of the workload whose split is to be followed, as its deployer just reported it.
        :raises StoreError: the store cannot be read; the file is as it was.
        :raises OSError: the file cannot be written; it is as it was.
        :raises LockTimeout: another process was at it for too long.
        """
        changed = self._write(runtime)
        if changed:
            self._wait_for_routers()
        return changed

    def _write(self, runtime: RuntimeConfig) -> bool:
        with self._lock, self._alone():
            projected = projection_of(self._database, self._host, self._registry, runtime)
            problems = {workload_id: tuple(wrong) for workload_id, wrong in projected.problems.items()}
            for workload_id, wrong in problems.items():
                if self._told.get(workload_id) != wrong:
                    log.warning("faces left out", workload=workload_id, detail="; ".join(wrong))
            self._told = problems
            return write_runtime_config(self._path, projected.document) is not Written.UNCHANGED

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time: who reads the store last writes last, so that no older split comes back."""
        try:
            with self._others.acquire(timeout=_LOCK_SECONDS):
                yield
        except Timeout as error:
            raise LockTimeout(
                f"another process has locked {self._others.lock_file} for {_LOCK_SECONDS:g} s"
            ) from error

    def _wait_for_routers(self) -> None:
        """Until those that are known have it in force. One that does not is told; the others have to go on."""
        ends = self._monotonic() + FOLLOW_SECONDS
        while behind := self.followers.behind():
            if self._monotonic() >= ends:
                log.warning("routers do not follow", routers=", ".join(behind), waited_seconds=FOLLOW_SECONDS)
                return
            self._pause.wait(_POLL_SECONDS)
