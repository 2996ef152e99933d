"""Secret values of workloads, as ciphertexts: what is kept here nobody can read without a key (S4).

A generation rises with each new value and never falls, also across a deletion: what was made with a value can be told
from what is made with the next.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from store.activity_tables import SECRETS
from store.database import Database
from store.errors import SecretNotFound
from store.workloads import get_in

_GONE = ""
"""The ciphertext of a secret that was deleted: its row stays for its generation."""


@dataclass(frozen=True, slots=True)
class StoredSecret:
    """One secret of one workload; ``generation`` begins at 1."""

    workload_id: str
    name: str
    ciphertext: str = field(repr=False)
    generation: int
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Reencrypted:
    """What became of a new encryption of all: those that were done, and those that could not be read."""

    done: tuple[StoredSecret, ...]
    unreadable: tuple[StoredSecret, ...]


def put_secret(database: Database, workload_id: str, name: str, ciphertext: str, now: datetime) -> StoredSecret:
    """Store a new value, under the next generation.

    :raises NotFound: no such workload.
    """
    with database.writing() as connection:
        get_in(connection, workload_id, locked=True)
        before = connection.execute(select(SECRETS).where(*_named(workload_id, name))).one_or_none()
        generation = 1 if before is None else before.generation + 1
        made = StoredSecret(workload_id, name, ciphertext, generation, now)
        values = {each: getattr(made, each) for each in StoredSecret.__slots__}
        if before is None:
            connection.execute(insert(SECRETS).values(values))
        else:
            connection.execute(update(SECRETS).where(*_named(workload_id, name)).values(values))
    return made


def get_secret(database: Database, workload_id: str, name: str) -> StoredSecret:
    """One secret.

    :raises NotFound: no such workload.
    :raises SecretNotFound: it has no such secret.
    """
    with database.reading() as connection:
        get_in(connection, workload_id)
        return _get(connection, workload_id, name)


def list_secrets(database: Database, workload_id: str | None = None) -> list[StoredSecret]:
    """The secrets of a workload, or of all, by workload and name.

    :raises NotFound: no such workload.
    """
    with database.reading() as connection:
        if workload_id is not None:
            get_in(connection, workload_id)
        return _read(connection, workload_id)


def delete_secret(database: Database, workload_id: str, name: str, now: datetime) -> None:
    """Forget a value.

    :raises NotFound: no such workload.
    :raises SecretNotFound: it has no such secret.
    """
    with database.writing() as connection:
        get_in(connection, workload_id, locked=True)
        _get(connection, workload_id, name)
        gone = {"ciphertext": _GONE, "updated_at": now}
        connection.execute(update(SECRETS).where(*_named(workload_id, name)).values(gone))


def reencrypt_secrets(database: Database, reencrypt: Callable[[StoredSecret], str | None]) -> Reencrypted:
    """Give every secret another ciphertext of the same value, in one transaction; generations stay.

    :param reencrypt: answers ``None`` for one that it cannot read: that one stays as it is.
    """
    done, unreadable = [], []
    with database.writing() as connection:
        for each in _read(connection, None, locked=True):
            ciphertext = reencrypt(each)
            if ciphertext is None:
                unreadable.append(each)
                continue
            its = _named(each.workload_id, each.name)
            connection.execute(update(SECRETS).where(*its).values(ciphertext=ciphertext))
            done.append(each)
    return Reencrypted(tuple(done), tuple(unreadable))


def read_generations(connection: Connection, workload_id: str, names: Collection[str]) -> Mapping[str, int]:
    """The generations of these secrets, in a transaction of the caller; 0 for one that is not there."""
    if not names:
        return {}
    there = {each.name: each.generation for each in _read(connection, workload_id)}
    return {name: there.get(name, 0) for name in sorted(names)}


def _read(connection: Connection, workload_id: str | None, *, locked: bool = False) -> list[StoredSecret]:
    found = select(SECRETS).where(SECRETS.c.ciphertext != _GONE).order_by(SECRETS.c.workload_id, SECRETS.c.name)
    if workload_id is not None:
        found = found.where(SECRETS.c.workload_id == workload_id)
    return [_secret(row) for row in connection.execute(found.with_for_update() if locked else found)]


def _get(connection: Connection, workload_id: str, name: str) -> StoredSecret:
    row = connection.execute(select(SECRETS).where(*_named(workload_id, name))).one_or_none()
    if row is None or row.ciphertext == _GONE:
        raise SecretNotFound(workload_id, name)
    return _secret(row)


def _named(workload_id: str, name: str) -> tuple[Any, Any]:
    return SECRETS.c.workload_id == workload_id, SECRETS.c.name == name


def _secret(row: Row[Any]) -> StoredSecret:
    return StoredSecret(**row._mapping)
