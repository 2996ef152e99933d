"""What Linux tells of the processes of an nginx: titles, parents, working folders. Sends nothing, remembers nothing.

nginx says in its processes' titles what they are, and whether a worker has heard that it is to end.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_PROC = Path("/proc")


def master_of(folder: Path) -> int | None:
    """The master whose pid file is in the folder, if it is alive. The number alone may be somebody else's by now."""
    try:
        pid = int((folder / "nginx.pid").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    title = _title(pid)
    return pid if title.startswith(b"nginx: master") and os.fsencode(folder) in title else None


def workers_of(master: int) -> Iterator[int]:
    """The children of a master."""
    return (pid for pid in _pids() if _parent(pid) == master)


def workers_without_master(folder: Path) -> Iterator[int]:
    """Workers of the nginx of this folder whose master was killed: they go on, and hold on to its address."""
    for pid in _pids():
        if _title(pid).startswith(b"nginx: worker") and _folder(pid) == folder:
            parent = _parent(pid)
            if parent is None or not _title(parent).startswith(b"nginx: master"):
                yield pid


def takes_connections(worker: int) -> bool:
    """Whether it has not heard yet that it is to end: then its title says so, and it stops listening."""
    title = _title(worker)
    return title.startswith(b"nginx: worker") and b"shutting down" not in title


def _pids() -> Iterator[int]:
    return (int(each.name) for each in _PROC.iterdir() if each.name.isdecimal())


def _title(pid: int) -> bytes:
    """Empty for a process that is gone, and for one that ended and waits to be reaped."""
    try:
        return (_PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return b""


def _parent(pid: int) -> int | None:
    try:
        told = (_PROC / str(pid) / "stat").read_text(errors="replace")
        return int(told.rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return None


def _folder(pid: int) -> Path | None:
    try:
        return (_PROC / str(pid) / "cwd").readlink()
    except OSError:
        return None
