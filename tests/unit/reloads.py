"""A reload worker with stand-ins at its seams: what is declared, how it is built and swapped, and a working tree."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from controller.declared.declaration import Declared
from controller.declared.gitsync import SyncOutcome, SyncReport
from controller.declared.reload import ReloadHooks, ReloadWorker
from controller.declared.reload_status import ReloadStatus
from controller.declared.reloaded import Prepared, Reloaded, ReloadResult
from controller.errors import GitFailed, LockTimeout
from controller.settings import Settings
from store.records import ConfigDocument, Workload
from tests.builders import HOST, NOW
from tests.harness import wait_until

ACTIVATED, UNCHANGED, ERROR = ReloadResult.ACTIVATED, ReloadResult.UNCHANGED, ReloadResult.ERROR
SECONDS = 20.0
COMMIT = "c0ffee" + "0" * 34


def declared(
    interval_seconds: float = 30.0, generation: int = 1, workloads: tuple[Workload, ...] | None = None
) -> Declared:
    """What a person declared."""
    settings = Settings(host=HOST, interval_seconds=interval_seconds)
    return Declared(settings, ConfigDocument(generation, {"interval_seconds": interval_seconds}), workloads)


@dataclass
class Gate:
    """Holds whoever comes by, once it is closed; ``reached`` tells that somebody stands there."""

    reached: threading.Event = field(default_factory=threading.Event)
    open: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.open.set()

    def close(self) -> None:
        """Hold whoever comes next."""
        self.reached.clear()
        self.open.clear()

    def pass_by(self) -> None:
        """Come by."""
        self.reached.set()
        assert self.open.wait(SECONDS), "nobody opened the gate"


@dataclass
class Tree:
    """Stands for a git working tree. ``outcome`` is that of the next syncs, or what they raise."""

    outcome: SyncOutcome | Exception = SyncOutcome.IN_SYNC
    detail: str = ""
    busy: bool = False
    is_locked: bool = False
    branches: list[str | None] = field(default_factory=list)
    gate: Gate = field(default_factory=Gate)
    cancelled: bool = False

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """The repository's lock."""
        if self.busy:
            raise LockTimeout("another sync of this repository did not end within 5 s")
        self.is_locked = True
        try:
            yield
        finally:
            self.is_locked = False

    def sync(self, branch: str | None, now: datetime) -> SyncReport:
        """As a working tree does it."""
        assert self.is_locked
        assert now == NOW
        self.branches.append(branch)
        self.gate.pass_by()
        if self.cancelled:
            raise GitFailed("git was ended, because the controller stops")
        if isinstance(self.outcome, Exception):
            raise self.outcome
        kept_on = "conflicts/x" if self.outcome is SyncOutcome.DIVERGED else None
        return SyncReport(self.outcome, COMMIT, "", kept_on, self.detail)

    def cancel(self) -> None:
        """End a git that runs."""
        self.cancelled = True
        self.gate.open.set()


@dataclass
class House:
    """The process around a worker, and what it saw of it."""

    tree: Tree | None = None
    sync_seconds: float = 0.0
    declared: Declared = field(default_factory=declared)
    read_error: BaseException | None = None
    build_error: BaseException | None = None
    swap_error: BaseException | None = None
    changed: bool = True
    unfinished: bool = False
    reading: Gate = field(default_factory=Gate)
    read: int = 0
    built: list[Declared] = field(default_factory=list)
    serving: Declared | None = None
    swaps: int = 0
    told: list[Reloaded] = field(default_factory=list)
    built_under_lock: list[bool] = field(default_factory=list)
    then: Callable[[], object] = lambda: None

    def __post_init__(self) -> None:
        hooks = ReloadHooks(self._read, self._build, self._told, lambda: NOW)
        self.status = ReloadStatus(lambda: NOW)
        self.worker = ReloadWorker(hooks, self.tree, self.sync_seconds)

    def started(self) -> House:
        """After the first activation, at work."""
        assert self.worker.rebuild("start").result is ACTIVATED
        self.worker.start()
        return self

    def reload(self) -> Reloaded:
        """Have it rebuilt, and wait."""
        return self.worker.reload("test", SECONDS)

    @property
    def waiting(self) -> int:
        """How many callers wait for a rebuild that has not begun."""
        return sum(len(job.waiting) for job in self.worker._jobs)

    @property
    def results(self) -> list[str]:
        """How every rebuild ended."""
        return [str(each.result) for each in self.told]

    def _read(self, before: Declared | None) -> Declared:
        assert before is self.worker.in_force
        self.read += 1
        self.reading.pass_by()
        if self.read_error is not None:
            raise self.read_error
        return self.declared

    def _build(self, asked: Declared) -> Prepared:
        self.built.append(asked)
        self.built_under_lock.append(self.tree is not None and self.tree.is_locked)
        if self.build_error is not None:
            raise self.build_error
        return Prepared(lambda: self._swap(asked), "what changed", self.changed, self.unfinished)

    def _swap(self, asked: Declared) -> None:
        self.swaps += 1
        if self.swap_error is not None:
            raise self.swap_error
        self.serving = asked

    def _told(self, reloaded: Reloaded) -> None:
        self.told.append(reloaded)
        self.status.record(reloaded)
        self.then()


@contextlib.contextmanager
def in_background(call: Callable[[], object]) -> Iterator[Background]:
    """Make a call on a thread of its own, which has to end inside the block or right after it."""
    background = Background(call)
    background.thread.start()
    yield background
    wait_until(lambda: not background.thread.is_alive(), SECONDS, "the call ends")


class Background:
    """A call on a thread, and what became of it."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call
        self.value: object = None
        self.error: Exception | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            self.value = self._call()
        except Exception as error:  # noqa: BLE001  # the test looks at it
            self.error = error


def reload_threads() -> list[threading.Thread]:
    """Threads of workers that have not ended."""
    return [thread for thread in threading.enumerate() if thread.name == "reload"]
