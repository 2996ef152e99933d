"""`controller.loop.touched`: which containers are looked at, and when."""

from __future__ import annotations

from controller.loop.touched import SETTLE_SECONDS, Touched


def looks(touched: Touched, until: float) -> list[tuple[float, set[str]]]:
    """Every look up to a time, as a loop that sleeps until the next one takes them."""
    taken = []
    while (due := touched.next_due()) is not None and due <= until:
        taken.append((due, touched.take_due(due)))
    return taken


def test_a_container_is_looked_at_until_it_has_settled() -> None:
    """R20: at once and a few times more, since some events come before what they tell; then never again."""
    touched = Touched()
    assert touched.next_due() is None
    touched.touch("a", 100.0)
    assert looks(touched, 1e9) == [(100.0 + after, {"a"}) for after in SETTLE_SECONDS]
    assert touched.next_due() is None


def test_another_event_begins_anew() -> None:
    """R20: the looks count from the last event, so a busy container is not looked at more often for each."""
    touched = Touched()
    touched.touch("a", 100.0)
    assert touched.take_due(100.0) == {"a"}
    touched.touch("a", 100.01)
    assert [when for when, _ in looks(touched, 1e9)] == [100.01 + after for after in SETTLE_SECONDS]


def test_many_that_are_due_are_taken_together() -> None:
    """R20: one listing for all of them; nobody is taken before the time."""
    touched = Touched()
    for number in range(100):
        touched.touch(f"c{number}", 100.0)
    touched.touch("late", 200.0)
    assert touched.take_due(99.9) == set()
    assert len(touched.take_due(100.0)) == 100
    assert touched.take_due(100.0) == set()
    assert "late" in touched.take_due(200.0)
