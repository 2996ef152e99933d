"""`store.history`, on both stores: appended in bulk, read in order, dropped by age, and never changed."""

from __future__ import annotations

import threading
from datetime import timedelta

from store.database import Database
from store.history import append_events, last_event_id, prune_events, read_events
from store.history_records import LONGEST_TEXT, Event, EventFilter, EventKind
from tests.builders import HOST, NOW, later
from tests.contract.ticks import statements_of


def event(number: int, **replaced: object) -> Event:
    """The event of one second."""
    given: dict[str, object] = {
        "at": later(number),
        "kind": EventKind.STATE,
        "host": HOST,
        "workload_id": "shop",
        "subject": f"shop:{number}",
        "message": f"event {number}",
    }
    return Event(**(given | replaced))  # type: ignore[arg-type]


def messages(database: Database, wanted: EventFilter | None = None) -> list[str]:
    """What the events say that are read."""
    return [each.message for each in read_events(database, wanted)]


def test_what_is_appended_is_read_in_order(database: Database) -> None:
    """S5: history is told in the order in which it was written, with all that was said."""
    told = event(1, reason="ended", actor="engine", tick=f"{HOST}/7", details={"exit_code": 137, "lines": ["a"]})
    append_events(database, [told, event(2)])
    append_events(database, [event(3)])
    found = read_events(database)
    assert [each.message for each in found] == ["event 1", "event 2", "event 3"]
    assert found[0] == Event(**{**_fields(told), "id": found[0].id})
    assert [each.id for each in found] == sorted({each.id for each in found})
    assert last_event_id(database) == found[-1].id


def _fields(event: Event) -> dict[str, object]:
    return {name: getattr(event, name) for name in Event.__slots__}


def test_filters_narrow_the_answer(database: Database) -> None:
    """S5: by workload, host, kind and time; from an event on, or the newest."""
    append_events(database, [event(number) for number in range(1, 6)])
    append_events(database, [event(6, workload_id="other", kind=EventKind.DEPLOY), event(7, host="elsewhere")])
    ids = [each.id for each in read_events(database)]
    assert messages(database, EventFilter(limit=2)) == ["event 6", "event 7"]
    assert messages(database, EventFilter(limit=2, newest=False)) == ["event 1", "event 2"]
    assert messages(database, EventFilter(after_id=ids[3], limit=2, newest=False)) == ["event 5", "event 6"]
    assert messages(database, EventFilter(workload_id="other")) == ["event 6"]
    assert messages(database, EventFilter(host="elsewhere")) == ["event 7"]
    assert messages(database, EventFilter(kinds=("deploy", "hold"))) == ["event 6"]
    assert messages(database, EventFilter(since=later(6))) == ["event 6", "event 7"]


def test_a_thousand_are_one_statement(database: Database) -> None:
    """P9: a bulk is one statement, besides the turn that PostgreSQL's appenders take; none is none."""
    with statements_of(database) as seen:
        append_events(database, [event(number) for number in range(1_000)])
    assert [each for each in seen if "pg_advisory" not in each] == [seen[-1]]
    with statements_of(database) as seen:
        append_events(database, [])
    assert seen == []


def test_what_no_store_can_hold_is_held_otherwise(database: Database) -> None:
    """S5, F: NUL, lone surrogates and endless texts cost themselves, not the events beside them."""
    append_events(database, [event(1, message="a\0b\ud800" + "x" * 10_000, details={"line": "a\0b"}), event(2)])
    found = read_events(database)
    assert found[0].message.startswith("a\ufffdb?x")
    assert len(found[0].message) == LONGEST_TEXT
    assert found[0].details == {"line": "a\ufffdb"}
    assert len(found) == 2


def test_old_ones_and_too_many_are_dropped_in_small_batches(database: Database) -> None:
    """S5: history is bounded by age and by number; a batch is a transaction of its own."""
    append_events(database, [event(number) for number in range(1, 11)])
    assert prune_events(database, later(4), keep=100, most=2) == 2
    assert prune_events(database, later(4), keep=100, most=2) == 1
    assert prune_events(database, later(4), keep=100, most=2) == 0
    assert prune_events(database, NOW - timedelta(days=1), keep=4) == 3
    assert messages(database) == [f"event {number}" for number in range(7, 11)]


def test_who_reads_on_misses_none(database: Database) -> None:
    """S5: with appenders that race, an event never becomes visible behind one that was read already."""
    writers = [
        threading.Thread(target=lambda: [append_events(database, [event(1), event(2)]) for _ in range(25)])
        for _ in range(3)
    ]
    for each in writers:
        each.start()
    seen: list[int] = []
    while any(each.is_alive() for each in writers) or not seen:
        seen += _read_on(database, seen)
    seen += _read_on(database, seen)
    assert len(seen) == 150
    assert seen == [each.id for each in read_events(database, EventFilter(limit=1_000))]


def _read_on(database: Database, seen: list[int]) -> list[int]:
    after = seen[-1] if seen else 0
    return [each.id for each in read_events(database, EventFilter(after_id=after, newest=False, limit=1_000))]
