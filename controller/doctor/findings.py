"""What a check of the doctor finds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's result. ``status`` is ``ok``, ``warn`` or ``fail``; ``remedy`` is empty where all is well."""

    check: str
    status: str
    detail: str
    remedy: str = ""
