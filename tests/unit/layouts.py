"""Ways in which files are declared and changed: plain, and as Kubernetes mounts a ConfigMap."""

from __future__ import annotations

from itertools import count
from pathlib import Path

_numbers = count(1)


def point(link: Path, to: str | Path) -> None:
    """Make a symbolic link, or turn one elsewhere at one stroke, as `ln -sfn` does not."""
    aside = link.with_name(f"aside_{next(_numbers)}")
    aside.symlink_to(to)
    aside.rename(link)


def replace(path: Path, text: str) -> None:
    """Write beside and rename into place."""
    aside = path.with_name(f"aside_{next(_numbers)}")
    aside.write_text(text)
    aside.rename(path)


def mount_config_map(folder: Path, files: dict[str, str]) -> None:
    """Publish files as the kubelet's atomic writer does, for the first time or anew.

    They are written to a new folder, `..data` is turned to it, and the folder before is removed.
    """
    data = folder / "..data"
    before = data.resolve() if data.is_symlink() else None
    stamped = folder / f"..2026_11_29_{next(_numbers)}"
    stamped.mkdir()
    for name, text in files.items():
        (stamped / name).write_text(text)
    (folder / "..data_tmp").symlink_to(stamped.name)
    (folder / "..data_tmp").rename(data)
    for name in files:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
    if before is not None:
        for each in before.iterdir():
            each.unlink()
        before.rmdir()
