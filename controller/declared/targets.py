"""What a declared file or folder is right now, and which folders decide that.

Looks, and remembers nothing: :mod:`controller.declared.watcher` compares. Every step of the way is looked at, since
a file may be reached through symbolic links that are swapped (Kubernetes: ``config.yaml -> ..data/config.yaml``).
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

from controller.errors import WatchFailed

MANIFEST_SUFFIXES = (".yaml", ".yml")
# As the kernel follows them before it says ELOOP: path_resolution(7).
MOST_LINKS = 40
# Beyond this only size, times and inode are compared.
LARGEST_READ_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Target:
    """A file, or a folder of which the ``*.yaml`` and ``*.yml`` directly inside count.

    Which of the two is seen anew at each look. It need not exist; the folder that it is to appear in must.
    """

    path: Path


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at a target saw.

    :param fingerprint: equal for two looks between which nothing happened to the target (W3).
    :param folders: real folders whose entries decide what the target is; each was there.
    :param problem: why the target could not appear in a folder that is watched; empty if it can.
    """

    fingerprint: Hashable
    folders: tuple[Path, ...]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class _Way:
    """A path, followed link by link as the kernel does; ``end`` is its last thing, or nothing is there."""

    links: tuple[Hashable, ...]
    folders: tuple[Path, ...]
    end: tuple[Path, os.stat_result] | None
    problem: str = ""


def is_manifest(path: Path) -> bool:
    """Whether a file of a folder counts, by its name: editors leave hidden ones behind, such as ``.#a.yaml``."""
    return path.suffix in MANIFEST_SUFFIXES and not path.name.startswith(".")


def look_at(target: Target) -> Look:
    """Look at a target and at each step of the way to it. Never raises: what cannot be read is part of the answer."""
    way = _follow(Path("/"), target.path.absolute().parts[1:])
    if way.end is None or not stat.S_ISDIR(way.end[1].st_mode):
        return Look((way.links, _thing(way)), way.folders, way.problem)
    folder, seen = way.end
    try:
        names = sorted(each.name for each in folder.iterdir() if is_manifest(each))
    except OSError as error:
        return Look((way.links, error.errno), way.folders, _reason(folder, error))
    inside = [_follow(folder, (name,)) for name in names]
    entries = tuple((name, each.links, _thing(each)) for name, each in zip(names, inside, strict=True))
    folders = [*way.folders, folder, *(step for each in inside for step in each.folders)]
    return Look((way.links, (seen.st_dev, seen.st_ino), entries), tuple(dict.fromkeys(folders)))


def fingerprint(target: Target) -> Hashable:
    """Changes whenever the target was made, modified, replaced, renamed or deleted, also through links (W3, W4).

    Content counts as well as inode and times, which may be too coarse to tell two writes apart.
    """
    return look_at(target).fingerprint


def folders_to_watch(target: Target) -> tuple[Path, ...]:
    """Every folder whose entries decide what the target is: of each link on the way, and of what stands at its end.

    :raises WatchFailed: the target could not appear: a folder is missing or may not be read, or links go round.
    """
    seen = look_at(target)
    if seen.problem:
        raise WatchFailed(f"{target.path} cannot be watched: {seen.problem}")
    return seen.folders


def _follow(at: Path, parts: Sequence[str]) -> _Way:
    """Walk ``parts`` from the real folder ``at``."""
    ahead = list(reversed(parts))
    links: list[Hashable] = []
    folders: dict[Path, None] = {}
    seen = None
    while ahead:
        name = ahead.pop()
        if name == "..":
            at, seen = at.parent, None
            continue
        try:
            seen = (at / name).lstat()
            to = (at / name).readlink() if stat.S_ISLNK(seen.st_mode) else None
        except OSError as error:
            absent = not ahead and error.errno == errno.ENOENT
            problem = "" if absent else _reason(at / name, error)
            # What makes `at` a folder that can be entered happens to `at` itself, so in the folder above it.
            decides = at.parent if error.errno in (errno.ENOTDIR, errno.EACCES) else at
            return _Way((*links, error.errno), (*folders, decides), None, problem)
        if to is None:
            at = at / name
            continue
        folders[at] = None
        links.append((str(at / name), str(to), *_identity(seen)))
        if len(links) > MOST_LINKS:
            return _Way(tuple(links), tuple(folders), None, f"the symbolic links at {at / name} go round in a circle")
        at, seen = (Path("/") if to.is_absolute() else at), None
        ahead += reversed(to.parts[1:] if to.is_absolute() else to.parts)
    folders[at.parent] = None
    try:
        return _Way(tuple(links), tuple(folders), (at, seen or at.lstat()))
    except OSError as error:
        return _Way((*links, error.errno), tuple(folders), None, _reason(at, error))


def _thing(way: _Way) -> Hashable:
    """Of what stands at the end of a way."""
    if way.end is None:
        return None
    path, seen = way.end
    if stat.S_ISREG(seen.st_mode):
        return (*_identity(seen), _digest(path) if seen.st_size <= LARGEST_READ_BYTES else "large")
    return (stat.S_IFMT(seen.st_mode), seen.st_dev, seen.st_ino)


def _identity(seen: os.stat_result) -> tuple[int, ...]:
    return (seen.st_dev, seen.st_ino, seen.st_mode, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)


def _digest(path: Path) -> Hashable:
    try:
        # A pipe that took the file's place in the meantime must not hold us up.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        return error.errno


def _reason(path: Path, error: OSError) -> str:
    match error.errno:
        case errno.ENOENT:
            return f"the folder {path} does not exist; create it first"
        case errno.ENOTDIR:
            return f"{path.parent} is not a folder"
        case errno.EACCES:
            return f"no permission to look at {path}; let this user read and enter its folder"
        case _:
            return f"{path}: {error.strerror}"
