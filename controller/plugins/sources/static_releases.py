"""The folder of one site: complete releases side by side, and a link to the one that is published.

    releases/<sequence>-<digest>-<token>   a complete copy each; its name appears when it is complete
    incoming/                              what is being copied or removed; nobody is shown it
    marks/<release>.left|.idle             when a release was replaced; that it is out of service
    conf/<digest>.conf                     configurations of our web server
    current -> releases/…                  what is published; changed by one rename

Who changes anything holds the kernel's lock on ``lock``, which ends with its holder (G8).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from controller.plugins.contract import Revision, VerbFailed

MOST_SECONDS_FOR_THE_LOCK = 60.0
_POLL_SECONDS = 0.05


class Site:
    """One site's folder. Nothing is made before :meth:`locked`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextlib.contextmanager
    def locked(self, *, patient: bool = True) -> Iterator[bool]:
        """Hold the lock inside the block; false where somebody else does and we are not patient.

        :raises VerbFailed: it was not to be had, or the folder cannot be made.
        """
        for each in (self.root, *(self.root / name for name in ("releases", "incoming", "marks", "conf"))):
            each.mkdir(parents=True, exist_ok=True)
            if each.stat().st_mode & 0o777 != 0o755:  # whatever the umask says: the web server's user goes through
                each.chmod(0o755)
        with (self.root / "lock").open("a") as file:
            got = _lock(file.fileno(), MOST_SECONDS_FOR_THE_LOCK if patient else 0.0)
            if not got and patient:
                raise VerbFailed(f"{self.root} is in use by another process for too long")
            yield got

    def release_of(self, revision: Revision, digest: str) -> str:
        """The name of a revision's release; empty where there is none."""
        start = f"{stem_of(revision, digest)}-"
        return next((each for each in self.releases() if each.startswith(start)), "")

    def releases(self) -> Sequence[str]:
        """The names of all releases."""
        folder = self.root / "releases"
        return sorted(each.name for each in folder.iterdir()) if folder.is_dir() else ()

    def path_of(self, release: str) -> Path:
        """Where a release is."""
        return self.root / "releases" / release

    def current(self) -> str:
        """The release that is published; empty where none is."""
        try:
            target = (self.root / "current").readlink()
        except OSError:
            return ""
        return target.name if target.parent == Path("releases") else ""

    @contextlib.contextmanager
    def incoming(self) -> Iterator[Path]:
        """A new folder for a copy; what is left of it goes at the end of the block."""
        self.clear_incoming()
        made = self.root / "incoming" / secrets.token_hex(8)
        made.mkdir()
        try:
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)

    def clear_incoming(self) -> None:
        """Remove what a process left that was killed while it copied or removed."""
        for each in (self.root / "incoming").iterdir():
            if each.is_dir() and not each.is_symlink():
                shutil.rmtree(each, ignore_errors=True)
            else:
                each.unlink(missing_ok=True)

    def take_in(self, copy: Path, revision: Revision, digest: str) -> str:
        """Make a complete copy a release, by one rename; returns its name."""
        release = f"{stem_of(revision, digest)}-{secrets.token_hex(4)}"
        copy.rename(self.path_of(release))
        sync(self.root / "releases")
        return release

    def publish(self, release: str) -> bool:
        """Publish a release, by one rename; returns whether that changed anything."""
        before = self.current()
        self.unmark(release)
        if before == release:
            return False
        if before:
            self.mark(before, "left")
        fresh = self.root / "incoming" / f"current-{secrets.token_hex(4)}"
        fresh.symlink_to(Path("releases", release))
        fresh.rename(self.root / "current")
        sync(self.root)
        return True

    def unpublish(self) -> None:
        """Publish nothing."""
        (self.root / "current").unlink(missing_ok=True)
        sync(self.root)

    def remove(self, release: str) -> None:
        """Take a release away: from its place by one rename, then for good."""
        if self.current() == release:
            self.unpublish()
        grave = self.root / "incoming" / f"gone-{secrets.token_hex(4)}"
        with contextlib.suppress(FileNotFoundError):
            self.path_of(release).rename(grave)
        self.unmark(release)
        shutil.rmtree(grave, ignore_errors=True)

    def mark(self, release: str, word: str) -> None:
        """Note something of a release."""
        (self.root / "marks" / f"{release}.{word}").touch()

    def marked(self, release: str, word: str) -> float | None:
        """How many seconds ago it was noted; ``None`` where it was not."""
        try:
            return max(0.0, time.time() - (self.root / "marks" / f"{release}.{word}").stat().st_mtime)
        except OSError:
            return None

    def unmark(self, release: str, *words: str) -> None:
        """Forget what was noted of a release."""
        for each in words or ("left", "idle"):
            (self.root / "marks" / f"{release}.{each}").unlink(missing_ok=True)

    def configure(self, text: str) -> bool:
        """Have a configuration of the web server in its place; returns whether it was not."""
        place = self.root / "conf" / f"{conf_name(text)}"
        with contextlib.suppress(OSError, UnicodeError):
            if place.read_text() == text and place.stat().st_mode & 0o777 == 0o644:
                return False
        fresh = self.root / "incoming" / secrets.token_hex(8)
        fresh.write_text(text)
        fresh.chmod(0o644)
        fresh.rename(place)
        return True


def conf_name(text: str) -> str:
    """The file of a configuration."""
    return f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.conf"


def stem_of(revision: Revision, digest: str) -> str:
    """What the names of a revision's releases begin with."""
    return f"{revision.sequence}-{digest.removeprefix('sha256:')[:16]}"


def sync(folder: Path) -> None:
    """Bring the names in a folder to stable storage."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _lock(file: int, seconds: float) -> bool:
    ends = time.monotonic() + seconds
    pause = threading.Event().wait
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= ends:
                return False
            pause(_POLL_SECONDS)
        else:
            return True
