"""Files to be published: what is refused, in words; digests; copies."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from controller.plugins.contract import VerbFailed
from controller.plugins.sources.static_tree import DEEPEST, Entry, Folder, Limits, check_links, measure

LIMITS = Limits(files=50, bytes=10_000)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A small site."""
    root = tmp_path / "site"
    (root / "deep").mkdir(parents=True)
    (root / "index.html").write_text("index")
    (root / "deep" / "page.html").write_text("page")
    return root


def _outside(root: Path) -> None:
    (root / "link").symlink_to("/etc/passwd")


def _above(root: Path) -> None:
    (root / "deep" / "link").symlink_to("../../other")


def _pipe(root: Path) -> None:
    os.mkfifo(root / "pipe")


def _socket(root: Path) -> None:
    folder = os.open(root, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(f"/proc/self/fd/{folder}/socket")
    os.close(folder)


def _private(root: Path) -> None:
    (root / "deep" / "page.html").chmod(0o640)


def _private_folder(root: Path) -> None:
    (root / "deep").chmod(0o700)


def _many(root: Path) -> None:
    for number in range(LIMITS.files):
        (root / str(number)).touch()


def _big(root: Path) -> None:
    with (root / "big").open("wb") as file:
        file.truncate(LIMITS.bytes)


def _deep(root: Path) -> None:
    (root / "/".join("d" * (DEEPEST + 2))).mkdir(parents=True)


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (_outside, "the link 'link' leads out of the site, to '/etc/passwd'"),
        (_above, "the link 'deep/link' leads out of the site"),
        (_pipe, "'pipe' is a pipe"),
        (_socket, "'socket' is a socket"),
        (_private, "'deep/page.html' has mode 0640"),
        (_private_folder, "'deep' has mode 0700"),
        (_many, "more than max_files=50"),
        (_big, "more than max_bytes=10000"),
        (_deep, "folders deep"),
    ],
)
def test_what_is_refused(site: Path, made: Callable[[Path], None], told: str) -> None:
    """S1, D4: by name, with what to do; nothing is opened that could hang."""
    made(site)
    with pytest.raises(VerbFailed, match=told):
        measure(Folder(site), LIMITS)


def test_a_copy_is_whole_and_for_everybody(site: Path, tmp_path: Path) -> None:
    """S1: whatever the umask is; links within stay links."""
    (site / "deep" / "link").symlink_to("../index.html")
    (site / os.fsdecode(b"\xff\n")).write_text("odd")
    (site / "run").write_text("x")
    (site / "run").chmod(0o755)
    before = os.umask(0o077)
    try:
        copy = tmp_path / "copy"
        copy.mkdir()
        found = measure(Folder(site), LIMITS, copy)
    finally:
        os.umask(before)
    check_links(copy)
    assert found == measure(Folder(copy), LIMITS)
    assert (found.files, found.bytes) == (5, 13)
    assert (copy / "deep" / "link").read_text() == "index"
    modes = {each.name: each.stat().st_mode & 0o777 for each in copy.iterdir()}
    assert modes == {"deep": 0o755, "index.html": 0o644, "run": 0o755, os.fsdecode(b"\xff\n"): 0o644}


@pytest.mark.parametrize("target", ["nowhere", "loop"])
def test_links_of_a_copy_lead_somewhere(site: Path, target: str) -> None:
    """S1: to nothing, or in a circle."""
    (site / "loop").symlink_to(target)
    with pytest.raises(VerbFailed, match="'loop' leads to nothing"):
        check_links(site)


def test_links_by_way_of_links_lead_not_out(site: Path) -> None:
    """S1: each alone stays within, by its text."""
    (site / "deep" / "up").symlink_to("..")
    (site / "deep" / "out").symlink_to("up/../other")
    (site.parent / "other").mkdir()
    measure(Folder(site), LIMITS)
    with pytest.raises(VerbFailed, match="leads out of the site"):
        check_links(site)


def test_a_file_that_becomes_a_link_is_not_followed(site: Path) -> None:
    """S1: between being listed and being read."""
    (site / "index.html").unlink()
    (site / "index.html").symlink_to("/etc/passwd")
    with pytest.raises(OSError, match="symbolic links"):
        list(Folder(site).chunks(Entry(b"index.html", "file")))


def test_a_file_that_grows_while_it_is_read_is_bounded(site: Path) -> None:
    """S1: what counts is what was read."""

    class Growing(Folder):
        def chunks(self, entry: Entry) -> object:  # type: ignore[override]
            yield b"x" * (LIMITS.bytes + 1)

    with pytest.raises(VerbFailed, match="leads over max_bytes"):
        measure(Growing(site), LIMITS)


def test_a_fingerprint_sees_every_touch(site: Path) -> None:
    """S3: also one that leaves size and time as they were."""
    folder = Folder(site)
    first = folder.fingerprint(100)
    assert folder.fingerprint(100) == first
    page = site / "index.html"
    times = (page.stat().st_atime_ns, page.stat().st_mtime_ns)
    page.write_text("INDEX")
    os.utime(page, ns=times)
    assert folder.fingerprint(100) != first
