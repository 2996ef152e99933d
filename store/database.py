"""Opening SQLite or PostgreSQL so that a transaction means what it says.

The only module that knows which of the two it is talking to. Driver exceptions leave it as
:class:`~store.errors.StoreError`.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, Table, create_engine, event, exc
from sqlalchemy.engine import URL, make_url
from sqlalchemy.pool import StaticPool

from store.errors import Conflict, RowRejected, SchemaOutdated, StoreError, StoreUnavailable, StoreUrlInvalid
from store.watchdog import Watchdog

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

BUSY_TIMEOUT_SECONDS = 5
CONNECT_TIMEOUT_SECONDS = 5
STATEMENT_TIMEOUT_SECONDS = 15
TRANSACTION_TIMEOUT_SECONDS = 20
_PASSWORD = re.compile(r":[^:/]*@")


@dataclass(frozen=True, slots=True)
class Database:
    """An open store. ``path`` is the SQLite file, ``None`` for PostgreSQL and for memory."""

    engine: Engine
    url: URL
    path: Path | None
    watchdog: Watchdog | None = None

    @property
    def dialect(self) -> str:
        """``sqlite`` or ``postgresql``."""
        return self.engine.dialect.name

    @property
    def lost(self) -> bool:
        """Whether there is no SQLite file yet; reading would make an empty one."""
        return self.path is not None and not self.path.exists()

    @property
    def display_url(self) -> str:
        """The URL with its password hidden."""
        return self.url.render_as_string(hide_password=True)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that only reads: one consistent view.

        :raises StoreError: see :func:`translated`.
        """
        # SQLite's snapshots are such a view anyway; PostgreSQL's default is a new one for every statement.
        options = {"isolation_level": "REPEATABLE READ"} if self.dialect == "postgresql" else {}
        with translated(self), self.engine.connect() as plain:
            connection = plain.execution_options(**options)
            with self._watched(connection), connection.begin():
                yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that writes: all of it is committed or none.

        On SQLite it begins IMMEDIATE: a deferred one that reads first and writes later fails at once with
        BUSY_SNAPSHOT, whatever the time-out, and SQLAlchemy's default loses updates.

        :raises StoreError: see :func:`translated`.
        """
        with translated(self), self.engine.connect() as plain:
            connection = plain.execution_options(tallyd_writing=True)
            with self._watched(connection), connection.begin():
                yield connection

    def _watched(self, connection: Connection) -> AbstractContextManager[None]:
        if self.watchdog is None:
            return nullcontext()
        driver_connection: Any = connection.connection.driver_connection
        return self.watchdog.watching(driver_connection.fileno())

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()


def hide_password(url: str) -> str:
    """A database URL without its password, for answers and messages."""
    return _PASSWORD.sub(":***@", url)


def open_database(url: str, *, make: bool = True) -> Database:
    """Open the store behind ``url``, but connect lazily.

    :param make: make the parent folder of a SQLite file; without it, whoever only reads checks :attr:`Database.lost`.
    :param url: ``sqlite:///relative``, ``sqlite:////absolute``, ``sqlite://`` (memory) or ``postgresql://…``.
    :raises StoreUrlInvalid: another kind of database, an unreadable URL, or a folder that cannot be made.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() == "postgresql":
        return Database(_postgresql(parsed), parsed, None, Watchdog(TRANSACTION_TIMEOUT_SECONDS))
    path = Path(parsed.database) if parsed.database and parsed.database != ":memory:" else None
    if path is not None and make:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as exc_:
            raise StoreUrlInvalid(f"cannot make {path.parent} for the store: {exc_.strerror}") from exc_
    return Database(_sqlite(parsed, in_memory=path is None), parsed, path)


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (exc.ArgumentError, ValueError) as error:
        shown = hide_password(url)
        raise StoreUrlInvalid(
            f"database URL {shown!r} cannot be read; allowed: sqlite:////path/to/file.db or "
            "postgresql://user@host/database"
        ) from error
    backend = parsed.get_backend_name()
    if backend == "postgres":
        backend = "postgresql"
    if backend not in ("sqlite", "postgresql"):
        raise StoreUrlInvalid(f"database {backend!r} is not supported; allowed: sqlite, postgresql")
    return parsed.set(drivername="sqlite" if backend == "sqlite" else "postgresql+psycopg")


def _postgresql(url: URL) -> Engine:
    return create_engine(
        url,
        hide_parameters=True,
        pool_size=4,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "options": f"-c statement_timeout={STATEMENT_TIMEOUT_SECONDS * 1000}"
            f" -c lock_timeout={BUSY_TIMEOUT_SECONDS * 1000} -c timezone=UTC",
            "application_name": "tallyd",
        },
    )


def _sqlite(url: URL, *, in_memory: bool) -> Engine:
    pool: Mapping[str, Any] = {"poolclass": StaticPool} if in_memory else {}
    connect_args = {"timeout": BUSY_TIMEOUT_SECONDS, "check_same_thread": False}
    engine = create_engine(url, hide_parameters=True, connect_args=connect_args, **pool)
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, see _begin_sqlite
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    writing = connection.get_execution_options().get("tallyd_writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def insert_into(table: Table, dialect: str) -> sqlite.Insert | postgresql.Insert:
    """An insert that can say what happens on a conflict, in the words of the store.

    Only the dialect that is used is imported: PostgreSQL's brings 2 MB of modules with it.
    """
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table)


@contextmanager
def translated(database: Database) -> Iterator[None]:
    """Turn what the driver raises inside into our own errors.

    :raises SchemaOutdated: a table or column is not there.
    :raises Conflict: a constraint was violated.
    :raises RowRejected: a value that the store cannot hold.
    :raises StoreUnavailable: everything that is wrong with the store itself rather than with the request.
    """
    try:
        yield
    except exc.SQLAlchemyError as error:
        raise _translate(database, error) from error
    except sqlite3.Error as error:
        raise StoreUnavailable(f"store {database.display_url}: {error}") from error
    except UnicodeError as error:
        raise RowRejected(f"store {database.display_url} cannot hold this text: {error}") from error


def _translate(database: Database, error: exc.SQLAlchemyError) -> StoreError:
    cause = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
    if _names_a_lost_table(error, cause):
        return SchemaOutdated(f"store {database.display_url} has no fitting schema ({cause}); run: tallyd migrate")
    if isinstance(error, exc.IntegrityError):
        return Conflict(f"store {database.display_url} refused the change: {cause}")
    if isinstance(error, exc.DataError):
        return RowRejected(f"store {database.display_url} cannot hold this value: {cause}")
    return StoreUnavailable(f"store {database.display_url}: {cause}{_remedy(database, cause)}")


def _names_a_lost_table(error: exc.SQLAlchemyError, cause: str) -> bool:
    # PostgreSQL says "does not exist" of roles and databases too, but with an OperationalError.
    signs = ("no such table", "no such column")
    lost = isinstance(error, exc.ProgrammingError) and "does not exist" in cause
    return lost or (isinstance(error, exc.OperationalError) and any(sign in cause for sign in signs))


def _remedy(database: Database, cause: str) -> str:
    if "unable to open database file" in cause and database.path is not None:
        if os.access(database.path.parent, os.W_OK):
            return ""
        return f"; the folder {database.path.parent} is not writable for uid {os.getuid()}"
    if "locked" in cause:
        return f"; another process held the write lock for over {BUSY_TIMEOUT_SECONDS} s"
    if "malformed" in cause or "not a database" in cause:
        return "; the file is damaged: stop the controller, move it away or restore a back-up (docs/operations.md)"
    return ""
