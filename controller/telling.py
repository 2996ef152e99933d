"""Telling history from wherever something happens. It may have a gap; what happened is not undone by that."""

from __future__ import annotations

import structlog

from store.database import Database
from store.errors import StoreError
from store.history import append_events
from store.history_records import Event

log = structlog.get_logger(__name__)


def tell_history(database: Database, *events: Event) -> None:
    """Append events; a store that fails costs a line of the log, and the events."""
    try:
        append_events(database, events)
    except StoreError as error:
        about = ", ".join(sorted({f"{each.kind} {each.workload_id}".strip() for each in events}))
        log.warning("history has a gap", about=about, reason=str(error))
