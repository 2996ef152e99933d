"""`controller.healing.story`: events and how a workload stands, as a person reads them."""

from __future__ import annotations

from datetime import timedelta

from controller.healing.budget import BACKOFF, EXHAUSTED, HealingLimits
from controller.healing.keeping import Standing
from controller.healing.story import line_of, standing_lines, story_of
from store.healing_records import Budget, Hold
from store.history_records import Event, EventKind
from store.records import Workload
from tests.builders import HOST, NOW, later, workload

LIMITS = HealingLimits(attempts=5)


def standing(
    *events: Event, holds: tuple[Hold, ...] = (), budgets: tuple[Budget, ...] = (), of: Workload | None = None
) -> Standing:
    """A workload with a source and without containers."""
    owner = of or workload("shop", source_kind="image", trigger_kind="manual")
    return Standing(owner, [], list(events), list(holds), list(budgets))


def test_a_line_has_the_time_who_did_it_and_last_words() -> None:
    """S5: the date only where it is not today's; who is left out where the sentence says it."""
    deploy = Event(NOW, EventKind.DEPLOY, message="revision 2 is ready", actor="cli:ann")
    assert line_of(deploy, NOW) == "03:04:05 deploy: revision 2 is ready [cli:ann]"
    assert line_of(deploy, NOW + timedelta(days=1)).startswith("2026-01-02 03:04:05 deploy: ")
    cause = Event(
        NOW, EventKind.CAUSE, message="web ended by itself", actor="itself", details={"last_lines": ["a", "b"]}
    )
    assert line_of(cause, NOW) == "03:04:05 cause: web ended by itself; last lines: a | b"
    assert story_of(standing(deploy, cause), NOW) == [line_of(deploy, NOW), line_of(cause, NOW)]


def test_what_is_held_says_how_to_go_on() -> None:
    """S5: of a slot, a workload, a host."""
    holds = tuple(
        Hold(HOST, owner, slot, "engine", "somebody stopped it", NOW)
        for owner, slot in (("shop", "web"), ("shop", ""), ("", ""))
    )
    told = [each.rpartition("go on now: ")[2] for each in standing_lines(standing(holds=holds), NOW, LIMITS)[1:]]
    assert told == ["tallyd release shop --slot web", "tallyd release shop", f"tallyd release --host {HOST}"]


def test_budgets_say_what_comes_next() -> None:
    """S5: spent, in back-off, and healed; one that nothing was spent of is not told."""
    budgets = (
        Budget(HOST, "a", "shop", NOW, attempts_at=tuple(later(each) for each in range(-9, -4)), reason=EXHAUSTED),
        Budget(HOST, "b", "shop", NOW, attempts_at=(later(-60), later(-5)), not_before=later(60), reason=BACKOFF),
        Budget(HOST, "c", "shop", NOW, attempts_at=(NOW,), reason="attempted"),
        Budget(HOST, "d", "shop", NOW),
    )
    spent, waiting, healed = standing_lines(standing(budgets=budgets), NOW, LIMITS)[1:]
    assert spent.endswith("a: all spent, 5 of 5 attempts in 10 min; it is not healed before 03:13:56")
    assert "b: 2 of 5 attempts" in waiting
    assert waiting.endswith("next attempt not before 03:05:05")
    assert healed.endswith("last healed at 2026-01-02 03:04:05")


def test_a_source_that_fails_is_told_until_it_recovers() -> None:
    """R15: the newest of its answers counts; no source is told too."""
    failed = Event(NOW, EventKind.PLUGIN, reason="failed", message="source image: failed: no licence")
    fine = Event(later(1), EventKind.PLUGIN, reason="in_sync", message="source image: in_sync")
    assert standing_lines(standing(failed), NOW, LIMITS)[-1] == "source: source image: failed: no licence"
    assert standing_lines(standing(failed, fine), NOW, LIMITS) == ["now: no container of it is known"]
    assert standing_lines(standing(of=workload("shop")), NOW, LIMITS)[-1].startswith("source: none is declared")
