"""`controller.loop.transitions`: a pass's change as history."""

from __future__ import annotations

from dataclasses import replace

from controller.loop.compare import compare
from controller.loop.transitions import transitions_of
from store.history_records import Event
from store.records import Assignment
from tests.builders import HOST, NOW, assignment, snapshot

WEB = assignment("shop:web", "web")


def told(before: list[Assignment], after: list[Assignment], but: tuple[str, ...] = ()) -> tuple[Event, ...]:
    """History of a full pass that finds these rows instead of those."""
    seen = snapshot(rows=before)
    listed = frozenset(each.container_id for each in after if each.container_id)
    return transitions_of(compare(seen, after, listed, may_sweep=True), seen, NOW, but)


def words(*given: Event) -> list[tuple[str, str]]:
    """Reason and message."""
    return [(each.reason, each.message) for each in given]


def test_nothing_changed_is_no_history() -> None:
    """P9, S5: an unchanged pass tells nothing, and neither does another port."""
    assert told([WEB], [WEB]) == ()
    assert told([WEB], [replace(WEB, port=99)]) == ()


def test_each_transition_has_its_reason() -> None:
    """S5: appeared, ended, started, missing, recovered, replaced, health."""
    exited, missing = replace(WEB, state="exited"), replace(WEB, state="missing")
    assert words(*told([], [WEB])) == [("appeared", "web is running")]
    assert words(*told([WEB], [exited])) == [("ended", "web is exited; it was running")]
    assert words(*told([exited], [WEB])) == [("started", "web is running; it was exited")]
    assert words(*told([WEB], [])) == [("missing", "web is gone; it was running")]
    assert words(*told([missing], [WEB])) == [("recovered", "web is running; it was missing")]
    paused = replace(WEB, state="paused")
    assert words(*told([WEB], [paused])) == [("state", "web is paused; it was running")]
    assert words(*told([paused], [WEB])) == [("state", "web is running; it was paused")]
    sick = replace(WEB, health="unhealthy")
    assert words(*told([WEB], [sick])) == [("health", "web is unhealthy; it was not checked")]
    other = assignment("shop:web", "other", name="web")
    assert words(*told([WEB], [other])) == [("replaced", "web is another container now, running; it was running")]


def test_an_event_names_the_pass_that_it_happened_in() -> None:
    """S5: host and number of the pass, the row, its container."""
    (one,) = told([], [WEB])
    assert (one.tick, one.host, one.workload_id, one.subject) == (f"{HOST}/1", HOST, "shop", "shop:web")
    assert one.details == {"container_id": WEB.container_id, "name": "web"}
    assert one.subjects == ["shop:web"]


def test_many_that_change_alike_are_told_together() -> None:
    """P2, S5: by workload; a row that the store refused is not among them."""
    rows = [assignment(f"shop:{n}", f"c{n}") for n in range(6)] + [assignment("blog:web", "blog")]
    stopped = [replace(each, state="exited") for each in rows]
    first, second = told(rows, stopped, but=("shop:0",))
    assert words(first, second) == [
        ("ended", "5 containers: each is exited; it was running"),
        ("ended", "blog is exited; it was running"),
    ]
    assert first.subjects == [f"shop:{n}" for n in range(1, 6)]
