"""What is told of a container that ended: how, who made it, and its last words. Pure (S5)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from controller.engine.containers import ContainerSeen
from controller.healing.ended import HARMLESS_SIGNALS, Asked
from controller.logs import escape_controls
from store.history_records import Event, EventKind
from store.records import Assignment

LONGEST_LINE = 300
_SIGNALS = {1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 6: "SIGABRT", 9: "SIGKILL", 11: "SIGSEGV", 15: "SIGTERM"}

BY_US, BY_SOMEBODY, BY_ITSELF = "controller", "somebody else (engine API)", "itself"
"""Who made it end."""


def cause_of(
    row: Assignment, host: str, at: datetime, exit_code: int | None, seen: ContainerSeen | None, asked: Asked
) -> Event:
    """The event of an end; what is not known is not told."""
    out_of_memory = asked.out_of_memory or (seen is not None and seen.oom_killed)
    code = seen.exit_code if seen is not None and seen.state in ("exited", "dead") else exit_code
    actor = actor_of(asked)
    told = [each for each in (_code_words(code), "out of memory" if out_of_memory else "") if each]
    how = f" ({', '.join(told)})" if told else ""
    ours = f"ended by tallyd{', ' if asked.ours_by else ''}{asked.ours_by}"
    by = {BY_US: ours, BY_SOMEBODY: f"ended by {BY_SOMEBODY}", BY_ITSELF: "ended by itself"}[actor]
    error = f": {escape_controls(seen.error)}" if seen is not None and seen.error else ""
    return Event(
        at,
        EventKind.CAUSE,
        host,
        row.workload_id,
        row.id,
        "out_of_memory" if out_of_memory else "died",
        f"{row.name or row.id} {by}{how}{error}",
        actor,
        details={
            "name": row.name,
            "container_id": row.container_id or "",
            "exit_code": code,
            "out_of_memory": out_of_memory,
            "restarts": seen.restarts if seen is not None else None,
            "last_lines": [],
        },
    )


def bounded_lines(lines: Sequence[str]) -> list[str]:
    """Log lines as they may be stored and shown."""
    return [escape_controls(each)[:LONGEST_LINE] for each in lines]


def actor_of(asked: Asked) -> str:
    """Who made a container end, as far as it is known."""
    if asked.ours_at is not None:
        return BY_US
    ending_signal = asked.killed_at is not None and asked.signal not in HARMLESS_SIGNALS
    return BY_SOMEBODY if asked.stopped_at is not None or ending_signal else BY_ITSELF


def _code_words(code: int | None) -> str:
    if code is None:
        return ""
    signal = _SIGNALS.get(code - 128)
    return f"exit {code}, {signal}" if signal else f"exit {code}"
