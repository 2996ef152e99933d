"""The nouns of a reload: what is built for the worker, and what travels from it to log, metrics, API and webhook."""

from __future__ import annotations

from collections.abc import Callable
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
class Prepared:
    """A new activation, built aside. ``swap`` puts it in force and cannot be undone.

    ``changed`` is false where nothing had to be written; ``unfinished`` means that something waits for the world,
    such as a workload to be removed for its last container, so that the next tick shall ask again.
    """

    swap: Callable[[], None]
    summary: str
    changed: bool = True
    unfinished: bool = False


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
