"""Files to be published, wherever they come from: what is refused, their digest, and a complete copy of them.

What is read may be changed, or made to lead elsewhere, while it is read: no symbolic link is ever followed, nothing
but regular files is opened, and what was copied is verified by its digest afterwards.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from controller.plugins.contract import VerbFailed

CHUNK_BYTES = 1024 * 1024
DEEPEST = 64
"""Folders within folders."""
LEFT_OUT = (".git",)
"""Never published: they would tell the history of the files."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, or a symbolic link with its ``target``. ``path`` is relative, in the bytes of the file system."""

    path: bytes
    kind: Literal["file", "link"]
    executable: bool = False
    size: int = 0
    target: bytes = b""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is published at most."""

    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Measured:
    """Digest over names, modes and bytes, and how much that is."""

    digest: str
    files: int
    bytes: int


class Tree(Protocol):
    """Where files come from."""

    def entries(self) -> Iterator[Entry]:
        """All of them, in any order."""

    def chunks(self, entry: Entry) -> Iterator[bytes]:
        """The content of a file."""


def shown(path: bytes) -> str:
    """A name for a person, whatever its bytes are."""
    return repr(os.fsdecode(path))


class Folder:
    """The files of a folder of this machine."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def entries(self) -> Iterator[Entry]:
        """See `Tree`.

        :raises VerbFailed: something in it cannot be published.
        """
        for path, found in self.looks():
            if stat.S_ISREG(found.st_mode):
                _check_readable(path, found.st_mode)
                yield Entry(path, "file", bool(found.st_mode & 0o111), found.st_size)
            elif stat.S_ISLNK(found.st_mode):
                yield Entry(path, "link", target=self._target(path))
            elif stat.S_ISDIR(found.st_mode):
                _check_readable(path, found.st_mode)
            else:
                what = _KINDS.get(stat.S_IFMT(found.st_mode), "something else")
                raise VerbFailed(f"{shown(path)} is {what}; only files, folders and links among them are published")

    def chunks(self, entry: Entry) -> Iterator[bytes]:
        """See `Tree`."""
        with self._parent(entry.path) as (folder, name):
            file = os.open(name, _FILE, dir_fd=folder)
        with os.fdopen(file, "rb") as opened:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise VerbFailed(f"{shown(entry.path)} was changed while it was read; deploy again")
            yield from iter(lambda: opened.read(CHUNK_BYTES), b"")

    def fingerprint(self, most: int) -> str:
        """Differs as soon as anything in the folder was touched; reads no content.

        :raises VerbFailed: there are more than ``most`` files and folders.
        """
        digest = hashlib.sha256()
        for number, (path, found) in enumerate(self.looks(), 1):
            if number > most:
                raise VerbFailed(f"there are more than {most} files and folders")
            looks = (found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
            digest.update(b"%d:%s%r" % (len(path), path, looks))
        return digest.hexdigest()

    def looks(self) -> Iterator[tuple[bytes, os.stat_result]]:
        """Path and status of all that is there, in a fixed order, a folder before what is in it."""
        waiting = [b""]
        while waiting:
            above = waiting.pop()
            if above.count(b"/") >= DEEPEST:
                raise VerbFailed(f"{shown(above[:80])}… is more than {DEEPEST} folders deep")
            with self._parent(above + b"/.") as (folder, _):
                names = sorted(os.fsencode(each) for each in os.listdir(folder))  # noqa: PTH208  # of a descriptor
                for name in names:
                    if os.fsdecode(name) in LEFT_OUT:
                        continue
                    path = above + b"/" + name if above else name
                    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
                    yield path, found
                    if stat.S_ISDIR(found.st_mode):
                        waiting.append(path)

    def _target(self, path: bytes) -> bytes:
        with self._parent(path) as (folder, name):
            return os.readlink(name, dir_fd=folder)

    @contextlib.contextmanager
    def _parent(self, path: bytes) -> Iterator[tuple[int, bytes]]:
        """The folder of a path, opened without following a link on the way below the root, and the last name."""
        *above, name = path.split(b"/")
        folder = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for each in filter(None, above):
                inner = os.open(each, _FOLDER, dir_fd=folder)
                os.close(folder)
                folder = inner
            yield folder, name
        finally:
            os.close(folder)


def _check_readable(path: bytes, mode: int) -> None:
    needed = 0o005 if stat.S_ISDIR(mode) else 0o004
    if mode & needed != needed:
        raise VerbFailed(
            f"{shown(path)} has mode {stat.S_IMODE(mode):04o}, so it is not meant for everybody, and would be shown "
            "to everybody; take it out of the site, or `chmod o+rX` it"
        )


def measure(tree: Tree, limits: Limits, into: Path | None = None) -> Measured:
    """The digest of all files, and a complete copy of them on stable storage where one is wanted.

    :param into: a new folder, which must exist and be empty.
    :raises VerbFailed: something cannot be published, is too much, or cannot be read or written.
    """
    digest, total, parents = hashlib.sha256(), 0, set[Path]()
    entries = _listed(tree, limits)
    for entry in entries:
        place = None if into is None else into / os.fsdecode(entry.path)
        if place is not None and place.parent not in parents:
            place.parent.mkdir(parents=True, exist_ok=True)
            parents.add(place.parent)
        if entry.kind == "link":
            _check_link(entry)
            content = entry.target
            if place is not None:
                place.symlink_to(os.fsdecode(entry.target))
        else:
            content, size = _file(tree, entry, place, limits.bytes - total)
            total += size
        kind = "x" if entry.executable else entry.kind[0]
        digest.update(b"%d:%s%s%d:%s" % (len(entry.path), entry.path, kind.encode(), len(content), content))
    if into is not None:
        _settle(into)
    return Measured(f"sha256:{digest.hexdigest()}", len(entries), total)


def _listed(tree: Tree, limits: Limits) -> list[Entry]:
    entries, size = [], 0
    for each in tree.entries():
        entries.append(each)
        size += each.size
        if len(entries) > limits.files:
            raise VerbFailed(f"there are more than max_files={limits.files} files; publish fewer, or raise it")
        if size > limits.bytes:
            raise _too_much(limits.bytes)
    return sorted(entries, key=lambda each: each.path)


def _file(tree: Tree, entry: Entry, place: Path | None, left: int) -> tuple[bytes, int]:
    """Digest and size of a file, which is copied on the way."""
    digest, size = hashlib.sha256(), 0
    with contextlib.ExitStack() as stack:
        out = None
        if place is not None:
            # The umask may take rights away that the web server's user needs.
            made = os.open(place, _NEW, 0o600)
            out = stack.enter_context(os.fdopen(made, "wb"))
            os.fchmod(made, 0o755 if entry.executable else 0o644)
        for chunk in tree.chunks(entry):
            size += len(chunk)
            if size > left:
                raise VerbFailed(f"{shown(entry.path)} leads over max_bytes; publish less, or raise it")
            digest.update(chunk)
            if out is not None:
                out.write(chunk)
        if out is not None:
            out.flush()
            os.fsync(out.fileno())
    return digest.digest(), size


def _check_link(entry: Entry) -> None:
    """A link may lead only to what is published with it: its target is walked by its text alone.

    :raises VerbFailed: it leads elsewhere.
    """
    steps = entry.path.split(b"/")[:-1]
    for each in entry.target.split(b"/"):
        if each == b"..":
            if not steps:
                break
            steps.pop()
        elif each not in (b"", b"."):
            steps.append(each)
    else:
        if entry.target and not entry.target.startswith(b"/"):
            return
    raise VerbFailed(f"the link {shown(entry.path)} leads out of the site, to {shown(entry.target)}; take it away")


def check_links(root: Path) -> None:
    """Check a copy that nobody changes any more: by way of several links, too, none leads out of it, or to nothing.

    :raises VerbFailed: one does.
    """
    top = root.resolve()
    for path, found in Folder(root).looks():
        if not stat.S_ISLNK(found.st_mode):
            continue
        place = root / os.fsdecode(path)
        try:
            inside = place.resolve(strict=True).is_relative_to(top)
        except (OSError, RuntimeError) as error:  # RuntimeError: links that lead in a circle
            raise VerbFailed(f"the link {shown(path)} leads to nothing; take it away") from error
        if not inside:
            raise VerbFailed(f"the link {shown(path)} leads out of the site; take it away")


def _settle(root: Path) -> None:
    for folder, _, _ in os.walk(root, topdown=False):
        opened = os.open(folder, _FOLDER)
        try:
            os.fchmod(opened, 0o755)
            os.fsync(opened)
        finally:
            os.close(opened)


def _too_much(most: int) -> VerbFailed:
    return VerbFailed(f"the files have more than max_bytes={most} bytes; publish less, or raise it")
