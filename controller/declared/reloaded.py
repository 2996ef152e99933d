"""How reloads end: the nouns that travel from the worker to log, metrics, API and webhook."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from controller.errors import ReloadFailed


class ReloadResult(StrEnum):
    """How a rebuild ended (W5)."""

    ACTIVATED = "activated"
    UNCHANGED = "unchanged"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Reloaded:
    """One rebuild. ``error`` is set where ``result`` is ``error``; ``detail`` says what changed, or what is wrong."""

    result: ReloadResult
    generation: int
    detail: str
    at: datetime
    error: ReloadFailed | None = None


@dataclass(frozen=True, slots=True)
class ReloadAnswer:
    """How a reload ended. ``outcome`` is that of the sync (H5), or ``no-git`` where the manifests are in no working
    tree; ``generation`` is the controller config's.
    """

    changed: bool
    outcome: str
    detail: str
    commit: str
    kept_on: str | None
    generation: int
