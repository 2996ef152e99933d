"""Writing rows of the index in bulk, and one by one where the store refuses some.

Both statements are derived from :data:`~store.tables.OBSERVED_COLUMNS`, so neither can touch a deployer-owned
column (R12). They are compiled once and handed to the driver as tuples: a thousand rows through SQLAlchemy's own
parameters cost five times as much.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from datetime import datetime
from functools import lru_cache
from operator import attrgetter, itemgetter
from typing import Any

from sqlalchemy import Connection, Dialect, Update, and_, bindparam, exc, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import Insert

from store.records import Assignment, RowUpdate
from store.tables import CONTAINERS, OBSERVED_COLUMNS

ASSIGNMENT_FIELDS = tuple(field.name for field in fields(Assignment))

_values_of = attrgetter(*ASSIGNMENT_FIELDS)
_ROW_ERRORS = (exc.DataError, exc.IntegrityError, UnicodeError)

Values = dict[str, Any]


def as_values(row: Assignment) -> Values:
    """A row's observed columns and id, by column."""
    return dict(zip(ASSIGNMENT_FIELDS, _values_of(row), strict=True))


class RowWriter:
    """Bulk writes that fall back to row by row, so that one row's failure stops no other (R14).

    ``rejected`` maps the ids of the rows that the store refused to its reasons.
    """

    def __init__(self, connection: Connection, host: str, seen_at: datetime) -> None:
        self._connection = connection
        self._host = host
        self._seen_at = _as_bound(connection.dialect, seen_at)
        self.rejected: dict[str, str] = {}

    def insert(self, rows: Sequence[Assignment]) -> None:
        """Insert rows; one that exists is overwritten, unless it got another container since the snapshot."""
        key = {"host": self._host, "last_seen_at": self._seen_at}
        self._execute(_upsert(self._connection.dialect.name), [as_values(row) | key for row in rows])

    def update(self, updates: Sequence[RowUpdate]) -> None:
        """Overwrite rows that still hold the container that the snapshot saw."""
        key = {"row_host": self._host, "last_seen_at": self._seen_at}
        self._execute(_GUARDED_UPDATE, [_as_update(each) | key for each in self._untangled(updates)])

    def _untangled(self, updates: Sequence[RowUpdate]) -> Iterator[RowUpdate]:
        """Rows whose container goes to another updated row give it up first: two rows may never hold one."""
        arriving = {each.row.container_id for each in updates if each.row.container_id != each.expected_container_id}
        arriving.discard(None)
        for each in updates:
            if each.row.container_id is None or each.expected_container_id not in arriving:
                yield each
                continue
            key = {"row_host": self._host, "row_id": each.row.id}
            self._connection.execute(_GIVE_UP, key | {"expected_container_id": each.expected_container_id})
            yield replace(each, expected_container_id=None)

    def _execute(self, statement: Insert | Update, rows: list[Values]) -> None:
        if not rows:
            return
        sql, names = _compiled(statement, self._connection.dialect)
        bound = [_positional(row, names) for row in rows] if names else rows
        try:
            with self._connection.begin_nested():
                self._connection.exec_driver_sql(sql, bound)
        except _ROW_ERRORS:
            for row, parameters in zip(rows, bound, strict=True):
                self._execute_one(str(row.get("row_id") or row.get("id")), sql, parameters)

    def _execute_one(self, row_id: str, sql: str, parameters: Any) -> None:
        try:
            with self._connection.begin_nested():
                self._connection.exec_driver_sql(sql, parameters)
        except _ROW_ERRORS as error:
            self.rejected[row_id] = str(getattr(error, "orig", None) or error).strip().splitlines()[0]


def _guarded_update(**values: Any) -> Update:
    unchanged = CONTAINERS.c.container_id.is_not_distinct_from(bindparam("expected_container_id"))
    key = and_(CONTAINERS.c.host == bindparam("row_host"), CONTAINERS.c.id == bindparam("row_id"))
    return update(CONTAINERS).where(key, unchanged).values(values)


_GUARDED_UPDATE = _guarded_update(**{name: bindparam(name) for name in OBSERVED_COLUMNS})
_GIVE_UP = _guarded_update(container_id=None)


@lru_cache(maxsize=2)
def _upsert(dialect: str) -> Insert:
    make = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement = make(CONTAINERS).values({name: bindparam(name) for name in ("host", "id", *OBSERVED_COLUMNS)})
    overwritten = {name: statement.excluded[name] for name in OBSERVED_COLUMNS}
    # A row that was made since the snapshot keeps the container that its maker gave it.
    free = CONTAINERS.c.container_id.is_(None) | (CONTAINERS.c.container_id == statement.excluded.container_id)
    return statement.on_conflict_do_update(index_elements=["host", "id"], set_=overwritten, where=free)


@lru_cache(maxsize=8)
def _compiled(statement: Insert | Update, dialect: Dialect) -> tuple[str, tuple[str, ...]]:
    """The statement's text for the driver, and the order of its parameters; empty where they go by name."""
    compiled = statement.compile(dialect=dialect)
    return str(compiled), tuple(compiled.positiontup or ())


def _positional(row: Values, names: tuple[str, ...]) -> tuple[Any, ...]:
    found: tuple[Any, ...] = itemgetter(*names)(row)
    return found


def _as_bound(dialect: Dialect, moment: datetime) -> Any:
    """A time as the driver takes it for the column `last_seen_at`."""
    bind = CONTAINERS.c.last_seen_at.type.dialect_impl(dialect).bind_processor(dialect)
    return moment if bind is None else bind(moment)


def _as_update(change: RowUpdate) -> Values:
    values = as_values(change.row)
    return values | {"row_id": values.pop("id"), "expected_container_id": change.expected_container_id}
