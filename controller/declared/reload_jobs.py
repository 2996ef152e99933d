"""What the reload worker is asked for, and how those who wait for it are answered; who left is passed over."""

from __future__ import annotations

from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import Any

from controller.declared.reloaded import ReloadAnswer, Reloaded
from controller.errors import ReloadFailed, TallydError


@dataclass(slots=True)
class Job:
    """A rebuild, with everybody who waits for it; or a sync, of ``branch``."""

    reason: str
    waiting: list[Future[Reloaded]] = field(default_factory=list)
    sync: Future[ReloadAnswer] | None = None
    branch: str | None = None


def answer(future: Future[Any], value: Reloaded | ReloadAnswer) -> None:
    """Answer one who waits."""
    try:
        future.set_result(value)
    except InvalidStateError:
        return


def fail(job: Job, error: TallydError) -> None:
    """Tell everybody who waits for a job what went wrong."""
    waiting: list[Future[Any]] = [*job.waiting, *([job.sync] if job.sync is not None else [])]
    for each in waiting:
        try:
            each.set_exception(error)
        except InvalidStateError:
            continue


def refuse(job: Job) -> None:
    """Tell everybody who waits for a job that there is no more time for it."""
    fail(job, ReloadFailed("the controller stops"))
