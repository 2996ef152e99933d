"""A watcher, what it told, and what it had to go by."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from controller.declared.notices import Ended, Notices, Notifier, notices_of_system
from controller.declared.targets import Target
from controller.declared.watcher import Watcher
from tests.harness import wait_until

DEBOUNCE_SECONDS = 0.1


@dataclass
class Watching:
    """A watcher, what it told, and what it had to go by."""

    calls: int = 0
    digested: int = 0  # notices of changed entries that were dealt with to the end
    subscriptions: list[tuple[Path, ...]] = field(default_factory=list)
    watchers: list[Watcher] = field(default_factory=list)
    notifier: Notifier = notices_of_system
    then: Callable[[], object] = lambda: None

    def on(self, *paths: Path, debounce_seconds: float = DEBOUNCE_SECONDS) -> Watcher:
        """A watcher that is not started."""
        targets = [Target(path) for path in paths]
        watcher = Watcher(targets, self.changed, debounce_seconds=debounce_seconds, notifier=self.notices)
        self.watchers.append(watcher)
        return watcher

    def started(self, *paths: Path, debounce_seconds: float = DEBOUNCE_SECONDS) -> Watcher:
        """A watcher at work."""
        watcher = self.on(*paths, debounce_seconds=debounce_seconds)
        watcher.start()
        return watcher

    def changed(self) -> None:
        """What the watcher calls."""
        self.calls += 1
        self.then()

    def notices(self, folders: Sequence[Path], ended: Ended, step_seconds: float) -> Notices:
        """Those of the notifier; a change counts as digested when the watcher asks for the next one."""
        self.subscriptions.append(tuple(folders))
        with closing(self.notifier(folders, ended, step_seconds)) as notices:
            for noticed in notices:
                yield noticed
                self.digested += bool(noticed)

    def tells(self, change: Callable[[], object], most: int = 1) -> None:
        """Change something: it is told, and no more than so many times."""
        before = self.calls
        change()
        wait_until(lambda: self.calls > before, what="the change is told")
        self.digest()
        assert self.calls - before <= most

    def ignores(self, change: Callable[[], object]) -> None:
        """Change something: it is noticed, and not told."""
        before = self.calls
        change()
        self.digest()
        assert self.calls == before

    def digest(self) -> None:
        """Until all that was done before is dealt with: decoys that come after it are."""
        goal = self.digested + 2  # the first may have been at work already

        def digested() -> bool:
            for folder in self.subscriptions[-1]:
                if folder.is_dir():
                    (folder / "decoy.txt").write_text("x")
            return self.digested >= goal

        wait_until(digested, what="all notices are digested")


def watcher_threads() -> list[threading.Thread]:
    """Those that have not ended."""
    return [thread for thread in threading.enumerate() if thread.name == "watcher"]
