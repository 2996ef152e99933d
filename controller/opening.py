"""Opening the store for who writes to it."""

from __future__ import annotations

import structlog

from controller.settings import Settings
from store.database import Database, open_database
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
