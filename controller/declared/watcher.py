"""Telling that declared files changed: folders are watched, targets are compared (W1–W4, W6, W9).

What a notifier says is only a reason to look; whether a target changed is decided by its fingerprint. Reads and
reloads nothing itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Hashable, Sequence
from contextlib import closing
from pathlib import Path

import structlog

from controller.declared.notices import Ended, Notices, Notifier, notices_of_system
from controller.declared.targets import Look, Target, folders_to_watch, look_at
from controller.errors import WatchFailed

FIRST_BACKOFF_SECONDS = 0.2
LAST_BACKOFF_SECONDS = 30.0
STOP_SECONDS = 0.4
# A writer that never pauses is waited for so many times as long as one that does.
MOST_PAUSES = 8
# How soon a notice is taken and a stop is heard; shorter costs processor time while nothing happens.
LONGEST_STEP_SECONDS = 0.125

log = structlog.get_logger(__name__)


def backoff_seconds(failures: int) -> float:
    """How long to wait after one more failure, when there were so many in a row before it (W6)."""
    return min(LAST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2.0 ** min(failures, 10))


class Watcher:
    """The thread that watches targets, and calls ``changed`` after one of them did.

    Construct it *before* the targets are read: whatever changes from then on is told once it is started. ``changed``
    runs on this thread, or on the one that calls :meth:`check`; it should only note that there is something to do.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        changed: Callable[[], None],
        *,
        debounce_seconds: float = 0.25,
        notifier: Notifier = notices_of_system,
    ) -> None:
        self._targets = tuple(targets)
        self._changed = changed
        self._debounce_seconds = debounce_seconds
        self._notifier = notifier
        self._stopping = threading.Event()
        self._ended = Ended(self._stopping, threading.Event())
        self._lock = threading.Lock()
        self._seen = _fingerprints(self._look())
        self._watched: dict[Path, tuple[int, int]] = {}
        self._failures = self._failures_in_a_row = 0
        self._thread: threading.Thread | None = None
        self._ended_well = False

    @property
    def failures(self) -> int:
        """How often the notifier, ``changed`` or the thread itself failed so far."""
        return self._failures

    def start(self) -> None:
        """Watch; from here on nothing is missed. Does nothing once it was started or stopped.

        :raises WatchFailed: a folder cannot be watched; says which one, and what to do (W1).
        """
        if self._thread is not None or self._stopping.is_set():
            return
        for target in self._targets:
            folders_to_watch(target)
        notices = self._subscribe()
        self._thread = threading.Thread(target=self._run, args=(notices,), name="watcher", daemon=True)
        self._thread.start()

    def check(self) -> bool:
        """Look now, whatever the notifier said: the backstop for a watch that went deaf (W6).

        :returns: whether a target changed since it was last seen; then ``changed`` was called.
        """
        with self._lock:
            looks = self._look()
            seen, self._seen = self._seen, _fingerprints(looks)
        self._renew_if_moved(looks)
        if seen == _fingerprints(looks):
            return False
        self._pass_on()
        return True

    def stop(self) -> None:
        """End the watch and wait a moment for the thread; from within ``changed`` too, and more than once (W9)."""
        self._stopping.set()
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return
        thread.join(STOP_SECONDS)
        if thread.is_alive():
            log.warning("file watcher does not end; left behind", waited_seconds=STOP_SECONDS)
        elif not self._ended_well:
            log.warning("file watcher had crashed", failures=self._failures)

    def _run(self, notices: Notices) -> None:
        try:
            self._follow(notices)
            while not self._stopping.is_set():
                self._follow_anew()
            self._ended_well = True
        except Exception:  # the thread ends here: counted, told, and the check at each tick goes on (W6)
            self._failures += 1
            log.exception("file watcher crashed; only the check at each tick is left", failures=self._failures)

    def _follow_anew(self) -> None:
        """Watch the folders that matter now. While that fails, look at growing intervals."""
        try:
            notices = self._subscribe()
        except WatchFailed as error:
            self._lost(error)
            return
        self._follow(notices)

    def _follow(self, notices: Notices) -> None:
        """Until the watch ends. What happened before it began is looked for first, so nothing falls between."""
        try:
            with closing(notices):
                self._settle()
                for noticed in notices:
                    self._well()
                    if noticed:
                        self._digest(noticed)
            if not self._ended.is_set():
                raise WatchFailed("the notifier ended by itself")
        except WatchFailed as error:
            self._lost(error)

    def _digest(self, noticed: Collection[Path]) -> None:
        # A watched folder that goes and comes back may be the same one, and is watched no more.
        if not self._watched.keys().isdisjoint(noticed):
            self._ended.renewing.set()
        self._settle()

    def _subscribe(self) -> Notices:
        self._ended.renewing.clear()
        places = _places(self._look())
        notices = self._notifier(tuple(places), self._ended, min(LONGEST_STEP_SECONDS, self._debounce_seconds / 2))
        next(notices, None)
        self._watched = places
        return notices

    def _settle(self) -> None:
        """If a target changed: wait until none changes any more, or for too long already, and tell once (W2)."""
        latest = None
        for pause in range(MOST_PAUSES + 1):
            with self._lock:
                looks = self._look()
                now = _fingerprints(looks)
                unchanged = now == self._seen  # or the check told it meanwhile
                if settled := unchanged or now == latest or pause == MOST_PAUSES:
                    self._seen = now
            if settled:
                self._renew_if_moved(looks)
                if not unchanged:
                    self._pass_on()
                return
            latest = now
            if self._stopping.wait(self._debounce_seconds):
                return

    def _pass_on(self) -> None:
        try:
            self._changed()
        except Exception:  # who is told is not ours; a failure of theirs must not end the watch (W6)
            self._failures += 1
            log.exception("a change of declared files could not be passed on", failures=self._failures)

    def _renew_if_moved(self, looks: Sequence[Look]) -> None:
        if self._watched and self._watched != _places(looks):
            self._ended.renewing.set()

    def _well(self) -> None:
        if self._failures_in_a_row:
            log.info("declared files are watched again", attempts=self._failures_in_a_row)
        self._failures_in_a_row = 0

    def _lost(self, error: WatchFailed) -> None:
        pause = backoff_seconds(self._failures_in_a_row)
        self._failures_in_a_row += 1
        self._failures += 1
        log.warning("declared files are not watched; ticks look at them", reason=str(error), again_in_seconds=pause)
        self._settle()
        self._stopping.wait(pause)

    def _look(self) -> tuple[Look, ...]:
        return tuple(look_at(target) for target in self._targets)


def _fingerprints(looks: Sequence[Look]) -> tuple[Hashable, ...]:
    return tuple(look.fingerprint for look in looks)


def _places(looks: Sequence[Look]) -> dict[Path, tuple[int, int]]:
    """The folders that decide, each with its identity: one that was replaced needs a new watch."""
    places = {}
    for folder in dict.fromkeys(folder for look in looks for folder in look.folders):
        try:
            seen = folder.stat()
        except OSError:
            continue  # gone since: the next look names the folder above it
        places[folder] = (seen.st_dev, seen.st_ino)
    return places
