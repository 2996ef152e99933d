"""What a process of ours does to containers, written down before it does so: for the others that watch (S5).

The engine tells nobody who asked it to stop something. A deploy by the command line looks to the running controller
as a person does, unless it says so beforehand.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from controller.healing.ended import SLACK_SECONDS
from controller.telling import tell_history
from store.database import Database
from store.errors import StoreError
from store.healing import row_of_container
from store.history import read_events
from store.history_records import MOST_READ, Event, EventFilter, EventKind
from store.turns import find_turn

SAME_DEED_SECONDS = 10.0
"""A container that is stopped and then removed within this is told of once."""

_MOST_REMEMBERED = 1_024

log = structlog.get_logger(__name__)


class Deeds:
    """Those of one process. Safe from several threads.

    :param actor: who acts by this process, such as ``cli:root`` or ``controller``.
    """

    def __init__(self, database: Database, host: str, actor: str, now: Callable[[], datetime]) -> None:
        self._database = database
        self._host = host
        self._actor = actor
        self._now = now
        self._lock = threading.Lock()
        self._told: OrderedDict[str, datetime] = OrderedDict()

    def acting(self, container_id: str) -> None:
        """We are about to end this container. A store that fails keeps nobody from it."""
        now = self._now()
        if not self._is_new(container_id, now):
            return
        try:
            row = row_of_container(self._database, self._host, container_id)
            turn = find_turn(self._database, row.workload_id) if row is not None else None
        except StoreError as error:
            log.warning("history has a gap", about=f"the end of {container_id}", reason=str(error))
            return
        name = (row.name or row.id) if row is not None else container_id[:12]
        doing = turn.doing if turn is not None else ""
        said = f"{name} is being ended{': ' if doing else ''}{doing}"
        workload_id = row.workload_id if row is not None else ""
        details = {"container_id": container_id, "doing": doing}
        event = Event(
            now, EventKind.VERB, self._host, workload_id, name, "ending", said, self._actor, details=details
        )
        tell_history(self._database, event)

    def _is_new(self, container_id: str, now: datetime) -> bool:
        with self._lock:
            before = self._told.pop(container_id, None)
            new = before is None or not timedelta(0) <= now - before < timedelta(seconds=SAME_DEED_SECONDS)
            self._told[container_id] = now if new or before is None else before
            while len(self._told) > _MOST_REMEMBERED:
                self._told.popitem(last=False)
        return new


def deed_before(
    database: Database, host: str, container_id: str, ended_at: datetime, grace_seconds: float = 10.0
) -> Event | None:
    """What one of our processes wrote down before a container ended; ``None``: it was not ours.

    :param ended_at: when it ended; what was done to an earlier life of the container does not count.
    :raises StoreError: the store cannot be read.
    """
    since = ended_at - timedelta(seconds=grace_seconds + SLACK_SECONDS)
    wanted = EventFilter(host=host, kinds=(EventKind.VERB,), since=since, limit=MOST_READ)
    latest = ended_at + timedelta(seconds=SLACK_SECONDS)
    found = [
        each
        for each in read_events(database, wanted)
        if each.details.get("container_id") == container_id and each.at <= latest
    ]
    return found[-1] if found else None


def words_of_deed(deed: Event) -> str:
    """Who did it, and what for."""
    doing = str(deed.details.get("doing", ""))
    return doing or deed.actor
