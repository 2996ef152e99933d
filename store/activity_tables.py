"""The tables of what the controller does: history, healing budgets, holds, trigger states, secrets, turns to deploy.

Kept apart from :mod:`store.tables`, which has what is true of containers and what was declared.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Dialect, Index, Integer, Text, TypeDecorator
from sqlmodel import Field, SQLModel

from store.tables import UtcDateTime, table_of

_SERIAL = BigInteger().with_variant(Integer(), "sqlite")
"""SQLite counts up only what it calls INTEGER."""


class Moments(TypeDecorator[tuple[datetime, ...]]):
    """A few aware datetimes in one column, as a JSON list of ISO 8601 strings."""

    impl = JSON
    cache_ok = True

    def process_bind_param(self, value: Iterable[datetime] | None, dialect: Dialect) -> list[str]:
        """As they are kept."""
        return [each.isoformat() for each in value or ()]

    def process_result_value(self, value: list[str] | None, dialect: Dialect) -> tuple[datetime, ...]:
        """As they were."""
        return tuple(map(datetime.fromisoformat, value or ()))


class EventTable(SQLModel, table=True):
    """History: one row a state transition, verb or decision; appended, never changed, dropped by age.

    ``subject`` is what it is about within the workload: a row of the index, a revision, a secret. ``tick`` names the
    pass that it happened in, as ``<host>/<pass number>``; empty outside of one. ``actor`` is who did it.
    """

    __tablename__ = "events"
    __table_args__ = (
        Index("ix_events_workload_id", "workload_id", "id"),
        Index("ix_events_at", "at"),
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=_SERIAL)
    at: datetime = Field(sa_type=UtcDateTime)
    host: str = Field(default="", sa_type=Text)
    workload_id: str = Field(default="", sa_type=Text)
    subject: str = Field(default="", sa_type=Text)
    kind: str = Field(sa_type=Text)
    reason: str = Field(default="", sa_type=Text)
    message: str = Field(default="", sa_type=Text)
    actor: str = Field(default="", sa_type=Text)
    tick: str = Field(default="", sa_type=Text)
    details: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)


class HealingTable(SQLModel, table=True):
    """The healing budget of one slot, a place that a container fills: when it was healed, and back-off (S5)."""

    __tablename__ = "healing"

    host: str = Field(primary_key=True, sa_type=Text)
    slot: str = Field(primary_key=True, sa_type=Text)
    workload_id: str = Field(default="", sa_type=Text)
    asked_at: datetime = Field(sa_type=UtcDateTime)
    attempts_at: tuple[datetime, ...] = Field(default=(), sa_type=Moments)
    failures: int = 0
    not_before: datetime | None = Field(default=None, sa_type=UtcDateTime)
    reason: str = Field(default="", sa_type=Text)


class HoldTable(SQLModel, table=True):
    """That something is left alone, by whom, why, and until when (S5).

    Whole hosts have an empty workload and slot, whole workloads an empty slot.
    """

    __tablename__ = "holds"

    host: str = Field(primary_key=True, sa_type=Text)
    workload_id: str = Field(primary_key=True, default="", sa_type=Text)
    slot: str = Field(primary_key=True, default="", sa_type=Text)
    author: str = Field(default="", sa_type=Text)
    reason: str = Field(default="", sa_type=Text)
    created_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class TriggerTable(SQLModel, table=True):
    """What a trigger has seen of one workload, as it was left by the last event that was dispatched.

    ``generation`` rises with each change, so that of two dispatchers one wins. ``not_before`` is when the other side
    may be asked again.
    """

    __tablename__ = "trigger_states"

    workload_id: str = Field(primary_key=True, foreign_key="workloads.id", ondelete="CASCADE", sa_type=Text)
    trigger_kind: str = Field(sa_type=Text)
    state: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    generation: int = 0
    not_before: datetime | None = Field(default=None, sa_type=UtcDateTime)
    fired_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    answer: str = Field(default="", sa_type=Text)
    message: str = Field(default="", sa_type=Text)
    updated_at: datetime = Field(sa_type=UtcDateTime)


class SecretTable(SQLModel, table=True):
    """Secret values of a workload, encrypted; ``generation`` rises with each new value (S4)."""

    __tablename__ = "secrets"

    workload_id: str = Field(primary_key=True, foreign_key="workloads.id", ondelete="CASCADE", sa_type=Text)
    name: str = Field(primary_key=True, sa_type=Text)
    ciphertext: str = Field(sa_type=Text)
    generation: int = 1
    updated_at: datetime = Field(sa_type=UtcDateTime)


class TurnTable(SQLModel, table=True):
    """Who deploys a workload now, by the store's clock: one at a time, in whatever process."""

    __tablename__ = "deploy_turns"

    workload_id: str = Field(primary_key=True, foreign_key="workloads.id", ondelete="CASCADE", sa_type=Text)
    owner: str = Field(default="", sa_type=Text)
    token: int = 0
    expires: float = 0.0
    doing: str = Field(default="", sa_type=Text)


EVENTS = table_of(EventTable)
HEALING = table_of(HealingTable)
HOLDS = table_of(HoldTable)
TRIGGER_STATES = table_of(TriggerTable)
SECRETS = table_of(SecretTable)
DEPLOY_TURNS = table_of(TurnTable)
