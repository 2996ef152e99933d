"""Opening the store for who writes to it, and making this host known to it."""

from __future__ import annotations

import structlog

from controller.settings import Settings, clamp_interval
from store import hosts
from store.database import Database, open_database
from store.records import Host
from store.schema import migrate

log = structlog.get_logger(__name__)


def open_store(settings: Settings) -> Database:
    """Open the store and bring its schema up to date.

    :raises StoreError: it cannot be used.
    """
    database = open_database(settings.database_url)
    if migrate(database):
        log.info("store migrated", url=database.display_url)
    return database


def register_host(database: Database, settings: Settings, endpoint: str, *, single_pass: bool = False) -> None:
    """Make this host known to the store, with the interval that decides when its truth is stale."""
    interval = clamp_interval(settings.interval_seconds)
    host = Host(settings.host, endpoint=endpoint, interval_seconds=interval)
    hosts.register(database, host, single_pass=single_pass)
