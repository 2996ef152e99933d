"""The nouns that travel between the engine, the loop, the store and the outside.

Frozen and slotted, without behaviour that touches the world. Checks live here rather than in the tables,
because SQLModel's table classes skip validation (sqlmodel#52).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from store.errors import GenerationConflict

MISSING = "missing"
"""State of a row whose container was not listed. Ours; the engine never says it (R13)."""

ENDED_STATES = frozenset({"exited", "dead", "removing", "stopped"})
"""States in which a container no longer holds its slot against a newcomer (R16)."""

NO_PORTS = "[]"


class WorkloadKind(StrEnum):
    """What a workload is: many instances, one web site, or one Compose stack."""

    PROJECT = "project"
    SITE = "site"
    STACK = "stack"


@dataclass(frozen=True, slots=True)
class Workload:
    """The unit that somebody declared.

    ``ref`` is the site id of a site and the Compose project name of a stack. ``host`` restricts the workload
    to one host; ``None`` lets every host of the store index it. ``generation`` rises with every change.
    ``declared_by`` is the host whose manifests declare it, empty where somebody applied it by hand.
    """

    id: str
    name: str
    kind: WorkloadKind
    ref: str
    source_kind: str = ""
    source_config: Mapping[str, Any] = field(default_factory=dict)
    trigger_kind: str = ""
    trigger_config: Mapping[str, Any] = field(default_factory=dict)
    public_faces: object = field(default_factory=list)
    parent: str | None = None
    host: str | None = None
    generation: int = 0
    updated_at: datetime | None = None
    declared_by: str = ""


class Container(NamedTuple):
    """One container as the engine lists it, reduced to what tallyd reads.

    A tuple, since a pass may make thousands: a frozen dataclass takes four times as long to be made or compared.

    ``created`` is in seconds since the epoch. ``ports`` is canonical JSON, see :data:`NO_PORTS`. The label
    fields are empty strings where the label is absent.
    """

    id: str
    name: str
    image_ref: str
    image_id: str
    state: str
    health: str
    port: int
    ports: str
    created: int
    workload_id: str = ""
    workload_kind: str = ""
    role: str = ""
    static_site: str = ""
    revision: str = ""
    compose_project: str = ""
    compose_service: str = ""
    compose_number: int = 1
    oneoff: bool = False

    @property
    def alive(self) -> bool:
        """Whether this container still holds its slot (R16)."""
        return self.state not in ENDED_STATES


@dataclass(frozen=True, slots=True)
class Assignment:
    """The observed columns of one row, as one container fills them. Fields = observed columns, plus the id."""

    id: str
    workload_id: str
    workload_kind: str
    role: str
    container_id: str | None
    name: str
    image_ref: str
    image_id: str
    state: str
    health: str
    port: int
    ports: str
    revision: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the store held for one host before the listing began: the sweep's horizon and the diff's left side.

    ``rows`` maps row id → assignment. ``pass_number`` fences the write: it must be unchanged at commit.
    ``config_generation`` is that of the config which the store's controllers share. ``read`` is what was read, so
    that the next reading is only taken apart where it differs.
    """

    host: str
    pass_number: int
    engine_id: str
    rows: Mapping[str, Assignment]
    workloads: Mapping[str, Workload]
    config_generation: int = 0
    read: object = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class RowUpdate:
    """A row to be overwritten, if it still holds the container that the snapshot saw.

    ``before`` is the row as the snapshot saw it, where that is known: many rows that change alike are then written at
    once.
    """

    row: Assignment
    expected_container_id: str | None
    before: Assignment | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Change:
    """The difference between the index and the world, ready to be written in one transaction.

    ``missing`` pairs a row id with the container id that was not listed. ``unseen`` are the ids of all rows
    that no listed container fills: every other row gets the new last-seen. ``recovered`` counts the updated
    rows that were ``missing`` before.
    """

    inserted: tuple[Assignment, ...] = ()
    updated: tuple[RowUpdate, ...] = ()
    missing: tuple[tuple[str, str], ...] = ()
    unseen: tuple[str, ...] = ()
    unchanged: int = 0
    recovered: int = 0

    @property
    def empty(self) -> bool:
        """Whether writing this would change nothing but last-seen."""
        return not (self.inserted or self.updated or self.missing)


@dataclass(frozen=True, slots=True)
class Listed:
    """Which engine answered, when it was asked, and whether it was asked for everything (R21)."""

    engine_id: str
    at: datetime
    completely: bool = True


@dataclass(frozen=True, slots=True)
class Applied:
    """What a write did. ``rejected`` maps the id of each row that the store refused to the reason (R14)."""

    rejected: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ContainerRow:
    """One row of the index as it is read from outside, deployer-owned columns included."""

    id: str
    host: str
    workload_id: str
    workload_kind: str
    role: str
    container_id: str | None
    name: str
    image_ref: str
    image_id: str
    state: str
    health: str
    port: int
    ports: str
    revision: str
    last_seen_at: datetime | None
    subdomain: str
    proxy_route_id: str
    npm_proxy_id: str
    image_tag: str
    stage_id: str
    extra_json: str


@dataclass(frozen=True, slots=True)
class Host:
    """An engine's name in the store, and how old our truth about it is (R21). Interval in seconds."""

    id: str
    engine_id: str = ""
    endpoint: str = ""
    address: str = ""
    interval_seconds: float = 30.0
    pass_number: int = 0
    last_listed_at: datetime | None = None

    def age_seconds(self, now: datetime) -> float | None:
        """Seconds since the last complete listing; ``None`` if there never was one. Never negative."""
        return None if self.last_listed_at is None else max(0.0, (now - self.last_listed_at).total_seconds())

    def stale(self, now: datetime) -> bool:
        """Whether the last complete listing is more than three intervals old (R21), or as far in the future.

        The latter is what a clock that was stepped back leaves behind: an age that nobody can tell.
        """
        if self.last_listed_at is None:
            return True
        return abs((now - self.last_listed_at).total_seconds()) > 3 * self.interval_seconds


@dataclass(frozen=True, slots=True)
class ConfigDocument:
    """The controller config as it was stored once: content and generation belong together (G4).

    Generation 0 is "nothing stored". ``author`` says who stored it, in words. ``absent`` marks a file that was
    deleted: its generation goes on from there.
    """

    generation: int = 0
    content: Mapping[str, Any] = field(default_factory=dict)
    author: str = ""
    at: datetime | None = None
    absent: bool = False

    def expect(self, generation: int | None) -> None:
        """Check that this is the generation that somebody expects; ``None`` expects nothing.

        :raises GenerationConflict: it is another one (G3).
        """
        if generation is not None and generation != self.generation:
            raise GenerationConflict(generation, self.generation)
