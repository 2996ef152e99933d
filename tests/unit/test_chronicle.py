"""`controller.loop.chronicle`: what is written down of a pass and of the engine's events, and what is not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from controller.engine.containers import ContainerSeen
from controller.engine.events import EngineEvent
from controller.errors import EngineUnreachable
from controller.healing.deeds import Deeds
from controller.healing.doings import Doings
from controller.loop.chronicle import Chronicle, Keeping
from store.database import Database
from store.history import append_events, read_events
from store.history_records import Event, EventFilter, EventKind
from store.index import create_row
from store.turns import take_turn
from store.workloads import apply_workloads
from tests.builders import HOST, NOW, assignment, id_of, later, workload
from tests.harness import wait_until
from tests.unit.reports import reconciled, report

WEB = id_of("web")


@dataclass
class Engine:
    """What it says of a container that ended; with an error, nothing."""

    error: bool = False
    lines: list[str] = field(default_factory=lambda: ["bye", "\x1b[31mred"])

    def inspect_container(self, container_id: str) -> ContainerSeen | None:
        """It ended with 137."""
        if self.error:
            raise EngineUnreachable("it is down")
        return ContainerSeen(container_id, "web", state="exited", exit_code=137)

    def last_lines(self, _container_id: str, count: int) -> list[str]:
        """The last of its lines."""
        return self.lines[-count:]


class Written:
    """A chronicle over a store with the row of one container."""

    def __init__(self, database: Database, engine: Engine) -> None:
        apply_workloads(database, [workload("shop")], NOW)
        create_row(database, HOST, assignment("shop:web"))
        self.database = database
        self.doings = Doings(lambda: NOW)
        self.chronicle = Chronicle(database, HOST, engine, self.doings, Keeping(), lambda: NOW)
        self.chronicle.start()

    def noticed(self, action: str, at: float = 0.0, **more: str) -> None:
        """An event of the engine about the one container."""
        event = EngineEvent(action, WEB, later(at).timestamp(), "web", **more)
        self.doings.noticed(event)
        self.chronicle.noticed(event)

    def answered(self, result: str, message: str = "") -> None:
        """A pass in which the source of the shop said so."""
        self.chronicle.record(report(reconciled=(reconciled("shop", result, message=message),)))

    def told(self, count: int, kind: EventKind = EventKind.CAUSE) -> list[Event]:
        """The events of a kind, as soon as there are so many."""
        wanted = EventFilter(kinds=(kind,))
        found = wait_until(
            lambda: each if len(each := read_events(self.database, wanted)) >= count else None, 10, f"{count} {kind}"
        )
        assert len(found) == count, found
        return found


@pytest.fixture
def engine() -> Engine:
    """An engine that answers."""
    return Engine()


@pytest.fixture
def written(database: Database, engine: Engine) -> Iterator[Written]:
    """A chronicle that writes."""
    made = Written(database, engine)
    yield made
    made.chronicle.stop()


def test_an_end_is_told_once_with_its_code_and_last_lines(written: Written) -> None:
    """S5: also where a pass finds it again, and with controls escaped; one of nobody's is not told."""
    written.chronicle.noticed(EngineEvent("die", id_of("stranger"), NOW.timestamp(), "stranger", "1"))
    written.noticed("die", exit_code="137")
    written.noticed("die", exit_code="137")
    (told,) = written.told(1)
    assert told.message == "web ended by itself (exit 137, SIGKILL)"
    assert told.details["last_lines"] == ["bye", "\\x1b[31mred"]
    assert (told.workload_id, told.subject) == ("shop", "shop:web")


@pytest.mark.parametrize("error", [True])
def test_an_engine_that_is_silent_costs_only_the_details(written: Written, engine: Engine, error: bool) -> None:
    """S5: the event of the engine says enough."""
    engine.error = error
    written.noticed("die", exit_code="3")
    (told,) = written.told(1)
    assert told.message == "web ended by itself (exit 3)"


def test_a_stop_of_another_process_is_ours_and_named(written: Written) -> None:
    """S5: what it wrote down before it stopped the container says who, and what for."""
    take_turn(written.database, "shop", "somebody", "cli:ann deploys shop-2", 60.0)
    Deeds(written.database, HOST, "cli:ann", lambda: NOW).acting(WEB)
    written.noticed("kill", signal="15")
    written.noticed("die", exit_code="137")
    (told,) = written.told(1)
    assert told.message == "web ended by tallyd, cli:ann deploys shop-2 (exit 137, SIGKILL)"
    assert told.actor == "controller"


def test_an_old_deed_excuses_nobody(written: Written) -> None:
    """S5: who was stopped by a deploy, started again, and is stopped by a person an hour later."""
    Deeds(written.database, HOST, "cli:ann", lambda: later(-3_600)).acting(WEB)
    written.noticed("kill", signal="15")
    written.noticed("die", exit_code="137")
    (told,) = written.told(1)
    assert told.actor == "somebody else (engine API)"


def test_stop_and_removal_are_one_deed(database: Database) -> None:
    """S5: told once; again when it is stopped again later. A container without a row is told too."""
    now = [NOW]
    deeds = Deeds(database, HOST, "cli:ann", lambda: now[0])
    for seconds in (0, 1, 60):
        now[0] = later(seconds)
        deeds.acting(WEB)
    told = read_events(database, EventFilter(kinds=(EventKind.VERB,)))
    assert [each.at for each in told] == [NOW, later(60)]
    assert {each.actor for each in told} == {"cli:ann"}


def test_answers_of_a_source_are_told_when_they_change(written: Written) -> None:
    """R15, S5: a failure once, however often; then that it recovered; in sync from the start is no news."""
    written.answered("in_sync")
    for _ in range(3):
        written.answered("failed", "OSError: no licence")
    written.answered("in_sync")
    written.answered("in_sync")
    first, second = written.told(2, EventKind.PLUGIN)
    assert first.message == "source report: failed: OSError: no licence"
    assert second.message == "source report: in_sync; it recovered, failed before"


def test_a_recovery_is_told_after_a_restart(written: Written) -> None:
    """R15, S5: who failed before this process began, and works now."""
    failed = Event(NOW, EventKind.PLUGIN, HOST, "shop", "report", "failed", "source report: failed")
    append_events(written.database, [failed])
    written.answered("in_sync")
    assert written.told(2, EventKind.PLUGIN)[1].message == "source report: in_sync; it recovered, failed before"
