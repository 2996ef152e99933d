"""What a trigger is given and what it may answer: events come in, intents to deploy go out.

`match` is pure. A trigger that has to look for its events itself has a method `look` too, and one that is called by a
webhook has `receive`. What it remembers from one look to the next is kept in the store for it. When a deploy really
happens, and whether once, is decided by the dispatcher.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

from store.records import Workload

MANUAL = "manual"
"""The kind of the event that names a workload by hand; it is offered to that workload's trigger of whatever kind."""


@dataclass(frozen=True, slots=True)
class TriggerEvent:
    """Something that happened and may concern a workload. Offered to every workload with a trigger of this kind."""

    kind: str
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TriggerIntent:
    """That a workload is to be deployed, and why.

    ``key`` says what for, such as a commit: an intent with the key of the one before is nothing new; an empty key
    always is. ``reference`` and ``digest`` are what the revision is to record where the source would find another
    one. ``once``: rather lost by a crash than repeated after it.
    """

    workload_id: str
    reason: str
    key: str = ""
    reference: str = ""
    digest: str = ""
    once: bool = False


@runtime_checkable
class Trigger(Protocol):
    """What makes a workload deploy. Made once, without arguments; called from several threads."""

    kind: str

    def validate(self, config: Mapping[str, Any]) -> None:
        """Check a workload's trigger configuration.

        :raises PluginConfigInvalid: naming the key, the value and what is allowed.
        """

    def match(self, workload: Workload, event: TriggerEvent) -> TriggerIntent | None:
        """Whether this event deploys this workload. Pure."""


@runtime_checkable
class Described(Protocol):
    """A plugin that can say what its configuration looks like."""

    def config_schema(self) -> dict[str, Any]:
        """JSON Schema of the configuration, for forms and editors."""


class TriggerTools(Protocol):
    """What a trigger looks with. Every call has a deadline, and ends when the controller stops."""

    def branch_head(self, repository: str, branch: str) -> str:
        """The commit that a branch of a git repository is at now; empty where it has no such branch.

        :raises GitFailed: the repository cannot be asked.
        """


@dataclass(frozen=True, slots=True)
class Look:
    """One look. ``state`` is what the look before left, empty at first; ``now`` is aware, in UTC."""

    workload: Workload
    state: Mapping[str, Any]
    now: datetime
    tools: TriggerTools


@dataclass(frozen=True, slots=True)
class Found:
    """What a look found. ``state`` is JSON; it is stored before any of the events is acted on.

    ``next_at`` is when to look again; without it, after a minute.
    """

    state: Mapping[str, Any]
    events: Sequence[TriggerEvent] = ()
    next_at: datetime | None = None


@runtime_checkable
class Looking(Protocol):
    """A trigger that looks for its events itself."""

    def look(self, look: Look) -> Found:
        """Look once. Called on a thread of its own, for one workload never twice at a time.

        :raises Retry: the other side wants to be left alone for that long; kept in the store.
        :raises Terminal: looking is useless until the declaration changes.
        """


@dataclass(frozen=True, slots=True)
class HookRequest:
    """A call of a workload's webhook: header names in lower case, and the raw body, not looked at by anybody yet."""

    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class HookRefused(Exception):
    """The caller did not prove that it may call. Nobody is told why."""


class HookMalformed(Exception):
    """The caller may call, but what it says cannot be read. The text is for whoever sent it."""


@runtime_checkable
class Receiving(Protocol):
    """A trigger that takes calls of the webhook `POST /-/hooks/WORKLOAD`."""

    def receive(self, workload: Workload, request: HookRequest) -> TriggerEvent | None:
        """The event that a call tells; ``None`` for one that tells nothing, such as a ping.

        :raises HookRefused: no signature, or a wrong one; or this workload takes no calls.
        :raises HookMalformed: signed well, but not readable.
        """


def asked_by_hand(workload: Workload, event: TriggerEvent) -> TriggerIntent | None:
    """The intent of an event that names this workload by hand, for the `match` of any trigger."""
    if event.kind != MANUAL or event.payload.get("workload_id") != workload.id:
        return None
    return TriggerIntent(workload.id, str(event.payload.get("reason") or "asked for by hand"))
