"""`controller.declared.watcher`: real files on the real notifier; a change is told, and nothing else is."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from controller.declared.notices import Ended, Notices, notices_of_system
from controller.declared.watcher import MOST_PAUSES
from tests.harness import wait_until
from tests.unit.layouts import mount_config_map, point, replace
from tests.unit.watching import DEBOUNCE_SECONDS, Watching


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
    """W2: or twice, on a machine that stumbles; each write is noticed by itself."""
    debounce_seconds, pause = 1.5, threading.Event()

    def write() -> None:
        for number in range(5):
            config.write_text(f"write {number}")
            pause.wait(debounce_seconds / 6)

    watching.started(config, debounce_seconds=debounce_seconds)
    watching.tells(write, most=2)


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
