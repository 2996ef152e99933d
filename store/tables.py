"""The tables. Which columns the loop may write is decided here and nowhere else (R12).

A column of ``containers`` belongs to exactly one of the two mixins below. The statements of
:mod:`store.index` are derived from :data:`OBSERVED_COLUMNS`, so a new column cannot end up on the wrong side.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, Dialect, Index, Table, Text, TypeDecorator
from sqlmodel import Field, SQLModel


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC datetimes on every store; SQLite keeps them without a zone, so it is put back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive datetimes, convert the others to UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"naive datetime {value!r}: times in the store are aware")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give the zone back."""
        if value is None or value.tzinfo is not None:
            return value
        return value.replace(tzinfo=UTC)


class Observed(SQLModel):
    """Columns derived from Docker. The loop writes these and no others."""

    workload_id: str = Field(sa_type=Text)
    workload_kind: str = Field(sa_type=Text)
    role: str = Field(default="", sa_type=Text)
    container_id: str | None = Field(default=None, sa_type=Text)
    name: str = Field(default="", sa_type=Text)
    image_ref: str = Field(default="", sa_type=Text)
    image_id: str = Field(default="", sa_type=Text)
    state: str = Field(default="", sa_type=Text)
    health: str = Field(default="", sa_type=Text)
    port: int = 0
    ports: str = Field(default="[]", sa_type=Text)
    revision: str = Field(default="", sa_type=Text)
    last_seen_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


_EMPTY = {"server_default": ""}
"""Defaults of the store, not of the model: so the loop's insert does not even name these columns."""


class DeployerOwned(SQLModel):
    """Columns that belong to deployers. The loop never writes them."""

    subdomain: str = Field(sa_type=Text, sa_column_kwargs=_EMPTY)
    proxy_route_id: str = Field(sa_type=Text, sa_column_kwargs=_EMPTY)
    npm_proxy_id: str = Field(sa_type=Text, sa_column_kwargs=_EMPTY)
    image_tag: str = Field(sa_type=Text, sa_column_kwargs=_EMPTY)
    stage_id: str = Field(sa_type=Text, sa_column_kwargs=_EMPTY)
    extra_json: str = Field(sa_type=Text, sa_column_kwargs={"server_default": "{}"})


class ContainerTable(Observed, DeployerOwned, table=True):
    """The index. ``host`` is part of the key: two hosts may run the same stack."""

    __tablename__ = "containers"
    __table_args__ = (
        Index(
            "uq_containers_host_container_id",
            "host",
            "container_id",
            unique=True,
        ),
        Index("ix_containers_workload_id", "workload_id"),
    )

    host: str = Field(primary_key=True, foreign_key="hosts.id", sa_type=Text)
    id: str = Field(primary_key=True, sa_type=Text)


class HostTable(SQLModel, table=True):
    """One engine per row. ``pass_number`` counts committed passes and fences each write.

    ``lease_expires`` is in seconds since the epoch by the store's own clock (R22). ``control_token`` lets whoever
    may read the store ask the leading controller for a pass.
    """

    __tablename__ = "hosts"

    id: str = Field(primary_key=True, sa_type=Text)
    engine_id: str = Field(default="", sa_type=Text)
    endpoint: str = Field(default="", sa_type=Text)
    address: str = Field(default="", sa_type=Text)
    interval_seconds: float = 30.0
    pass_number: int = 0
    last_listed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    lease_owner: str = Field(default="", sa_type=Text)
    lease_token: int = 0
    lease_expires: float = 0.0
    control_token: str = Field(default="", sa_type=Text)


class WorkloadTable(SQLModel, table=True):
    """What was declared. ``ref`` is unique among sites and among stacks, since dispatch looks them up by it."""

    __tablename__ = "workloads"
    __table_args__ = (Index("uq_workloads_kind_ref", "kind", "ref", unique=True),)

    id: str = Field(primary_key=True, sa_type=Text)
    name: str = Field(sa_type=Text)
    kind: str = Field(sa_type=Text)
    ref: str = Field(sa_type=Text)
    source_kind: str = Field(default="", sa_type=Text)
    source_config: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    trigger_kind: str = Field(default="", sa_type=Text)
    trigger_config: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    public_faces: Any = Field(default_factory=list, sa_type=JSON)
    parent: str | None = Field(default=None, foreign_key="workloads.id", sa_type=Text)
    host: str | None = Field(default=None, sa_type=Text)
    generation: int = 1
    updated_at: datetime = Field(sa_type=UtcDateTime)
    declared_by: str = Field(default="", sa_type=Text)


class ConfigGenerationTable(SQLModel, table=True):
    """The controller config, a row a generation: where the store is a server, or nothing but memory (G4)."""

    __tablename__ = "config_generations"

    generation: int = Field(primary_key=True)
    content: dict[str, Any] = Field(sa_type=JSON)
    author: str = Field(default="", sa_type=Text)
    at: datetime = Field(sa_type=UtcDateTime)


class RevisionTable(SQLModel, table=True):
    """One immutable version of a workload; only its state, and what is told of that, ever change (L1)."""

    __tablename__ = "revisions"
    __table_args__ = (Index("uq_revisions_workload_sequence", "workload_id", "sequence", unique=True),)

    id: str = Field(primary_key=True, sa_type=Text)
    workload_id: str = Field(foreign_key="workloads.id", sa_type=Text)
    sequence: int
    image_ref: str = Field(default="", sa_type=Text)
    image_digest: str = Field(sa_type=Text)
    config_digest: str = Field(sa_type=Text)
    config: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    state: str = Field(default="inactive", sa_type=Text)
    detail: str = Field(default="", sa_type=Text)
    checks: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    created_at: datetime = Field(sa_type=UtcDateTime)
    updated_at: datetime = Field(sa_type=UtcDateTime)


class TrafficSplitTable(SQLModel, table=True):
    """Weights over one workload's revisions, in basis points, and what a rollback goes back to (T1)."""

    __tablename__ = "traffic_splits"

    workload_id: str = Field(primary_key=True, foreign_key="workloads.id", sa_type=Text)
    generation: int = 0
    entries: list[dict[str, Any]] = Field(default_factory=list, sa_type=JSON)
    idempotency_key: str = Field(default="", sa_type=Text)
    stickiness_epoch: int = 0
    previous: list[dict[str, Any]] | None = Field(default=None, sa_type=JSON)
    updated_at: datetime = Field(sa_type=UtcDateTime)


def table_of(model: type[SQLModel]) -> Table:
    """The SQLAlchemy table behind a table model."""
    table = model.__table__  # type: ignore[attr-defined]  # SQLModel's stubs do not declare it
    assert isinstance(table, Table)
    return table


CONTAINERS = table_of(ContainerTable)
HOSTS = table_of(HostTable)
WORKLOADS = table_of(WorkloadTable)
CONFIG_GENERATIONS = table_of(ConfigGenerationTable)
REVISIONS = table_of(RevisionTable)
TRAFFIC_SPLITS = table_of(TrafficSplitTable)

OBSERVED_COLUMNS = tuple(Observed.model_fields)
"""Names of the Docker-derived columns; with the key (host, id) all that the loop ever writes (R12)."""

DEPLOYER_COLUMNS = tuple(DeployerOwned.model_fields)
"""Names of the deployer-owned columns, which the loop never writes (R12)."""
