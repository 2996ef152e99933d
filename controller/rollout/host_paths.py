"""Paths of the machine that a workload may mount: those under an allow-list, with symbolic links followed (S4)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from controller.errors import VolumeRefused


def allowed_path(path: str, roots: Sequence[Path]) -> str:
    """The path that is to be mounted in place of a declared one: the same place, without a link on the way.

    :param roots: the allow-list; a path at or below one of them is allowed.
    :raises VolumeRefused: it is not allowed, or it cannot be looked at from here.
    """
    if not roots:
        raise VolumeRefused(f"path {path!r} is not mounted: TALLYD_VOLUME_ROOTS names no folder of this machine")
    if not path.startswith("/") or ".." in path.split("/") or "\x00" in path:
        raise VolumeRefused(f"path {path!r} is not mounted: it has to be absolute, without `..` and NUL")
    try:
        found = Path(path).resolve(strict=True)
        allowed = [each.resolve(strict=True) for each in roots if each.exists()]
    except (OSError, RuntimeError) as error:  # RuntimeError: links that lead in a circle
        why = getattr(error, "strerror", None) or error
        raise VolumeRefused(
            f"path {path!r} is not mounted: it cannot be looked at from here ({why}); make it first, and where the "
            "controller runs in a container, mount its root there at the same place"
        ) from error
    if not any(found.is_relative_to(each) for each in allowed):
        leads = f", which leads to {str(found)!r}," if str(found) != path.rstrip("/") else ""
        there = ", ".join(str(each) for each in roots)
        raise VolumeRefused(
            f"path {path!r}{leads} is not under TALLYD_VOLUME_ROOTS; allowed is what is under: {there}"
        )
    return str(found)
