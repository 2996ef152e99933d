"""`controller.declared.watcher`: real files on the real notifier; a change is told, and nothing else is."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from controller.declared.targets import Target
from controller.declared.watcher import (
    LAST_BACKOFF_SECONDS,
    MOST_PAUSES,
    Ended,
    Notices,
    Notifier,
    Watcher,
    backoff_seconds,
    notices_of_system,
)
from controller.errors import WatchFailed
from tests.harness import wait_until
from tests.unit.layouts import mount_config_map, point, replace

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


@pytest.fixture
def watching() -> Iterator[Watching]:
    """Nothing yet; stopped in the end."""
    each = Watching()
    yield each
    for watcher in each.watchers:
        watcher.stop()
    wait_until(lambda: not watcher_threads(), what="the threads end")


def watcher_threads() -> list[threading.Thread]:
    """Those that have not ended."""
    return [thread for thread in threading.enumerate() if thread.name == "watcher"]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A plain file."""
    path = tmp_path / "etc" / "config.yaml"
    path.parent.mkdir()
    path.write_text("one")
    return path


def test_create_modify_rename_in_and_delete_all_count(watching: Watching, config: Path) -> None:
    """W4: each is told, once."""
    config.unlink()
    watching.started(config)
    watching.tells(lambda: config.write_text("created"))
    watching.tells(lambda: config.write_text("modified"))
    watching.tells(lambda: replace(config, "renamed in"))
    watching.tells(config.unlink)
    watching.tells(lambda: replace(config, "renamed in where nothing was"))
    watching.tells(lambda: config.rename(config.with_name("renamed away")))


def test_five_writes_within_the_window_are_told_once(watching: Watching, config: Path) -> None:
    """W2: or twice, on a machine that stumbles."""
    watching.started(config, debounce_seconds=0.25)
    watching.tells(lambda: [config.write_text(f"write {number}") for number in range(5)], most=2)


def test_a_neighbour_is_not_told(watching: Watching, config: Path) -> None:
    """W3: what is in the same folder is noticed, and no more."""
    watching.started(config)
    decoy = config.with_name("decoy.yaml")
    watching.ignores(lambda: decoy.write_text("x"))
    watching.ignores(lambda: replace(decoy, "y"))
    watching.ignores(decoy.unlink)
    watching.ignores(config.read_text)
    watching.tells(lambda: config.write_text("two"))


def test_an_editor_that_renames_away_and_creates(watching: Watching, config: Path) -> None:
    """W4: as vim does with `backupcopy=no`, its swap file and its backup included."""

    def edit() -> None:
        swap, backup = config.with_name(f".{config.name}.swp"), config.with_name(f"{config.name}~")
        swap.write_text("swap")
        config.rename(backup)
        config.write_text("two")
        backup.unlink()
        swap.unlink()

    watching.started(config)
    watching.tells(edit)
    watching.tells(edit)


def test_delete_and_create_at_once(watching: Watching, config: Path) -> None:
    """W2, W4: one change, also when the content is the same."""

    def write_anew() -> None:
        config.unlink()
        config.write_text("one")

    watching.started(config)
    watching.tells(write_anew)


@pytest.mark.parametrize("name", ["config.yaml", "."])
def test_updates_of_a_config_map(watching: Watching, tmp_path: Path, name: str) -> None:
    """W3: each swap of `..data` is told, of a file and of a folder of manifests, and what is edited behind it too."""
    folder = tmp_path / "mounted"
    folder.mkdir()
    mount_config_map(folder, {"config.yaml": "one"})
    watching.started(folder / name)
    for text in ("two", "three", "three"):
        watching.tells(lambda text=text: mount_config_map(folder, {"config.yaml": text}))
    watching.tells(lambda: (folder / "config.yaml").write_text("edited in place"))


def test_a_path_through_links(watching: Watching, tmp_path: Path) -> None:
    """W3: a link turned in a folder far away, an edit behind it, and the same in the folder it leads to then."""
    for name in ("first", "links", "old", "new"):
        (tmp_path / name).mkdir()
    for name in ("old", "new"):
        (tmp_path / name / "config.yaml").write_text(name)
    (tmp_path / "first/folder").symlink_to(tmp_path / "links/current")
    point(tmp_path / "links/current", "../old")
    watching.started(tmp_path / "first/folder/config.yaml")
    watching.tells(lambda: (tmp_path / "old/config.yaml").write_text("edited"))
    watching.tells(lambda: point(tmp_path / "links/current", "../new"))
    watching.tells(lambda: (tmp_path / "new/config.yaml").write_text("edited"))
    watching.tells(lambda: point(tmp_path / "first/folder", tmp_path / "old"))
    watching.tells(lambda: replace(tmp_path / "old/config.yaml", "edited"))
    watching.ignores(lambda: (tmp_path / "new/config.yaml").write_text("no longer ours"))


def test_a_link_to_nothing_that_finds_its_end(watching: Watching, config: Path) -> None:
    """W4: also through a circle that is made while it is watched, and broken."""
    link = config.with_name("link.yaml")
    link.symlink_to("absent.yaml")
    watching.started(link)
    watching.tells(lambda: config.with_name("absent.yaml").write_text("one"))
    watching.tells(lambda: point(link, link.name))
    watching.tells(lambda: point(link, config.name))
    watching.tells(lambda: config.write_text("two"))


def test_manifests_of_a_folder(watching: Watching, config: Path) -> None:
    """W3, W4: its YAML files, also one behind a link into another folder."""
    elsewhere = config.parent.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "shared").write_text("one")
    folder = config.parent
    watching.started(folder)
    watching.tells(lambda: (folder / "new.yml").write_text("one"))
    watching.ignores(lambda: (folder / "notes.txt").write_text("x"))
    watching.tells(lambda: (folder / "link.yaml").symlink_to(elsewhere / "shared"))
    watching.tells(lambda: (elsewhere / "shared").write_text("two"))
    watching.tells((folder / "link.yaml").unlink)
    watching.ignores(lambda: (elsewhere / "shared").write_text("three"))


@pytest.mark.parametrize("target", ["config.yaml", "."])
def test_a_folder_that_goes_and_comes_back_at_once(watching: Watching, config: Path, target: str) -> None:
    """W3, W4: it is the same one, yet has to be watched anew."""

    def leave_and_return() -> None:
        config.parent.rename(config.parent.with_name("away"))
        config.parent.with_name("away").rename(config.parent)

    watching.started(config.parent / target)
    for _ in range(2):
        before = len(watching.subscriptions)
        leave_and_return()
        wait_until(lambda before=before: len(watching.subscriptions) > before, what="it is watched anew")
        watching.tells(lambda before=before: config.write_text(f"after {before}"))


@pytest.mark.parametrize("target", ["config.yaml", "."])
def test_a_folder_that_is_removed_and_made_again(watching: Watching, config: Path, target: str) -> None:
    """W4: the folder above is watched until it is back."""
    folder = config.parent

    def remove() -> None:
        for each in folder.iterdir():
            each.unlink()
        folder.rmdir()

    watching.started(folder / target)
    for _ in range(2):
        watching.tells(remove)
        folder.mkdir()
        watching.tells(lambda: config.write_text("one"), most=2)
        watching.tells(lambda: config.write_text("two"))


def test_a_folder_that_is_replaced(watching: Watching, config: Path) -> None:
    """W4: by renaming; what happens to the old one afterwards is no concern of ours."""
    old, new = config.parent.with_name("old"), config.parent.with_name("new")
    new.mkdir()
    (new / config.name).write_text("new")

    def swap() -> None:
        config.parent.rename(old)
        new.rename(config.parent)

    watching.started(config)
    watching.tells(swap, most=2)
    watching.tells(lambda: config.write_text("two"))
    watching.ignores(lambda: (old / config.name).write_text("three"))


def test_a_folder_further_up_that_is_replaced_is_found_by_the_check(watching: Watching, tmp_path: Path) -> None:
    """W6: no entry of a watched folder changed; the check finds it, and other folders are watched from then on."""
    for name in ("up", "other"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep/config.yaml").write_text(name)
    watcher = watching.started(tmp_path / "up/deep/config.yaml")
    (tmp_path / "up").rename(tmp_path / "gone")
    (tmp_path / "other").rename(tmp_path / "up")
    assert watcher.check()
    wait_until(lambda: len(watching.subscriptions) == 2, what="the new folder is watched")
    watching.tells(lambda: (tmp_path / "up/deep/config.yaml").write_text("two"))


def test_a_writer_that_never_pauses_is_told_of(watching: Watching, config: Path) -> None:
    """W2: it is not waited for without end."""
    enough = threading.Event()

    def write() -> None:
        for number in itertools.count():
            config.write_text(f"write {number}")
            if enough.wait(DEBOUNCE_SECONDS / MOST_PAUSES):
                return

    watching.started(config)
    writer = threading.Thread(target=write)
    writer.start()
    try:
        wait_until(lambda: watching.calls >= 2, what="two calls while it writes")
    finally:
        enough.set()
        writer.join()


def test_a_change_between_construction_and_start_is_told(watching: Watching, config: Path) -> None:
    """W3: what was read after construction and then changed is told, though nobody watched yet."""
    watcher = watching.on(config)
    config.write_text("two")
    assert watching.calls == 0
    watcher.start()
    wait_until(lambda: watching.calls, what="the change is told")


def test_a_change_before_the_first_watch_is_told(watching: Watching, config: Path) -> None:
    """W3: it looks after it subscribed, never before only."""

    def late(folders: Sequence[Path], ended: Ended, step_seconds: float) -> Notices:
        config.write_text("written when the folders were known and not watched")
        yield from notices_of_system(folders, ended, step_seconds)

    watching.notifier = late
    watching.started(config)
    wait_until(lambda: watching.calls, what="the change is told")


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
