"""Bringing the schema to this version, once, however many controllers start together (O3).

Alembic takes no lock of its own: five starts at once would run five migrations. On PostgreSQL the lock is an
advisory one, held by the migrating transaction; on SQLite the kernel's lock on a file beside the store, so
that both end with their holder.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from sqlalchemy import Connection, column, inspect, select, table, text

from store.database import Database
from store.errors import SchemaOutdated, StoreUnavailable

LOCK_TIMEOUT_SECONDS = 15
HEAD_REVISION = "0005"
"""The newest revision under `migrations/versions`. Written down, so that a start need not load Alembic to know it."""

_VERSION_TABLE = table("alembic_version", column("version_num"))
_ADVISORY_LOCK = 0x74616C6C7964  # "tallyd"


def head_revision() -> str:
    """The schema revision that this version of tallyd works with."""
    return HEAD_REVISION


def current_revision(database: Database) -> str | None:
    """The schema revision in the store, ``None`` for an empty one.

    :raises StoreError: the store cannot be read.
    """
    with database.reading() as connection:
        return _current(connection)


def migrate(database: Database) -> bool:
    """Bring the schema to :func:`head_revision`; returns whether there was anything to do.

    :raises SchemaOutdated: the store was written by a newer tallyd.
    :raises StoreError: the store cannot be written, or another migration did not end in time.
    """
    if current_revision(database) == head_revision():
        return False
    with _alone(database), database.writing() as connection:
        _take_advisory_lock(connection)
        return _upgrade(connection)


def check_schema(database: Database) -> None:
    """Check that the store has the schema of this version.

    :raises SchemaOutdated: it has not.
    """
    current, head = current_revision(database), head_revision()
    if current != head:
        raise SchemaOutdated(
            f"store {database.display_url} has schema {current or 'none'}, this tallyd needs {head}; "
            "run: tallyd migrate"
        )


def _upgrade(connection: Connection) -> bool:
    current = _current(connection)
    if current == head_revision():
        return False
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    known = {revision.revision for revision in ScriptDirectory.from_config(config).walk_revisions()}
    if current is not None and current not in known:
        raise SchemaOutdated(f"the store has schema {current}, which a newer tallyd made; use that version")
    command.upgrade(config, "head")
    return True


def _current(connection: Connection) -> str | None:
    if not inspect(connection).has_table(_VERSION_TABLE.name):
        return None
    return connection.execute(select(_VERSION_TABLE.c.version_num)).scalar()


@contextmanager
def _alone(database: Database) -> Iterator[None]:
    if database.path is None:
        yield
        return
    lock = FileLock(f"{database.path}.migrate.lock", timeout=LOCK_TIMEOUT_SECONDS)
    try:
        with lock:
            yield
    except Timeout as error:
        raise StoreUnavailable(
            f"another process has been migrating {database.path} for {LOCK_TIMEOUT_SECONDS} s"
        ) from error
    except OSError as error:
        raise StoreUnavailable(f"cannot lock {lock.lock_file}: {error.strerror or error}") from error


def _take_advisory_lock(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_SECONDS}s'"))
        connection.execute(text(f"SET LOCAL statement_timeout = '{LOCK_TIMEOUT_SECONDS}s'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
