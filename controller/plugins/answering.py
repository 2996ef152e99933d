"""How built-in sources take turns and answer: of a workload one verb at a time; errors tell whom they are about."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from controller.plugins.contract import (
    Done,
    EngineError,
    EngineTools,
    Outcome,
    Result,
    Revision,
    VerbFailed,
    Workload,
)
from controller.plugins.waiting import Timing


class Turns:
    """A lock for each workload: of one workload one verb runs at a time within this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._turns: dict[str, threading.Lock] = {}

    def of(self, workload_id: str) -> threading.Lock:
        """The workload's lock."""
        with self._lock:
            return self._turns.setdefault(workload_id, threading.Lock())


class ActingSource:
    """What built-in sources that act on the engine have in common: tools, turns, and how they wait."""

    def __init__(self) -> None:
        self._tools: EngineTools | None = None
        self._turns = Turns()
        self._timing = Timing(time.monotonic, threading.Event().wait)

    def equip(self, tools: EngineTools) -> None:
        """Take the tools."""
        self._tools = tools
        self._timing = Timing(time.monotonic, tools.pause)

    def _at_hand(self) -> EngineTools:
        """The tools.

        :raises VerbFailed: this process gave none.
        """
        if self._tools is None:
            raise VerbFailed("this process gives sources no engine to act on; ask a running controller")
        return self._tools


@contextmanager
def told(what: str) -> Iterator[None]:
    """The engine's errors and the machine's as what a verb may raise: whom it was about, and what was said (D4)."""
    try:
        yield
    except EngineError as error:
        raise VerbFailed(f"{what}: {error}", {"engine": f"{type(error).__name__}: {error}"}) from error
    except OSError as error:
        raise VerbFailed(f"{what}: {error}", {"files": str(error)}) from error
    except VerbFailed as error:
        raise VerbFailed(f"{what}: {error}", error.checks) from error


def check_secrets(tools: EngineTools, workload: Workload, names: Iterable[str]) -> None:
    """Whether secrets can be had, before anything is done that would need them.

    :raises SecretUnreadable: one cannot.
    """
    for name in names:
        tools.reveal(workload, name)


def named(workload: Workload, revision: Revision) -> str:
    """Whom an error is about. Pure."""
    return f"workload {workload.id!r}, revision {revision.id!r}"


def done(workload: Workload, revision: Revision, changed: bool, checks: Mapping[str, str] | None = None) -> Done:
    """The answer of a verb; its message is what was seen. Pure."""
    said = checks or {}
    message = "; ".join(f"{name} {what}" for name, what in said.items())
    return Done(workload.id, revision.id, changed, message, said)


def outcome_of(repaired: Sequence[str], drifts: Sequence[str]) -> Outcome:
    """The answer of a reconcile: what was repaired, and what is left. Pure."""
    if repaired:
        return Outcome(Result.REPAIRED, "; ".join([*repaired, *drifts]))
    return Outcome(Result.DRIFT, "; ".join(drifts)) if drifts else Outcome(Result.IN_SYNC)
