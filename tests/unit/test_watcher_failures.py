"""`controller.declared.watcher`: start errors, a notifier that fails or hears nothing, and how it ends."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from controller.declared.notices import Ended, Notices, Notifier, notices_of_system
from controller.declared.watcher import LAST_BACKOFF_SECONDS, backoff_seconds
from controller.errors import WatchFailed
from tests.harness import wait_until
from tests.unit.watching import Watching, watcher_threads


def test_a_watch_that_cannot_be_made_is_a_start_error(watching: Watching, tmp_path: Path) -> None:
    """W1: it names the folder; nothing is left running, and a later start may succeed."""
    missing = tmp_path / "missing"
    watcher = watching.on(missing / "config.yaml")
    with pytest.raises(WatchFailed, match=f"folder {missing} does not exist; create it first"):
        watcher.start()
    assert not watcher_threads()
    missing.mkdir()
    watcher.start()
    watching.tells(lambda: (missing / "config.yaml").write_text("one"))


def test_what_the_system_refuses_is_a_start_error(watching: Watching, config: Path) -> None:
    """W1: no permission, or a limit that is reached."""
    watching.notifier = refusing(times=1)
    with pytest.raises(WatchFailed, match="refused"):
        watching.started(config)
    assert not watcher_threads()


REFUSED = """
import os, resource, sys, tempfile, watchfiles
from pathlib import Path
from controller.declared.targets import Target
from controller.declared.watcher import Watcher
from controller.errors import WatchFailed

if os.geteuid() == 0:
    os.setuid(65534)  # root may read everything
before = resource.getrlimit(resource.RLIMIT_NOFILE)
with tempfile.TemporaryDirectory() as name:
    folder = Path(name) / "etc"
    folder.mkdir()
    if sys.argv[1] == "descriptors":
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    else:
        folder.chmod(int(sys.argv[1], 8))
    try:
        Watcher([Target(folder / "config.yaml")], print).start()
    except WatchFailed as error:
        print(str(error).replace(name, ""))
    resource.setrlimit(resource.RLIMIT_NOFILE, before)
"""


@pytest.mark.parametrize(
    ("how", "reasons"),
    [
        ("000", ["/etc/config.yaml cannot be watched: no permission to look at", "let this user read and enter"]),
        ("300", ["cannot watch /etc: Permission denied", "exists and may be read"]),
        ("descriptors", ["cannot watch /etc: ", "Too many open files", "fs.inotify.max_user_watches"]),
    ],
    ids=["not to be entered", "not to be read", "no descriptor left"],
)
def test_what_the_system_refuses_says_which_folder_and_what_to_do(how: str, reasons: list[str]) -> None:
    """W1: by the system itself, to a process that is not root's."""
    ended = subprocess.run([sys.executable, "-c", REFUSED, how], check=True, capture_output=True, text=True)
    assert [reason for reason in reasons if reason not in ended.stdout] == [], ended.stdout


def test_the_error_of_the_system_names_the_folder_and_the_limits(tmp_path: Path) -> None:
    """W1: a folder that vanished after it was looked at."""
    never = Ended(threading.Event(), threading.Event())
    with pytest.raises(WatchFailed, match=r"No such file.*max_user_watches") as refused:
        next(notices_of_system([tmp_path, tmp_path / "gone"], never, 0.05))
    assert str(tmp_path / "gone") in str(refused.value)


def refusing(times: int, after: int = 0) -> Notifier:
    """A notifier that cannot watch so many times, after so many good ones; a good one fails at the first change."""
    subscriptions = itertools.count()

    def notices(folders: Sequence[Path], ended: Ended, step_seconds: float) -> Notices:
        number = next(subscriptions)
        if after <= number < after + times:
            raise WatchFailed("refused")
        for noticed in notices_of_system(folders, ended, step_seconds):
            if noticed and number < after:
                raise WatchFailed("broken")
            yield noticed

    return notices


def test_a_watch_that_breaks_is_made_again(watching: Watching, config: Path) -> None:
    """W6: a warning for each failure, one word when it is well again; what happened meanwhile is told."""
    watching.notifier = refusing(times=2, after=1)
    watching.started(config)
    with capture_logs() as logs:
        config.write_text("breaks it")
        wait_until(lambda: watching.calls, what="told by looking")
        config.write_text("while nobody watches")
        wait_until(lambda: [entry for entry in logs if entry["log_level"] == "info"], what="well again")
    watching.tells(lambda: config.write_text("watched again"), most=2)
    warnings = [entry for entry in logs if entry["log_level"] == "warning"]
    assert [entry["reason"] for entry in warnings] == ["broken", "refused", "refused"]
    assert [entry["again_in_seconds"] for entry in warnings] == [0.2, 0.4, 0.8]
    assert watching.watchers[0].failures == 3
    assert logs[-1]["event"] == "declared files are watched again"


def test_what_cannot_be_watched_any_more_is_looked_at(watching: Watching, config: Path) -> None:
    """W6: with each attempt to watch it again, also when none succeeds."""
    watching.notifier = refusing(times=1_000_000, after=1)
    watching.started(config)
    for number in (1, 2, 3):
        config.write_text(f"write {number}")
        wait_until(lambda number=number: watching.calls == number, what="told by looking")


def test_a_notifier_that_ends_by_itself_is_a_failure(watching: Watching, config: Path) -> None:
    """W6: a warning, and it is asked again."""
    silent = iter([True])

    def notices(folders: Sequence[Path], ended: Ended, step_seconds: float) -> Notices:
        if next(silent, False):
            yield ()
            return
        yield from notices_of_system(folders, ended, step_seconds)

    watching.notifier = notices
    with capture_logs() as logs:
        watching.started(config)
        wait_until(lambda: len(watching.subscriptions) == 2, what="it is asked again")
        watching.tells(lambda: config.write_text("two"))
    assert [entry["reason"] for entry in logs if entry["log_level"] == "warning"] == ["the notifier ended by itself"]


def test_the_pause_after_a_failure_grows_to_a_limit() -> None:
    """W6: no failure is followed by another one at once, none by silence for ever."""
    pauses = [backoff_seconds(failures) for failures in range(2000)]
    assert pauses == sorted(pauses)
    assert 0 < pauses[0] < pauses[-1] == LAST_BACKOFF_SECONDS


def deaf(_folders: Sequence[Path], ended: Ended, step_seconds: float) -> Notices:
    """A notifier that never hears of a change, as on a network file system."""
    pause = threading.Event()
    while not ended.is_set():
        yield ()
        pause.wait(step_seconds)


def test_the_check_finds_what_a_deaf_watch_does_not(watching: Watching, config: Path) -> None:
    """W6: once for each change, and nothing where there is none."""
    watching.notifier = deaf
    watcher = watching.started(config)
    assert not watcher.check()
    for text in ("two", "six"):
        config.write_text(text)
        assert watcher.check()
        assert not watcher.check()
    assert watching.calls == 2


def test_the_check_works_before_start_and_after_stop(watching: Watching, config: Path) -> None:
    """W6: it needs no thread."""
    watcher = watching.on(config)
    config.write_text("two")
    assert watcher.check()
    watcher.start()
    watcher.stop()
    config.write_text("three")
    assert watcher.check()


def test_what_the_check_has_told_is_not_told_again(watching: Watching, config: Path) -> None:
    """W2: the watch notices the same change."""
    watcher = watching.started(config)
    config.write_text("two")
    wait_until(lambda: watching.calls or watcher.check(), what="either tells")
    watching.digest()
    assert watching.calls == 1


def test_a_change_that_cannot_be_passed_on(watching: Watching, config: Path) -> None:
    """W6: a count and a traceback; the watch lives, and so does the check."""

    def fail() -> None:
        raise LookupError("of a test")

    watching.then = fail
    watcher = watching.started(config)
    with capture_logs() as logs:
        watching.tells(lambda: config.write_text("two"))
        watching.tells(lambda: config.write_text("three"))
    assert [(entry["failures"], entry["exc_info"]) for entry in logs] == [(1, True), (2, True)]
    config.write_text("four")
    wait_until(lambda: watching.calls == 3 or watcher.check(), what="told again")


def test_start_and_stop_more_than_once(watching: Watching, config: Path) -> None:
    """W9: one thread, one watch; and a start that comes too late does nothing."""
    watcher = watching.started(config)
    watcher.start()
    assert len(watcher_threads()) == len(watching.subscriptions) == 1
    watcher.stop()
    watcher.stop()
    assert not watcher_threads()
    watcher.start()
    assert not watcher_threads()


def test_stop_before_start(watching: Watching, config: Path) -> None:
    """W9: nothing is watched then."""
    watcher = watching.on(config)
    watcher.stop()
    watcher.start()
    assert not watching.subscriptions


def test_stop_while_it_waits_for_a_pause(watching: Watching, config: Path) -> None:
    """W9: the wait is given up, and nothing is told any more."""
    noticed = threading.Event()

    def once(_folders: Sequence[Path], _ended: Ended, _step_seconds: float) -> Notices:
        yield ()
        yield ()
        config.write_text("two")
        noticed.set()
        yield (config,)

    watching.notifier = once
    watcher = watching.started(config, debounce_seconds=300)
    noticed.wait()
    watcher.stop()
    assert not watcher_threads()
    assert watching.calls == 0


def test_stop_from_within_the_call(watching: Watching, config: Path) -> None:
    """W9: the thread does not wait for itself."""
    watcher = watching.on(config)
    watching.then = watcher.stop
    watcher.start()
    config.write_text("two")
    wait_until(lambda: watching.calls and not watcher_threads(), what="the thread ends")


def test_stop_from_within_a_check(watching: Watching, config: Path) -> None:
    """W9: no lock is held while a change is told."""
    watching.notifier = deaf
    watcher = watching.started(config)
    watching.then = lambda: (watcher.stop(), watcher.check())
    config.write_text("two")
    assert watcher.check()
    assert not watcher_threads()


def test_stop_while_a_call_hangs(watching: Watching, config: Path) -> None:
    """W9: it is left behind with a warning."""
    released = threading.Event()
    watching.then = released.wait
    watcher = watching.started(config)
    config.write_text("two")
    wait_until(lambda: watching.calls, what="the call hangs")
    with capture_logs() as logs:
        watcher.stop()
    released.set()
    assert [entry["event"] for entry in logs] == ["file watcher does not end; left behind"]


def test_a_thread_that_crashed_is_a_warning(watching: Watching, config: Path) -> None:
    """W9: it leaves a count and a traceback; the check remains, and stop does not hang."""

    def defective(_folders: Sequence[Path], _ended: Ended, _step_seconds: float) -> Notices:
        yield ()
        raise ZeroDivisionError

    watching.notifier = defective
    with capture_logs() as logs:
        watcher = watching.started(config)
        wait_until(lambda: not watcher_threads(), what="the thread ends")
        config.write_text("two")
        assert watcher.check()
        watcher.stop()
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [
        ("file watcher crashed; only the check at each tick is left", "error"),
        ("file watcher had crashed", "warning"),
    ]
    assert watcher.failures == 1


def test_a_name_that_is_not_unicode(watching: Watching, config: Path) -> None:
    """W1, W3: beside the target it is a neighbour like any other; as a folder it is a start error."""
    watching.started(config)
    folder = config.parent / "\udcff"
    watching.ignores(folder.mkdir)
    with pytest.raises(WatchFailed, match="cannot watch"):
        watching.on(folder / "config.yaml").start()


def test_the_library_is_imported_by_those_who_watch() -> None:
    """Commands that watch nothing do not wait for it."""
    program = "import sys, controller.declared.watcher; sys.exit('watchfiles' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
