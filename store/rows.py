"""Writing rows of the index in bulk, and one by one where the store refuses some.

All statements are derived from :data:`~store.tables.OBSERVED_COLUMNS`, so none can touch a deployer-owned column
(R12). Rows that change alike, as when an engine restarts, are one statement. The others are compiled once and handed
to the driver as tuples: a thousand rows through SQLAlchemy's own parameters cost five times as much.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from functools import lru_cache
from operator import attrgetter, itemgetter
from typing import Any

from sqlalchemy import (
    JSON,
    Connection,
    Dialect,
    Text,
    Update,
    and_,
    bindparam,
    cast,
    exc,
    func,
    select,
    tuple_,
    update,
)
from sqlalchemy.sql.dml import Insert

from store.database import insert_into
from store.records import Assignment, RowUpdate
from store.tables import CONTAINERS, OBSERVED_COLUMNS

ASSIGNMENT_FIELDS = tuple(field.name for field in fields(Assignment))

_values_of = attrgetter(*ASSIGNMENT_FIELDS)
_GIVEN = ("row_id", *ASSIGNMENT_FIELDS[1:], "last_seen_at", "row_host", "expected_container_id")
"""Names of what every statement is given of a row, in this order; each takes what it needs."""

_ROW_ERRORS = (exc.DataError, exc.IntegrityError, UnicodeError)

MANY_ALIKE = 8
"""Fewer rows than these are not worth a statement of their own."""

Given = tuple[Any, ...]
Changes = tuple[tuple[str, Any], ...]


def as_values(row: Assignment) -> dict[str, Any]:
    """A row's observed columns and id, by column."""
    return dict(zip(ASSIGNMENT_FIELDS, _values_of(row), strict=True))


@dataclass(frozen=True, slots=True)
class _Statement:
    """Text for the driver, and how what is given becomes its parameters."""

    sql: str
    parameters_of: Callable[[Given], Any]


class RowWriter:
    """Bulk writes that fall back to row by row, so that one row's failure stops no other (R14).

    ``rejected`` maps the ids of the rows that the store refused to its reasons.
    """

    def __init__(self, connection: Connection, host: str, seen_at: datetime) -> None:
        self._connection = connection
        self._host = host
        self._seen_at = seen_at
        self._bound_seen_at = _as_bound(connection.dialect, seen_at)
        self.rejected: dict[str, str] = {}

    def insert(self, rows: Sequence[Assignment]) -> None:
        """Insert rows; one that exists is overwritten, unless it got another container since the snapshot."""
        self._execute(_upsert(self._connection.dialect.name), [self._given(row, None) for row in rows])

    def update(self, updates: Sequence[RowUpdate]) -> None:
        """Overwrite rows that still hold the container that the snapshot saw."""
        kept: list[Assignment] = []
        moved: list[Given] = []
        alike: defaultdict[Changes, list[Assignment]] = defaultdict(list)
        for each in self._untangled(updates):
            if each.row.container_id is None or each.row.container_id != each.expected_container_id:
                moved.append(self._given(each.row, each.expected_container_id))
            elif each.before is None:
                kept.append(each.row)
            else:
                alike[_changes(each.before, each.row)].append(each.row)
        for changes, rows in alike.items():
            if len(rows) < MANY_ALIKE or not self._change_alike(changes, rows):
                kept += rows
        self._execute(_OVERWRITE, [self._given(row, row.container_id) for row in kept])
        self._execute(_REBIND, moved)

    def _change_alike(self, changes: Changes, rows: Sequence[Assignment]) -> bool:
        """One statement for rows of which the same columns get the same values; False where the store refused it."""
        # As a text, which is one parameter on either store however many rows it names.
        named = {"row_host": self._host, "bound": json.dumps({row.id: row.container_id for row in rows})}
        values = {**dict(changes), "last_seen_at": self._seen_at}
        try:
            with self._connection.begin_nested():
                self._connection.execute(_alike(self._connection.dialect.name, tuple(values)), named | values)
        except _ROW_ERRORS:
            return False
        return True

    def _given(self, row: Assignment, expected_container_id: str | None) -> Given:
        return (*_values_of(row), self._bound_seen_at, self._host, expected_container_id)

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

    def _execute(self, statement: Insert | Update, rows: list[Given]) -> None:
        if not rows:
            return
        compiled = _compiled(statement, self._connection.dialect)
        parameters = [compiled.parameters_of(row) for row in rows]
        try:
            with self._connection.begin_nested():
                self._connection.exec_driver_sql(compiled.sql, parameters)
        except _ROW_ERRORS:
            for row, each in zip(rows, parameters, strict=True):
                self._execute_one(row[0], compiled.sql, each)

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


_BINDING = "container_id"
_REBIND = _guarded_update(**{name: bindparam(name) for name in OBSERVED_COLUMNS})
_OVERWRITE = _guarded_update(**{name: bindparam(name) for name in OBSERVED_COLUMNS if name != _BINDING})
"""For a row that keeps its container, which the guard has made sure of: so its unique index stays untouched."""

_GIVE_UP = _guarded_update(**{_BINDING: None})


def _changes(before: Assignment, row: Assignment) -> Changes:
    """The columns that differ, with their new values."""
    pairs = zip(ASSIGNMENT_FIELDS, _values_of(before), _values_of(row), strict=True)
    return tuple((name, new) for name, old, new in pairs if new != old)


@lru_cache(maxsize=64)
def _alike(dialect: str, names: tuple[str, ...]) -> Update:
    bound = bindparam("bound", type_=Text)
    each = func.json_each_text(cast(bound, JSON)) if dialect == "postgresql" else func.json_each(bound)
    pairs = each.table_valued("key", "value")
    still_bound = tuple_(CONTAINERS.c.id, CONTAINERS.c.container_id).in_(select(pairs.c.key, pairs.c.value))
    of_host = CONTAINERS.c.host == bindparam("row_host")
    return update(CONTAINERS).where(of_host, still_bound).values({name: bindparam(name) for name in names})


@lru_cache(maxsize=2)
def _upsert(dialect: str) -> Insert:
    key: dict[str, Any] = {"host": bindparam("row_host"), "id": bindparam("row_id")}
    statement = insert_into(CONTAINERS, dialect).values(key | {name: bindparam(name) for name in OBSERVED_COLUMNS})
    overwritten = {name: statement.excluded[name] for name in OBSERVED_COLUMNS}
    # A row that was made since the snapshot keeps the container that its maker gave it.
    free = CONTAINERS.c.container_id.is_(None) | (CONTAINERS.c.container_id == statement.excluded.container_id)
    return statement.on_conflict_do_update(index_elements=["host", "id"], set_=overwritten, where=free)


@lru_cache(maxsize=8)
def _compiled(statement: Insert | Update, dialect: Dialect) -> _Statement:
    compiled = statement.compile(dialect=dialect)
    names = compiled.positiontup or list(compiled.params)
    taken = itemgetter(*(_GIVEN.index(name) for name in names))
    if compiled.positiontup:
        return _Statement(str(compiled), taken)
    return _Statement(str(compiled), lambda given: dict(zip(names, taken(given), strict=True)))


def _as_bound(dialect: Dialect, moment: datetime) -> Any:
    """A time as the driver takes it for the column `last_seen_at`."""
    bind = CONTAINERS.c.last_seen_at.type.dialect_impl(dialect).bind_processor(dialect)
    return moment if bind is None else bind(moment)
