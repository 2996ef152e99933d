"""`controller.declared.targets`: what a target is, and the folders that decide it."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import count, pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.declared.targets import LARGEST_READ_BYTES, Target, fingerprint, folders_to_watch, look_at
from controller.errors import WatchFailed
from tests.unit.layouts import mount_config_map, point, replace

CHANGES: dict[str, Callable[[Path], object]] = {
    "modified": lambda path: path.write_text("other"),
    "grown": lambda path: path.write_text("one and more"),
    "replaced": lambda path: replace(path, "other"),
    "replaced by equal content": lambda path: replace(path, "one"),
    "deleted": lambda path: path.unlink(),
    "made anew": lambda path: (path.unlink(), path.write_text("one")),
    "renamed away": lambda path: path.rename(path.with_name("elsewhere")),
    "made unreadable": lambda path: path.chmod(0),
    "turned into a folder": lambda path: (path.unlink(), path.mkdir()),
    "turned into a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "turned into a link": lambda path: (path.rename(path.with_name("other")), path.symlink_to("other")),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_every_change_of_a_file_shows(config: Path, change: Callable[[Path], object]) -> None:
    """W3, W4: whatever happens to it, its fingerprint is another one; and two looks at the same are equal."""
    before = fingerprint(Target(config))
    assert before == fingerprint(Target(config))
    change(config)
    after = fingerprint(Target(config))
    assert before != after
    assert after == fingerprint(Target(config))


def test_a_file_that_appears_shows(tmp_path: Path) -> None:
    """W4: written in place or renamed in."""
    for name, make in (("a", lambda path: path.write_text("x")), ("b", lambda path: replace(path, "x"))):
        before = fingerprint(Target(tmp_path / name))
        make(tmp_path / name)
        assert before != fingerprint(Target(tmp_path / name))


def test_a_change_within_the_resolution_of_the_clock_shows(config: Path) -> None:
    """W6: content is compared, since many file systems tell time in steps of milliseconds or seconds."""
    seen = config.stat()
    before = look_at(Target(config)).fingerprint
    config.write_text("two")
    os.utime(config, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    after = look_at(Target(config)).fingerprint
    assert isinstance(before, tuple)
    assert isinstance(after, tuple)
    assert before[-1][-1] != after[-1][-1]


def test_a_neighbour_does_not_show(config: Path) -> None:
    """W3: nor does a look itself."""
    before = fingerprint(Target(config))
    decoy = config.with_name("decoy.yaml")
    decoy.write_text("x")
    replace(decoy, "y")
    decoy.unlink()
    config.with_name("folder").mkdir()
    assert before == fingerprint(Target(config))


def test_a_large_file_is_not_read(tmp_path: Path) -> None:
    """Size and times stand for its content."""
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(LARGEST_READ_BYTES + 1)
    before = fingerprint(Target(path))
    assert "'large'" in repr(before)
    with path.open("r+b") as file:
        file.write(b"x")
    assert before != fingerprint(Target(path))


@pytest.mark.parametrize("name", ["a.yaml", "b.yml"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_every_change_within_a_folder_shows(tmp_path: Path, name: str, change: Callable[[Path], object]) -> None:
    """W3, W4: the files that a folder's manifests are read from."""
    (tmp_path / name).write_text("one")
    before = fingerprint(Target(tmp_path))
    change(tmp_path / name)
    assert before != fingerprint(Target(tmp_path))


def test_only_manifests_directly_within_a_folder_count(tmp_path: Path) -> None:
    """W3: the same ones that are read."""
    (tmp_path / "a.yaml").write_text("one")
    (tmp_path / "below").mkdir()
    (tmp_path / "folder.yaml").mkdir()
    before = fingerprint(Target(tmp_path))
    for decoy in ("a.yaml.swp", ".a.yaml.1", "notes.txt", ".yaml", "below/b.yaml", "folder.yaml/c.yaml"):
        (tmp_path / decoy).write_text("x")
    assert before == fingerprint(Target(tmp_path))
    (tmp_path / "d.yml").write_text("x")
    assert before != fingerprint(Target(tmp_path))


def test_a_folder_that_is_replaced_or_goes_shows(tmp_path: Path) -> None:
    """W3: with equal files too."""
    folder = tmp_path / "manifests"
    folder.mkdir()
    seen = [fingerprint(Target(folder))]
    folder.rename(tmp_path / "old")
    seen.append(fingerprint(Target(folder)))
    folder.mkdir()
    seen.append(fingerprint(Target(folder)))
    assert len(set(seen)) == 3


@pytest.mark.parametrize("name", ["config.yaml", "."])
def test_a_config_map(tmp_path: Path, name: str) -> None:
    """W3: a file of it, and the folder as a whole."""
    mount_config_map(tmp_path, {"config.yaml": "one"})
    target = Target(tmp_path / name)
    before = fingerprint(target)
    stamped = (tmp_path / "..data").resolve()
    assert {tmp_path, stamped} <= set(folders_to_watch(target))
    mount_config_map(tmp_path, {"config.yaml": "one"})
    assert before != fingerprint(target)
    assert (tmp_path / "..data").resolve() in folders_to_watch(target)
    assert stamped not in folders_to_watch(target)


def test_the_folders_of_a_file_and_of_a_folder(config: Path) -> None:
    """W1: the folder that has it; for a folder itself as well."""
    assert folders_to_watch(Target(config)) == (config.parent,)
    assert folders_to_watch(Target(config.with_name("absent"))) == (config.parent,)
    assert folders_to_watch(Target(config.parent)) == (config.parent.parent, config.parent)


def test_the_folders_of_each_link_on_the_way(tmp_path: Path) -> None:
    """W3: absolute and relative links, of folders and of files, and a way back up through a linked folder."""
    for name in ("a", "b/deep", "c", "d"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "a/folder").symlink_to(tmp_path / "b/deep")
    (tmp_path / "b/link.yaml").symlink_to("../c/link.yaml")
    (tmp_path / "c/link.yaml").symlink_to("../d/config.yaml")
    target = Target(tmp_path / "a/folder/../link.yaml")
    assert folders_to_watch(target) == tuple(tmp_path / name for name in ("a", "b", "c", "d"))
    absent = fingerprint(target)
    (tmp_path / "d/config.yaml").write_text("one")
    assert fingerprint(target) != absent
    assert target.path.read_text() == "one"


def test_a_relative_path(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is one from where the process stands."""
    monkeypatch.chdir(config.parent)
    assert folders_to_watch(Target(Path(config.name))) == (config.parent,)
    assert fingerprint(Target(Path(config.name))) == fingerprint(Target(config))


def test_what_can_never_appear_is_an_error_that_says_why(config: Path) -> None:
    """W1: links in a circle, a folder that is missing, a file where a folder should be."""
    here = config.parent
    (here / "circle").symlink_to("round")
    (here / "round").symlink_to("circle")
    (here / "nowhere").symlink_to("missing/config.yaml")
    for name, reason in (
        ("circle", "go round in a circle"),
        ("circle/config.yaml", "go round in a circle"),
        ("missing/config.yaml", f"the folder {here / 'missing'} does not exist; create it first"),
        ("missing/deeper/config.yaml", f"the folder {here / 'missing'} does not exist; create it first"),
        ("nowhere", f"the folder {here / 'missing'} does not exist; create it first"),
        ("config.yaml/config.yaml", f"{config} is not a folder"),
        ("a" * 300, "File name too long"),
    ):
        with pytest.raises(WatchFailed, match=r"cannot be watched") as refused:
            folders_to_watch(Target(here / name))
        assert str(here / name) in str(refused.value)
        assert reason in str(refused.value)
        assert fingerprint(Target(here / name)) == fingerprint(Target(here / name))
        assert here in look_at(Target(here / name)).folders, "where it may come to be well"


FOLDERS = ("a", "b", "c")
_runs = count()


@st.composite
def chains(draw: st.DrawFn) -> tuple[list[str], int, bool]:
    """A chain of links through folders that ends at a file, the step that is changed, and how."""
    steps = draw(st.lists(st.sampled_from(FOLDERS), min_size=1, max_size=6))
    return steps, draw(st.integers(0, len(steps) - 1)), draw(st.booleans())


@given(chain=chains())
def test_a_change_of_any_step_shows_and_happens_in_a_folder_that_is_watched(
    chain: tuple[list[str], int, bool], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """W3: whichever link is turned, by equal content or other; a decoy beside each step changes nothing."""
    steps, changed, absolute = chain
    root = tmp_path_factory.mktemp(f"chain{next(_runs)}")
    for name in FOLDERS:
        (root / name).mkdir()
    paths = [root / folder / f"step{place}" for place, folder in enumerate(steps)]
    for here, there in pairwise(paths):
        here.symlink_to(there if absolute else os.path.relpath(there, here.parent))
    paths[-1].write_text("one")
    target = Target(paths[0])
    before, folders = fingerprint(target), folders_to_watch(target)
    for path in paths:
        path.with_name("decoy").write_text("x")
    assert fingerprint(target) == before
    assert set(folders) == {path.parent for path in paths}
    step = paths[changed]
    point(step, step.readlink()) if step.is_symlink() else replace(step, "one")
    assert fingerprint(target) != before
    assert step.parent in folders
