"""What history is made of: one frozen record an event, and what is asked for when it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

LONGEST_TEXT = 4_000
"""Characters of a reason or a message; what is longer is cut."""

MOST_READ = 1_000
"""Events of one answer."""


class EventKind(StrEnum):
    """What an event is about. An open set: the store takes any word."""

    STATE = "state"
    """A row of the index got another state, health or container."""

    CAUSE = "cause"
    """How a container ended, and who made it."""

    VERB = "verb"
    """That one of our processes is about to end a container."""

    DEPLOY = "deploy"
    """A step of a deploy, or that one failed."""

    HEALING = "healing"
    """That something was healed, or not, and why."""

    HOLD = "hold"
    """That something is left alone from now on, or no longer."""

    PLUGIN = "plugin"
    """Another answer of a source than the one before."""

    TRIGGER = "trigger"
    SECRET = "secret"
    TEARDOWN = "teardown"
    HOST = "host"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, or was decided. Written once, never changed.

    ``subject`` is what it is about within the workload: a row id, a container's name, a revision. ``reason`` is one
    word for programs, ``message`` a sentence for people. ``actor`` is who did it. ``tick`` names the pass that it
    happened in, as ``<host>/<pass number>``. ``id`` rises with every event of the store; 0: not stored yet.
    """

    at: datetime
    kind: str
    host: str = ""
    workload_id: str = ""
    subject: str = ""
    reason: str = ""
    message: str = ""
    actor: str = ""
    tick: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    id: int = 0

    @property
    def subjects(self) -> list[str]:
        """What it is about, one by one: an event may tell of many rows that changed alike."""
        return [str(each) for each in self.details.get("rows", ())] or [self.subject]


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events are read. Each that is given narrows the answer.

    :param since: not older than this.
    :param after_id: written later than this one; what a reader goes on from.
    :param newest: the newest ``limit`` of them; else the oldest. Either way they come in the order they were written.
    """

    workload_id: str | None = None
    host: str | None = None
    kinds: tuple[str, ...] = ()
    since: datetime | None = None
    after_id: int = 0
    limit: int = 100
    newest: bool = True
