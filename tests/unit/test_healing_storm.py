"""`controller.healing.storm`: when most of a host ends at once."""

from __future__ import annotations

from controller.healing.storm import Storm, ended_of, storm_in
from store.history_records import Event, EventKind
from tests.builders import HOST, NOW, later


def rows(**states: str) -> dict[str, str]:
    """Row id → state."""
    return dict(states)


def event(reason: str, seconds: float, *ids: str) -> Event:
    """A transition of these rows."""
    details = {"rows": list(ids)} if len(ids) > 1 else {}
    return Event(later(seconds), EventKind.STATE, HOST, "w", ids[0], reason, details=details)


def ended(*events: Event, back: float | None = -1_000, since: float | None = None) -> set[str]:
    """Which rows ended, at :data:`NOW`."""
    return ended_of(
        events,
        NOW,
        engine_back_at=None if back is None else later(back),
        since=None if since is None else later(since),
    )


def test_more_than_half_is_a_storm() -> None:
    """S5: and four at least."""
    states = {f"r{n}": "running" for n in range(7)}
    four = {"r0", "r1", "r2", "r3"}
    assert storm_in(states, four) == Storm(4, 7)
    assert storm_in(states | {"r8": "running"}, four) is None
    assert storm_in({f"r{n}": "missing" for n in range(3)}, {"r0", "r1", "r2"}) is None
    assert "4 of 7 containers of this host ended within 15 s" in Storm(4, 7).message


def test_what_never_ran_and_what_was_to_end_does_not_count() -> None:
    """S5: rows that are not told of are those of revisions that a deploy brings or takes away."""
    states = {f"r{n}": "exited" for n in range(4)} | {"s": "running"}
    assert storm_in(states, {f"gone{n}" for n in range(5)}) is None
    assert storm_in(states, {"r0", "r1", "r2", "r3"}) == Storm(4, 5)


def test_events_of_the_window_count() -> None:
    """S5: those of rows that ended or are gone, one by one or together; none twice."""
    told = [event("missing", -1, "a", "b", "c", "d"), event("ended", -2, "e"), event("started", -1, "f")]
    assert ended(*told) == {"a", "b", "c", "d", "e"}
    assert ended(event("missing", -60, "a")) == set()
    assert ended(*told, since=-1.5) == {"a", "b", "c", "d"}


def test_an_engine_that_was_restarted_pages_nobody() -> None:
    """S5: it stops everything when it goes; but it takes nothing away."""
    told = [event("ended", -1, "a", "b", "c", "d"), event("missing", -1, "e")]
    assert ended(*told, back=-10) == {"e"}
    assert ended(*told, back=None) == {"e"}
