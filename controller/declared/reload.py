"""The one worker that puts what is declared into force (W8): file events, API, git and webhook only ask it.

It reads everything anew, compares with what is in force, builds the new activation aside and swaps it in, one request
after the other. Requests that wait together are served by one rebuild. What fails leaves the previous one in force.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import structlog

from controller.declared.declaration import Declared, Reader
from controller.declared.gitsync import SyncOutcome, SyncReport
from controller.declared.reloaded import ReloadAnswer, Reloaded, ReloadResult
from controller.errors import BranchUnknown, LockTimeout, ReloadFailed, StoreUnavailable, TallydError

STOP_SECONDS = 1.0

log = structlog.get_logger(__name__)


class Tree(Protocol):
    """The working tree that holds the manifests."""

    def locked(self) -> AbstractContextManager[None]: ...
    def sync(self, branch: str | None, now: datetime) -> SyncReport: ...
    def cancel(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Prepared:
    """A new activation, built aside. ``swap`` puts it in force and cannot be undone.

    ``changed`` is false where nothing had to be written; ``unfinished`` means that something waits for the world,
    such as a workload to be removed for its last container, so that the next tick shall ask again.
    """

    swap: Callable[[], None]
    summary: str
    changed: bool = True
    unfinished: bool = False


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


@dataclass(slots=True)
class _Job:
    """A rebuild, with everybody who waits for it; or a sync, of ``branch``."""

    reason: str
    waiting: list[Future[Reloaded]] = field(default_factory=list)
    sync: Future[ReloadAnswer] | None = None
    branch: str | None = None


class ReloadWorker:
    """The thread. Start and stop are idempotent; a stopped worker does not start again."""

    def __init__(self, hooks: ReloadHooks, tree: Tree | None = None, sync_seconds: float = 0.0) -> None:
        """:param sync_seconds: between syncs that nobody asked for; 0: none."""
        self._hooks = hooks
        self._tree = tree
        self._sync_seconds = sync_seconds
        self._in_force: Declared | None = None
        self._swap_failed = False
        self._unfinished = False
        self._trouble = ""
        self._wakeup = threading.Condition()
        self._jobs: deque[_Job] = deque()
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
            _refuse(job)
        if self._tree is not None:
            self._tree.cancel()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(STOP_SECONDS)
            if self._thread.is_alive():
                log.warning("a reload did not end in time; left behind", seconds=STOP_SECONDS)

    def request(self, reason: str) -> None:
        """Ask for a rebuild, without waiting for it."""
        self._ask(_Job(reason))

    def reload(self, reason: str, timeout_seconds: float) -> Reloaded:
        """A rebuild that begins after this call.

        :raises ReloadFailed: the worker stops.
        :raises TimeoutError: it did not end in time; it still will.
        """
        future: Future[Reloaded] = Future()
        self._ask(_Job(reason, [future]))
        return future.result(timeout_seconds)

    def sync(self, branch: str | None, timeout_seconds: float) -> ReloadAnswer:
        """A git sync, and a rebuild under the same lock where the tree moved (H5).

        Where the manifests are in no working tree, everything is read anew, and nothing is synced.

        :raises ReloadFailed: the new state could not be built, or the worker stops.
        :raises TallydError: what the sync raised.
        :raises TimeoutError: it did not end in time; it still will.
        """
        future: Future[ReloadAnswer] = Future()
        self._ask(_Job("git", sync=future, branch=branch))
        return future.result(timeout_seconds)

    def _ask(self, job: _Job) -> None:
        with self._wakeup:
            if not self._stopping:
                last = self._jobs[-1] if self._jobs else None
                if last is not None and last.sync is None and job.sync is None:
                    last.waiting += job.waiting
                else:
                    self._jobs.append(job)
                self._wakeup.notify_all()
                return
        _refuse(job)

    def _run(self) -> None:
        while (job := self._next()) is not None:
            try:
                self._do(job)
            except Exception as error:  # the worker's thread ends here: it is told, and the worker goes on (W5)
                log.exception("reload failed by a defect of tallyd; please report it", reason=job.reason)
                _answer_all(job, ReloadFailed(f"{type(error).__name__}: {error}"))

    def _next(self) -> _Job | None:
        with self._wakeup:
            while not self._jobs and not self._stopping:
                if not self._wakeup.wait(self._sync_seconds or None):
                    return _Job("git", sync=Future())
            return None if self._stopping else self._jobs.popleft()

    def _do(self, job: _Job) -> None:
        if job.sync is not None:
            self._sync_and_rebuild(job)
            return
        reloaded = self.rebuild(job.reason)
        for each in job.waiting:
            _set(each, reloaded)

    def _sync_and_rebuild(self, job: _Job) -> None:
        assert job.sync is not None
        try:
            synced = self._synced(job.branch)
        except TallydError as error:
            self._say_once(str(error), "git sync failed")
            _answer_all(job, error)
            return
        _set(job.sync, synced)

    def _synced(self, branch: str | None) -> ReloadAnswer:
        if self._tree is None:
            return self._without_git(branch)
        with self._tree.locked():
            report = self._tree.sync(branch, self._hooks.now())
            moved = report.outcome in (SyncOutcome.FAST_FORWARDED, SyncOutcome.DIVERGED)
            if moved:
                self._rebuild_or_raise("git")
        self._tell_sync(report, moved=moved)
        generation = self._in_force.generation if self._in_force else 0
        return ReloadAnswer(moved, str(report.outcome), report.detail, report.commit, report.kept_on, generation)

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
            self._say_once(report.detail, "git fetch failed, the tree is as it was")
        elif moved:
            log.info("git sync", outcome=str(report.outcome), commit=report.commit, kept_on=report.kept_on or "")

    def _rebuild(self, reason: str) -> Reloaded:
        before = self._in_force
        generation = before.generation if before else 0
        try:
            declared = self._hooks.read(before)
            same = declared.equals(before) and not self._swap_failed
            prepared = None if same and not self._unfinished else self._hooks.build(declared)
        except TallydError as error:
            self._unfinished = isinstance(error, StoreUnavailable | LockTimeout)
            self._say_once(str(error), "reload refused, the previous state serves", asked_by=reason)
            return self._ended(ReloadResult.ERROR, generation, str(error), ReloadFailed(str(error)))
        self._trouble = ""
        self._unfinished = prepared is not None and prepared.unfinished
        if prepared is None or (same and not prepared.changed):
            self._in_force = declared
            return self._ended(ReloadResult.UNCHANGED, declared.generation, "what is declared is in force")
        return self._swap(declared, prepared, reason)

    def _say_once(self, trouble: str, event: str, **fields: str) -> None:
        if trouble != self._trouble:
            log.error(event, reason=trouble, **fields)
        self._trouble = trouble

    def _swap(self, declared: Declared, prepared: Prepared, reason: str) -> Reloaded:
        try:
            prepared.swap()
        except Exception as error:  # half of it may be in force: nothing but a restart makes sure (H6)
            self._swap_failed = True
            log.exception("reload failed after the swap began; restart tallyd", asked_by=reason)
            failed = ReloadFailed(f"{type(error).__name__}: {error}", restart_required=True)
            return self._ended(ReloadResult.ERROR, declared.generation, str(error), failed)
        self._in_force = declared
        log.info("activated", asked_by=reason, generation=declared.generation, detail=prepared.summary)
        return self._ended(ReloadResult.ACTIVATED, declared.generation, prepared.summary)

    def _ended(
        self, result: ReloadResult, generation: int, detail: str, error: ReloadFailed | None = None
    ) -> Reloaded:
        return Reloaded(result, generation, detail, self._hooks.now(), error)


def _set(future: Future[Any], value: Reloaded | ReloadAnswer) -> None:
    try:
        future.set_result(value)
    except InvalidStateError:
        return


def _answer_all(job: _Job, error: TallydError) -> None:
    waiting: list[Future[Any]] = [*job.waiting, *([job.sync] if job.sync is not None else [])]
    for each in waiting:
        try:
            each.set_exception(error)
        except InvalidStateError:
            continue


def _refuse(job: _Job) -> None:
    _answer_all(job, ReloadFailed("the controller stops"))
