"""Keeping what is declared in force while the process runs: config, manifests, git, and who watches them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

import structlog

from controller.activator import Activator
from controller.declared.declaration import Declaration
from controller.declared.gitsync import WorkingTree
from controller.declared.reload import ReloadHooks, ReloadWorker
from controller.declared.reload_status import ReloadStatus
from controller.declared.reloaded import ReloadAnswer, Reloaded
from controller.declared.targets import Target
from controller.declared.watcher import Watcher
from controller.errors import GitFailed, ReloadFailed
from controller.metrics import Metrics
from controller.settings import Settings

WEBHOOK_SECONDS = 120.0

log = structlog.get_logger(__name__)


class Reloading:
    """Watcher and worker of one process. Start and stop are idempotent."""

    def __init__(
        self,
        declaration: Declaration,
        activator: Activator,
        settings: Settings,
        environment: Mapping[str, str],
        metrics: Metrics,
        status: ReloadStatus,
        now: Callable[[], datetime],
    ) -> None:
        self.store = declaration.store
        self.status = status
        self._metrics = metrics
        self.tree = _tree_of(settings, environment)
        hooks = ReloadHooks(declaration.read, activator.build, self._told, now)
        self.worker = ReloadWorker(hooks, self.tree, settings.git_sync_seconds)
        # Made before anything is read, so that whatever changes from now on is told (W1).
        places = [*self.store.watched, *([settings.manifests] if settings.manifests is not None else [])]
        self._watcher = Watcher(
            [Target(each) for each in places],
            lambda: self.worker.request("file"),
            debounce_seconds=settings.reload_debounce_seconds,
        )

    def boot(self) -> None:
        """The first activation, before the first tick. What is wrong with it is logged, and tried again later."""
        self.worker.rebuild("start")

    def start(self) -> None:
        """Watch, and serve requests.

        :raises WatchFailed: a folder cannot be watched (W1).
        """
        self._watcher.start()
        self.worker.start()

    def stop(self) -> None:
        """Who asks is stopped first, then who works (W9)."""
        self._watcher.stop()
        self.worker.stop()

    def holds(self, commit: str) -> bool:
        """For the webhook: whether this commit is here already (H4), and not one that could not be put in force."""
        return self.tree is not None and not self.worker.refused and self.tree.holds(commit)

    def reload(self, branch: str | None) -> ReloadAnswer:
        """For the webhook: sync and rebuild (H5).

        :raises TallydError: see :meth:`~controller.declared.reload.ReloadWorker.sync`.
        """
        try:
            return self.worker.sync(branch, WEBHOOK_SECONDS)
        except TimeoutError as error:
            raise ReloadFailed(f"the reload was not over after {WEBHOOK_SECONDS:g} s; it goes on") from error

    def backstop(self, stored_generation: int) -> None:
        """After each tick: find what no watch told (W6), and what can be finished now.

        :param stored_generation: of the config in the store's tables; 0: none, or not known.
        """
        if self._watcher.check():
            return
        in_force = self.worker.in_force
        known = in_force.generation if in_force is not None else 0
        changed = not self.store.watched and stored_generation not in (0, known)
        if self.worker.unfinished or changed:
            self.worker.request("tick")

    def _told(self, reloaded: Reloaded) -> None:
        in_force = self.worker.in_force
        self.status.record(reloaded, in_force.restart_needed if in_force else ())
        self._metrics.config_reloads.labels(str(reloaded.result)).inc()
        self._metrics.config_generation.set(reloaded.generation)


def _tree_of(settings: Settings, environment: Mapping[str, str]) -> WorkingTree | None:
    if settings.manifests is None or not settings.manifests.exists():
        return None
    folder = settings.manifests if settings.manifests.is_dir() else settings.manifests.parent
    try:
        return WorkingTree.around(folder, environment)
    except GitFailed as error:
        log.warning("manifests are not synced", reason=str(error))
        return None
