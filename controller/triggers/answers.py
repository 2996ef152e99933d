"""What becomes of an event for one workload, and what is kept of it. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from controller.plugins.contract import MANUAL, Found, TriggerEvent, TriggerIntent, Workload
from store.triggers import Binding, Owed, TriggerState

UNDER_WAY = "under_way"
MOST_ATTEMPTS = 3
BUSY_SECONDS = 10.0
FIRST_RETRY_SECONDS = 20.0
FIRST_BACKOFF_SECONDS = 5.0
LAST_BACKOFF_SECONDS = 600.0
LONGEST_PAUSE = timedelta(hours=6, minutes=1)


class Answer(StrEnum):
    """What became of an event for one workload."""

    DEPLOYED = "deployed"
    SKIPPED = "skipped"
    NO_MATCH = "no_match"
    ERRORED = "errored"


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer, with a sentence for a person. ``again``: the deploy is still owed, and is tried again."""

    workload_id: str
    trigger_kind: str
    answer: Answer
    message: str = ""
    revision_id: str = ""
    again: bool = False
    busy: bool = False


def candidates(bindings: Iterable[Binding], event: TriggerEvent) -> list[Binding]:
    """Whom an event is offered to: all with a trigger of its kind; one by hand to the workload that it names."""
    if event.kind == MANUAL:
        return [each for each in bindings if each.workload.id == event.payload.get("workload_id")]
    return [each for each in bindings if each.workload.trigger_kind == event.kind]


def is_new(state: TriggerState, intent: TriggerIntent) -> bool:
    """Whether an intent is for something else than the last one was."""
    return not intent.key or intent.key != state.key


def claimed(state: TriggerState, intent: TriggerIntent, actor: str, now: datetime) -> TriggerState:
    """What is stored before a deploy begins: that it is owed, unless it is one that is never repeated."""
    owed = Owed(state.generation + 1, intent.reason, intent.key, intent.reference, intent.digest, actor=actor)
    return replace(
        state,
        key=intent.key or state.key,
        owed=state.owed if intent.once else owed,
        fired_at=now,
        answer=UNDER_WAY,
        message=intent.reason,
    )


def settled(
    state: TriggerState, owed: Owed, answered: Answered, now: datetime, chance: random.Random
) -> TriggerState:
    """What is stored after a deploy. One that is owed by a newer claim stays so."""
    told = replace(state, answer=str(answered.answer), message=answered.message)
    if state.owed is None or state.owed.claim != owed.claim:
        return told if state.owed is None else state
    if not answered.again:
        return replace(told, owed=None)
    attempts = owed.attempts if answered.busy else owed.attempts + 1
    if attempts >= MOST_ATTEMPTS:
        gave_up = f"{answered.message}; given up after {attempts} attempts"
        return replace(told, owed=None, message=gave_up)
    seconds = BUSY_SECONDS if answered.busy else FIRST_RETRY_SECONDS * 2 ** (attempts - 1)
    again_at = now + timedelta(seconds=seconds * chance.uniform(0.5, 1.0))
    return replace(told, owed=replace(owed, attempts=attempts, again_at=again_at.isoformat()))


def looked(state: TriggerState, workload: Workload, found: Found) -> TriggerState:
    """What is stored after a look that went well."""
    recovered = state.failures > 0 and state.answer == Answer.ERRORED
    return replace(
        state,
        seen=dict(found.state),
        failures=0,
        declared=workload.generation,
        not_before=None,
        next_at="" if found.next_at is None else found.next_at.isoformat(),
        answer="" if recovered else state.answer,
        message="" if recovered else state.message,
    )


def same_look(one: TriggerState, other: TriggerState) -> bool:
    """Whether nothing but the time of the next look differs, so that there is nothing to store."""
    return replace(one, next_at="") == replace(other, next_at="")


def failed_look(
    state: TriggerState, workload: Workload, message: str, pause: timedelta, now: datetime
) -> TriggerState:
    """What is stored after a look that failed, or was told to come again later."""
    return replace(
        state,
        failures=state.failures + 1,
        declared=workload.generation,
        not_before=now + pause,
        next_at="",
        answer=str(Answer.ERRORED),
        message=message,
    )


def backoff(failures: int, chance: random.Random) -> timedelta:
    """How long to wait after so many failures in a row."""
    seconds = min(LAST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2 ** min(failures, 20))
    return timedelta(seconds=seconds * chance.uniform(0.5, 1.0))


def pause_left(state: TriggerState, workload: Workload, now: datetime) -> timedelta:
    """For how long not to look yet; nothing where the declaration is a new one.

    A time further away than anybody is ever told to wait is one from before the clock was stepped back.
    """
    if state.not_before is None or state.declared != workload.generation:
        return timedelta()
    left = state.not_before - now
    return left if timedelta() < left <= LONGEST_PAUSE else timedelta()
