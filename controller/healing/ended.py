"""Whether a person ended a container, or it ended by itself. Pure, a table (S5).

The engine tells nobody who asked it to stop something. What it does tell, while we watch: a `stop` or `kill` that
somebody asked for comes as an event, and a process that dies by itself does not have one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

HARMLESS_SIGNALS = frozenset({"1", "10", "12", "18", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGCONT"})
"""Signals that are sent to tell a process something, not to end it."""

SLACK_SECONDS = 30.0
"""How long after a signal, and the grace period that follows it, an end still counts as asked for."""

_KEPT_UP = frozenset({"always", "unless-stopped"})


class Ender(StrEnum):
    """Who ended it."""

    US = "us"
    PERSON = "person"
    ITSELF = "itself"
    ENGINE = "engine"


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked of the engine since the container started, as far as we watched. Times by its clock.

    ``ours_by`` is who asked for what, where it was one of our processes and said so.
    """

    ours_at: datetime | None = None
    ours_by: str = ""
    stopped_at: datetime | None = None
    killed_at: datetime | None = None
    signal: str = ""
    died_at: datetime | None = None
    out_of_memory: bool = False


@dataclass(frozen=True, slots=True)
class End:
    """How a container ended, as the engine inspects it. ``error`` is why it could not be started."""

    exit_code: int = 0
    oom_killed: bool = False
    error: str = ""
    restart_policy: str = "no"
    grace_seconds: int = 10
    finished_at: datetime | None = None


def who_ended(end: End, asked: Asked, *, watched: bool, engine_restarted: bool) -> Ender:
    """Who ended a container that is there and does not run.

    ===============================================================  =========
    what is known, the first that fits                               verdict
    ===============================================================  =========
    we asked for it                                                  us
    it could not be started, or was out of memory                    itself
    somebody asked for a stop, or sent a signal that ends, just
    before it died                                                   person
    we watched it die, and nobody asked                              itself
    the engine was restarted in the meantime                         engine
    the engine keeps it up (`always`, `unless-stopped`), and did
    not: that is what it does only for who was stopped by hand       person
    anything else                                                    itself
    ===============================================================  =========
    """
    if asked.ours_at is not None:
        return Ender.US
    if end.error or end.oom_killed or asked.out_of_memory:
        return Ender.ITSELF
    if _was_asked_for(end, asked):
        return Ender.PERSON
    if asked.died_at is not None or watched:
        return Ender.ITSELF
    if engine_restarted:
        return Ender.ENGINE
    return Ender.PERSON if end.restart_policy in _KEPT_UP else Ender.ITSELF


def _was_asked_for(end: End, asked: Asked) -> bool:
    if asked.stopped_at is not None:
        return True
    if asked.killed_at is None or asked.signal in HARMLESS_SIGNALS:
        return False
    ended_at = asked.died_at or end.finished_at
    longest = timedelta(seconds=end.grace_seconds + SLACK_SECONDS)
    return ended_at is None or ended_at - asked.killed_at <= longest
