"""The controller config in the store's own tables: content and generation in one transaction (G4).

For PostgreSQL, where every controller of the store shares it. Beside a SQLite file it is a file, which a person can
edit: :mod:`controller.declared.config_file`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, text

from store.database import Database
from store.errors import LockTimeout, StoreUnavailable
from store.records import ConfigDocument
from store.tables import CONFIG_GENERATIONS

KEPT_GENERATIONS = 20
LOCK_TIMEOUT_SECONDS = 5

_ADVISORY_LOCK = 0x74616C6C7963  # "tallyc"


def read_config_document(database: Database) -> ConfigDocument:
    """The newest generation; generation 0 when nothing is stored (G2).

    :raises StoreError: the store cannot be read.
    """
    with database.reading() as connection:
        return _newest(connection)


def list_config_documents(database: Database) -> list[ConfigDocument]:
    """The generations that are kept, newest first.

    :raises StoreError: the store cannot be read.
    """
    newest_first = select(CONFIG_GENERATIONS).order_by(CONFIG_GENERATIONS.c.generation.desc())
    with database.reading() as connection:
        return [_document(row) for row in connection.execute(newest_first)]


def change_config_document(
    database: Database,
    make: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    *,
    author: str,
    now: datetime,
    expected_generation: int | None = None,
) -> ConfigDocument:
    """Store what ``make`` makes of the newest content as the next generation; what it raises stores nothing.

    :raises GenerationConflict: the newest generation is not the expected one (G3).
    :raises LockTimeout: another change did not end in time (G1).
    :raises StoreError: the store cannot be written.
    """
    try:
        with database.writing() as connection:
            _alone(connection)
            current = _newest(connection)
            current.expect(expected_generation)
            changed = ConfigDocument(current.generation + 1, make(current.content), author, now)
            values = {name: getattr(changed, name) for name in ("generation", "content", "author", "at")}
            connection.execute(insert(CONFIG_GENERATIONS).values(values))
            kept = CONFIG_GENERATIONS.c.generation > changed.generation - KEPT_GENERATIONS
            connection.execute(delete(CONFIG_GENERATIONS).where(~kept))
    except StoreUnavailable as error:
        if "lock" in str(error):
            raise LockTimeout(f"controller config: another change took over {LOCK_TIMEOUT_SECONDS} s") from error
        raise
    return changed


def _alone(connection: Connection) -> None:
    """On SQLite the transaction is alone from its first statement (BEGIN IMMEDIATE)."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_SECONDS}s'"))
        connection.execute(select(func.pg_advisory_xact_lock(_ADVISORY_LOCK)))


def _newest(connection: Connection) -> ConfigDocument:
    newest = select(CONFIG_GENERATIONS).order_by(CONFIG_GENERATIONS.c.generation.desc()).limit(1)
    row = connection.execute(newest).one_or_none()
    return ConfigDocument() if row is None else _document(row)


def _document(row: Row[Any]) -> ConfigDocument:
    return ConfigDocument(row.generation, row.content, row.author, row.at)
