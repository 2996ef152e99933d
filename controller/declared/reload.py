"""The one worker that puts what is declared into force (W8): file events, API, git and webhook only ask it.

It reads everything anew, compares with what is in force, builds the new activation aside and swaps it in, one request
after the other. Requests that wait together are served by one rebuild. What fails leaves the previous one in force.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import structlog

from controller.declared.declaration import Declared, Reader
from controller.declared.gitsync import SyncOutcome, SyncReport
from controller.declared.reload_jobs import Job, answer, fail, refuse
from controller.declared.reloaded import Prepared, ReloadAnswer, Reloaded, ReloadResult
from controller.errors import BranchUnknown, LockTimeout, ReloadFailed, StoreUnavailable, TallydError

STOP_SECONDS = 1.0

log = structlog.get_logger(__name__)


class Tree(Protocol):
    """The working tree that holds the manifests."""

    def locked(self) -> AbstractContextManager[None]: ...
    def sync(self, branch: str | None, now: datetime) -> SyncReport: ...
    def cancel(self) -> None: ...


@dataclass(frozen=True, slots=True)
class ReloadHooks:
    """What the worker needs from the process around it.

    ``read`` gives what is declared; ``build`` makes an activation of it, or raises and leaves everything as it was;
    ``told`` hears of every rebuild.
    """

    read: Reader
    build: Callable[[Declared], Prepared]
    told: Callable[[Reloaded], None]
    now: Callable[[], datetime]


class ReloadWorker:
    """The thread. Start and stop are idempotent; a stopped worker does not start again."""

    def __init__(self, hooks: ReloadHooks, tree: Tree | None = None, sync_seconds: float = 0.0) -> None:
        """:param sync_seconds: between syncs that nobody asked for; 0: none."""
        self._hooks = hooks
        self._tree = tree
        self._sync_seconds = sync_seconds
        self._sync_at = time.monotonic() + sync_seconds
        self._in_force: Declared | None = None
        self._swap_failed = False
        self._unfinished = False
        self._refused = False
        self._trouble = self._sync_trouble = ""
        self._wakeup = threading.Condition()
        self._jobs: deque[Job] = deque()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="reload", daemon=True)

    @property
    def in_force(self) -> Declared | None:
        """What the current activation was built from."""
        return self._in_force

    @property
    def unfinished(self) -> bool:
        """Whether asking again may help though nothing declared has changed: a store that was away, a prune."""
        return self._unfinished

    @property
    def refused(self) -> bool:
        """Whether what is declared now is not in force, because it could not be built."""
        return self._refused

    def rebuild(self, reason: str) -> Reloaded:
        """Rebuild on the caller's thread: for the first activation, before the worker is started."""
        reloaded = self._rebuild(reason)
        self._hooks.told(reloaded)
        return reloaded

    def start(self) -> None:
        """Begin to serve requests."""
        if not self._thread.is_alive() and not self._stopping:
            self._thread.start()

    def stop(self) -> None:
        """End: a git that runs is ended, a rebuild that runs has a second (W9)."""
        with self._wakeup:
            self._stopping = True
            jobs, self._jobs = list(self._jobs), deque()
            self._wakeup.notify_all()
        for job in jobs:
            refuse(job)
        if self._tree is not None:
            self._tree.cancel()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(STOP_SECONDS)
            if self._thread.is_alive():
                log.warning("a reload did not end in time; left behind", seconds=STOP_SECONDS)

    def request(self, reason: str) -> None:
        """Ask for a rebuild, without waiting for it."""
        self._ask(Job(reason))

    def reload(self, reason: str, timeout_seconds: float) -> Reloaded:
        """A rebuild that begins after this call.

        :raises ReloadFailed: the worker stops.
        :raises TimeoutError: it did not end in time; it still will.
        """
        future: Future[Reloaded] = Future()
        self._ask(Job(reason, [future]))
        return future.result(timeout_seconds)

    def sync(self, branch: str | None, timeout_seconds: float) -> ReloadAnswer:
        """A git sync, and a rebuild under the same lock where the tree moved (H5).

        Where the manifests are in no working tree, everything is read anew, and nothing is synced.

        :raises ReloadFailed: the new state could not be built, or the worker stops.
        :raises TallydError: what the sync raised.
        :raises TimeoutError: it did not end in time; it still will.
        """
        future: Future[ReloadAnswer] = Future()
        self._ask(Job("git", sync=future, branch=branch))
        return future.result(timeout_seconds)

    def _ask(self, job: Job) -> None:
        with self._wakeup:
            if not self._stopping:
                last = self._jobs[-1] if self._jobs else None
                if last is not None and last.sync is None and job.sync is None:
                    last.waiting += job.waiting
                else:
                    self._jobs.append(job)
                self._wakeup.notify_all()
                return
        refuse(job)

    def _run(self) -> None:
        while (job := self._next()) is not None:
            try:
                self._do(job)
            except (Exception, SystemExit) as error:  # the worker's thread ends here: told, and it goes on (W5)
                log.exception("reload failed by a defect of tallyd; please report it", reason=job.reason)
                fail(job, ReloadFailed(f"{type(error).__name__}: {error}"))

    def _next(self) -> Job | None:
        with self._wakeup:
            while not self._stopping:
                to_sync = self._sync_at - time.monotonic() if self._sync_seconds else None
                if to_sync is not None and to_sync <= 0:  # also while others ask all the time
                    return Job("git", sync=Future())
                if self._jobs:
                    return self._jobs.popleft()
                self._wakeup.wait(to_sync)
            return None

    def _do(self, job: Job) -> None:
        if job.sync is not None:
            self._sync_and_rebuild(job)
            return
        reloaded = self.rebuild(job.reason)
        for each in job.waiting:
            answer(each, reloaded)

    def _sync_and_rebuild(self, job: Job) -> None:
        assert job.sync is not None
        try:
            synced = self._synced(job.branch)
        except TallydError as error:
            fail(job, error)
            return
        finally:
            self._sync_at = time.monotonic() + self._sync_seconds
        answer(job.sync, synced)

    def _synced(self, branch: str | None) -> ReloadAnswer:
        if self._tree is None:
            return self._without_git(branch)
        try:
            with self._tree.locked():
                report = self._tree.sync(branch, self._hooks.now())
                moved = report.outcome in (SyncOutcome.FAST_FORWARDED, SyncOutcome.DIVERGED)
                # What was refused is tried again, or whoever asks twice is told that all is well.
                again = self._refused and report.outcome is SyncOutcome.IN_SYNC
                reloaded = self._rebuild_or_raise("git") if moved or again else None
        except ReloadFailed:
            raise  # the rebuild told it
        except TallydError as error:
            self._say_sync(str(error), "git sync failed")
            raise
        self._tell_sync(report, moved=moved)
        activated = reloaded is not None and reloaded.result is ReloadResult.ACTIVATED
        generation = self._in_force.generation if self._in_force else 0
        return ReloadAnswer(activated, str(report.outcome), report.detail, report.commit, report.kept_on, generation)

    def _without_git(self, branch: str | None) -> ReloadAnswer:
        if branch is not None:
            raise BranchUnknown(f"there is no branch {branch!r}: the manifests are in no git working tree")
        reloaded = self._rebuild_or_raise("webhook")
        activated = reloaded.result is ReloadResult.ACTIVATED
        return ReloadAnswer(activated, "no-git", reloaded.detail, "", None, reloaded.generation)

    def _rebuild_or_raise(self, reason: str) -> Reloaded:
        reloaded = self.rebuild(reason)
        if reloaded.error is not None:
            raise reloaded.error
        return reloaded

    def _tell_sync(self, report: SyncReport, *, moved: bool) -> None:
        if report.outcome is SyncOutcome.FETCH_FAILED:
            self._say_sync(report.detail, "git fetch failed, the tree is as it was")
            return
        if moved:
            log.info("git sync", outcome=str(report.outcome), commit=report.commit, kept_on=report.kept_on or "")
        elif self._sync_trouble:
            log.info("git sync works again")
        self._sync_trouble = ""

    def _say_sync(self, trouble: str, event: str) -> None:
        if trouble != self._sync_trouble:
            log.error(event, reason=trouble)
        self._sync_trouble = trouble

    def _rebuild(self, reason: str) -> Reloaded:
        before = self._in_force
        generation = before.generation if before else 0
        try:
            declared = self._hooks.read(before)
            same = declared.equals(before) and not self._swap_failed
            prepared = None if same and not self._unfinished else self._hooks.build(declared)
        except TallydError as error:
            self._refused = True
            self._unfinished = isinstance(error, StoreUnavailable | LockTimeout)
            self._say_once(str(error), reason)
            return self._ended(ReloadResult.ERROR, generation, str(error), ReloadFailed(str(error)))
        except (Exception, SystemExit) as error:  # a rebuild ends here, also by a defect: told and counted (W5)
            log.exception("reload failed by a defect of tallyd; please report it", asked_by=reason)
            self._refused = True
            failed = ReloadFailed(f"{type(error).__name__}: {error}")
            return self._ended(ReloadResult.ERROR, generation, str(failed), failed)
        self._trouble = ""
        self._refused = False
        self._unfinished = prepared is not None and prepared.unfinished
        if prepared is None or (same and not prepared.changed):
            self._in_force = declared
            return self._ended(ReloadResult.UNCHANGED, declared.generation, "what is declared is in force")
        return self._swap(declared, prepared, reason)

    def _say_once(self, trouble: str, asked_by: str) -> None:
        if trouble != self._trouble:
            log.error("reload refused, the previous state serves", reason=trouble, asked_by=asked_by)
        self._trouble = trouble

    def _swap(self, declared: Declared, prepared: Prepared, reason: str) -> Reloaded:
        try:
            prepared.swap()
        except (Exception, SystemExit) as error:  # half of it may be in force: nothing but a restart makes sure (H6)
            self._swap_failed = self._refused = True
            log.exception("reload failed after the swap began; restart tallyd", asked_by=reason)
            failed = ReloadFailed(f"{type(error).__name__}: {error}", restart_required=True)
            return self._ended(ReloadResult.ERROR, declared.generation, str(error), failed)
        before, self._in_force, self._swap_failed = self._in_force, declared, False
        log.info(
            "activated",
            asked_by=reason,
            generation=declared.generation,
            workloads_before=_count(before),
            workloads=_count(declared),
            detail=prepared.summary,
        )
        return self._ended(ReloadResult.ACTIVATED, declared.generation, prepared.summary)

    def _ended(
        self, result: ReloadResult, generation: int, detail: str, error: ReloadFailed | None = None
    ) -> Reloaded:
        return Reloaded(result, generation, detail, self._hooks.now(), error)


def _count(declared: Declared | None) -> int:
    return len(declared.workloads or ()) if declared is not None else 0
