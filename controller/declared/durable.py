"""Replacing a file so that a crash leaves the old one or the new one, whole (G7)."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

_PRIVATE = 0o600


def replace_file(path: Path, text: str, *, durable: bool = True) -> None:
    """Put ``text`` in place of ``path``: exclusive temporary file beside it, fsync, rename, fsync of the folder.

    Mode and owner of a file that is replaced are kept; a new one belongs to its folder's owner, who alone may
    read it.

    :param durable: without it the two fsyncs are left out: the file is whole, but may be an older one after a loss
        of power.
    :raises OSError: it cannot be written; what was there is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            _look_like(path, descriptor)
            file.flush()
            if durable:
                os.fsync(descriptor)
        Path(name).replace(path)
    except BaseException:  # also when interrupted: nothing half-written is left beside the file
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise
    if durable:
        _sync_folder(path.parent)


def _look_like(path: Path, descriptor: int) -> None:
    try:
        model = path.stat()
        mode = model.st_mode & 0o7777
    except FileNotFoundError:
        model, mode = path.parent.stat(), _PRIVATE
    os.fchmod(descriptor, mode)
    if os.geteuid() == 0:
        os.fchown(descriptor, model.st_uid, model.st_gid)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
