"""JSON Merge Patch (RFC 7396), the way in which the controller config is changed in part (G5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def merge_patch(target: Any, patch: Any) -> Any:
    """What ``patch`` makes of ``target``; neither is changed.

    A mapping is merged key by key, ``None`` removes a key, and everything else replaces what was there
    (RFC 7396, section 2).
    """
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged
