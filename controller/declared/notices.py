"""The door to the operating system's notices about folders: what a notifier is, and the one that is used.

Knows nothing of targets; what a notice means is for :mod:`controller.declared.watcher` to say.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from controller.errors import WatchFailed

Notices = Generator[Collection[Path], None, None]


@dataclass(frozen=True, slots=True)
class Ended:
    """Whether a subscription shall end: for good, or because other folders are to be watched."""

    stopping: threading.Event
    renewing: threading.Event

    def is_set(self) -> bool:
        """As an event has it."""
        return self.stopping.is_set() or self.renewing.is_set()


class Notifier(Protocol):
    """Yields once when the folders are watched, then whenever it likes: what changed of their entries and themselves.

    Ends soon after ``ended`` is set. Raises :class:`WatchFailed` when it cannot watch, or no longer can.
    """

    def __call__(self, folders: Sequence[Path], ended: Ended, step_seconds: float) -> Notices: ...


def notices_of_system(folders: Sequence[Path], ended: Ended, step_seconds: float) -> Notices:
    """The notifier of the operating system, by way of watchfiles.

    :raises WatchFailed: a folder is missing or may not be read, or a limit of the system is reached (W1).
    """
    from watchfiles import watch  # costs 70 ms, which commands that do not watch shall not pay

    step = max(1, round(step_seconds * 1000))
    try:
        for batch in watch(
            *folders,
            watch_filter=None,
            debounce=step,
            step=step,
            stop_event=ended,
            rust_timeout=1,  # the first yield comes after one step, and says that the folders are watched
            yield_on_timeout=True,
            recursive=False,
        ):
            yield {Path(changed) for _, changed in batch}
    except (OSError, RuntimeError, ValueError) as error:
        raise WatchFailed(
            f"cannot watch {', '.join(map(str, folders))}: {error}; see that each folder exists and may be read, and "
            "that the system's fs.inotify.max_user_watches and max_user_instances are not used up"
        ) from error
