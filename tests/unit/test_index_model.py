"""The whole line from listing to rows, against a dictionary: scripts of operators, deployers and engines.

The model is written from SPEC.md, not from the code: a row is a dictionary, and a pass is `Model.tick`.
"""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, event, update

from controller.labels import LabelNames
from controller.loop.compare import compare
from controller.loop.dispatch import dispatch
from controller.loop.observe import observe
from store import hosts
from store.database import Database, open_database
from store.errors import EngineRefused, StoreUnavailable
from store.index import apply_tick, create_row, list_containers, read_snapshot
from store.leases import acquire_lease
from store.records import NO_PORTS, Applied, Change, Host, Listed, Snapshot
from store.schema import migrate
from store.tables import CONTAINERS, DEPLOYER_COLUMNS, HOSTS
from store.workloads import apply_workloads
from tests.builders import CREATED, ENGINE_ID, HOST, IMAGE, IMAGE_ID, NOW, assignment, id_of, later, listed, workload

NAMES = LabelNames()
ENDED = {"exited", "dead", "removing"}
SLOTS: dict[str, dict[str, str]] = {
    "blog:web": {"com.docker.compose.project": "tallyd-blog", "com.docker.compose.service": "web"},
    "blog:db": {"tallyd.workload.id": "blog", "tallyd.role": "db"},
    "www:site": {"tallyd.static-site": "site-1"},
    "shop": {"tallyd.workload.id": "shop"},
}
KINDS = {"blog": "stack", "www": "site", "shop": "project"}
STATES = ("running", "exited", "paused", "dead", "removing", "created")

ACTS = 6

Row = dict[str, Any]


def fields_of(record: Any) -> Row:
    """A record as a dictionary; `dataclasses.asdict` copies deeply, a thousand times an example."""
    return {name: getattr(record, name) for name in record.__slots__}


@dataclass
class Thing:
    """One container of the world."""

    number: int
    slot: str
    state: str = "running"
    legible: bool = True

    @property
    def id(self) -> str:
        return id_of(f"thing-{self.number}")

    @property
    def item(self) -> dict[str, Any]:
        item = listed(f"thing-{self.number}", SLOTS[self.slot], state=self.state, created=CREATED + self.number // 2)
        return item if self.legible else item | {"Names": None}


@dataclass
class Model:
    """The index as it should be, and the world that it describes."""

    things: list[Thing] = field(default_factory=list)
    rows: dict[str, Row] = field(default_factory=dict)

    def tick(self, at: Any) -> None:
        """R5-R17: what one complete pass makes of the rows."""
        present = {thing.id: thing for thing in self.things}
        filled = dict(self._fillings(present))
        for row_id, thing in filled.items():
            self._fill(row_id, thing, at)
        for row_id, row in self.rows.items():
            if row_id not in filled and row["container_id"] not in present and row["container_id"]:
                row["state"] = "missing"

    def _fillings(self, present: dict[str, Thing]) -> Iterator[tuple[str, Thing]]:
        for row_id, row in self.rows.items():
            thing = present.get(row["container_id"])
            if row_id.startswith("shop:") and thing is not None and thing.legible:
                yield row_id, thing
        for slot in SLOTS.keys() - {"shop"}:
            rivals = [thing for thing in self.things if thing.slot == slot and thing.legible]
            holder = present.get(self.rows.get(slot, {}).get("container_id"))
            living = [thing for thing in rivals if thing.state not in ENDED]
            newest = max(living or rivals, key=lambda thing: (thing.number // 2, thing.id), default=None)
            if holder is None or (holder.legible and holder.state in ENDED and living):
                winner = newest
            else:
                winner = holder if holder.legible else None
            if winner is not None:
                yield slot, winner

    def _fill(self, row_id: str, thing: Thing, at: Any) -> None:
        owner, _, role = row_id.partition(":")
        observed = fields_of(
            assignment(
                row_id,
                f"thing-{thing.number}",
                workload_kind=KINDS[owner],
                role=role if owner == "blog" else "",
                state="stopped" if thing.state in ("exited", "dead") else thing.state,
                image_ref=IMAGE,
                image_id=IMAGE_ID,
                ports=NO_PORTS,
            )
        )
        fresh = {name: "{}" if name == "extra_json" else "" for name in DEPLOYER_COLUMNS} | {"host": HOST}
        self.rows[row_id] = self.rows.get(row_id, fresh) | observed | {"last_seen_at": at}


class Script:
    """A sequence of acts on both, the store and the model; after every pass they must agree."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.model = Model()
        self.clock = self.made = self.passes = 0
        self.lease = acquire_lease(database, HOST, "the model", 3600.0)

    def run(self, code: bytes) -> None:
        """Three bytes an act: which, on what, how. Which = 0 does nothing, so that scripts shrink."""
        acts: list[Callable[[int, int], None]] = [
            *(self.create, self.create, self.change, self.remove, self.garble),
            *(self.deploy, self.pre_create, self.rebind),
            *(self.tick, self.tick, self.tick_twice, self.tick_against_deployer, self.fail),
        ]
        for begin in range(0, len(code), 3):
            which, what, how = code[begin : begin + 3]
            if which:
                acts[which % len(acts)](what, how)
        self.tick(0, 0)
        assert hosts.get_host(self.database, HOST).pass_number == self.passes

    def create(self, what: int, how: int) -> None:
        self.made += 1
        self.model.things.append(Thing(self.made, tuple(SLOTS)[what % len(SLOTS)]))

    def change(self, what: int, how: int) -> None:
        for thing in self._pick(self.model.things, what):
            thing.state = STATES[how % len(STATES)]

    def garble(self, what: int, how: int) -> None:
        for thing in self._pick(self.model.things, what):
            thing.legible = not thing.legible

    def remove(self, what: int, how: int) -> None:
        for thing in self._pick(self.model.things, what):
            self.model.things.remove(thing)

    def deploy(self, what: int, how: int) -> None:
        """A deployer writes its columns."""
        for row_id in self._pick(list(self.model.rows), what):
            column = DEPLOYER_COLUMNS[how % len(DEPLOYER_COLUMNS)]
            self._set(row_id, **{column: f"written {how}"})

    def pre_create(self, what: int, how: int) -> None:
        """A deployer makes the row of a project's container."""
        held = {row["container_id"] for row in self.model.rows.values()}
        for thing in self._pick([each for each in self.model.things if each.slot == "shop"], what):
            row = assignment(f"shop:{thing.number}", f"thing-{thing.number}", workload_kind="project", state="")
            if thing.id not in held and row.id not in self.model.rows:
                create_row(self.database, HOST, row)
                empty = {name: "{}" if name == "extra_json" else "" for name in DEPLOYER_COLUMNS}
                self.model.rows[row.id] = fields_of(row) | empty | {"host": HOST, "last_seen_at": None}

    def rebind(self, what: int, how: int) -> None:
        """A deployer gives a row another container, one that the engine does not have yet."""
        for row_id in self._pick(list(self.model.rows), what):
            self._set(row_id, container_id=id_of(f"coming {self.clock} {how}"))

    def tick(self, what: int, how: int) -> None:
        seen = self._look()
        self._apply(*seen)
        self.model.tick(later(self.clock))
        self.check()

    def tick_twice(self, what: int, how: int) -> None:
        """R12: the second of two passes over the same world has nothing but last-seen to write."""
        self.tick(what, how)
        _, change = self._look()
        assert change.empty
        self.tick(what, how)

    def tick_against_deployer(self, what: int, how: int) -> None:
        """R12, R14: a deployer writes between a pass's reading and its writing."""
        before = {row_id: dict(row) for row_id, row in self.model.rows.items()}
        seen = self._look()
        rebound = list(self._pick(list(before), what))
        self.deploy(how, what)
        self.rebind(what, how)
        deployed = {row_id: dict(row) for row_id, row in self.model.rows.items()}
        self._apply(*seen)
        for row_id in rebound:
            self.model.rows[row_id]["container_id"] = before[row_id]["container_id"]
        self.model.tick(later(self.clock))
        for row_id in rebound:
            # Left alone; whether the pass still counts it as seen is nobody's business but last-seen's.
            kept = self._stored()[row_id]["last_seen_at"]
            assert kept in (deployed[row_id]["last_seen_at"], later(self.clock))
            self.model.rows[row_id] = deployed[row_id] | {"last_seen_at": kept}
        self.check()

    def fail(self, what: int, how: int) -> None:
        """R18, R19: a pass that breaks off at any statement, or is of another engine, leaves all as it was."""
        seen = self._look()
        countdown = itertools.count(how % 8, -1)

        def break_off(*_: Any) -> None:
            if next(countdown) == 0:
                raise sqlite3.OperationalError("disk I/O error")

        event.listen(self.database.engine, "before_cursor_execute", break_off)
        try:
            self._write(*seen)
        except StoreUnavailable:
            self.check()
        else:
            self.model.tick(later(self.clock))
            self.passes += 1
        finally:
            event.remove(self.database.engine, "before_cursor_execute", break_off)
        if self.passes:
            with pytest.raises(EngineRefused):
                self._write(*self._look(), engine_id="ANOTHER ENGINE")
        self.check()

    def _look(self) -> tuple[Snapshot, Change]:
        self.clock += 1
        snapshot = read_snapshot(self.database, HOST)
        seen = observe([thing.item for thing in self.model.things], NAMES)
        planned = dispatch(seen.containers, snapshot, NAMES, seen.unreadable_ids)
        change = compare(snapshot, planned.assignments, seen.listed_ids, may_sweep=seen.every_id_legible)
        return snapshot, change

    def _apply(self, snapshot: Snapshot, change: Change) -> None:
        assert self._write(snapshot, change).rejected == {}
        self.passes += 1

    def _write(self, snapshot: Snapshot, change: Change, engine_id: str = ENGINE_ID) -> Applied:
        return apply_tick(self.database, snapshot, change, Listed(engine_id, later(self.clock)), self.lease)

    def _set(self, row_id: str, **values: Any) -> None:
        statement = update(CONTAINERS).where(CONTAINERS.c.host == HOST, CONTAINERS.c.id == row_id)
        with self.database.writing() as connection:
            connection.execute(statement.values(values))
        self.model.rows[row_id] |= values

    @staticmethod
    def _pick(choices: list[Any], what: int) -> list[Any]:
        return [choices[what % len(choices)]] if choices else []

    def _stored(self) -> dict[str, Row]:
        return {row.id: fields_of(row) for row in list_containers(self.database, host=HOST)}

    def check(self) -> None:
        """Every row, every column."""
        assert self._stored() == self.model.rows


@pytest.fixture(scope="module")
def memory() -> Iterator[Database]:
    """One store in memory for all examples."""
    with contextlib.closing(open_database("sqlite://")) as store:
        migrate(store)
        apply_workloads(
            store, [workload("shop"), workload("www", "site", ref="site-1"), workload("blog", "stack")], NOW
        )
        yield store


@settings(max_examples=1000)
@given(code=st.binary(min_size=3 * ACTS, max_size=3 * ACTS))
def test_store_and_model_agree(memory: Database, code: bytes) -> None:
    """R6, R9, R10, R12-R14, R16, R17: deployer-owned columns never change, nothing is falsely missing, rows
    recover, holders keep their slots, a second pass is empty, and an interrupted one leaves no trace.
    """
    with memory.writing() as connection:
        connection.execute(delete(CONTAINERS))
        connection.execute(delete(HOSTS))
    hosts.register(memory, Host(HOST))
    Script(memory).run(code)
