"""`controller.healing.ended` and `doings`: who ended a container, as a table."""

from __future__ import annotations

import pytest

from controller.engine.events import EngineEvent
from controller.healing import doings
from controller.healing.causes import BY_ITSELF, BY_SOMEBODY, BY_US, actor_of, bounded_lines, cause_of
from controller.healing.doings import Doings
from controller.healing.ended import Asked, End, Ender, who_ended
from tests.builders import HOST, NOW, assignment, later

AT = NOW.timestamp()
STOPPED = End(137, finished_at=later(2))


def after(*actions: str | tuple[str, str]) -> Asked:
    """What is known after these events, a second apart; an action may come with its signal."""
    noted = Doings(lambda: NOW)
    for number, each in enumerate(actions):
        action, signal = (each, "") if isinstance(each, str) else each
        if action == "ours":
            noted.acting("c")
        else:
            noted.noticed(EngineEvent(action, "c", AT + number, "web", "137", signal))
    return noted.asked("c")


@pytest.mark.parametrize(
    ("events", "ender"),
    [
        ((("kill", "15"), "die", "stop"), Ender.PERSON),
        ((("kill", "15"), "die"), Ender.PERSON),
        ((("kill", "9"), "die"), Ender.PERSON),
        ((("kill", "28"), "die", "stop"), Ender.PERSON),
        ((("kill", "1"), "die"), Ender.ITSELF),
        ((("kill", "SIGUSR1"), "die"), Ender.ITSELF),
        (("die",), Ender.ITSELF),
        (("oom", "die"), Ender.ITSELF),
        (("ours", ("kill", "15"), "die", "stop"), Ender.US),
        ((("kill", "15"), "die", "stop", "start", "die"), Ender.ITSELF),
    ],
)
def test_what_was_seen(events: tuple[str | tuple[str, str], ...], ender: Ender) -> None:
    """S5: a stop or a kill that somebody asked for has an event, a crash has none; a start ends what was before."""
    assert who_ended(STOPPED, after(*events), watched=True, engine_restarted=False) is ender


@pytest.mark.parametrize(
    ("end", "engine_restarted", "ender"),
    [
        (End(0, restart_policy="always"), False, Ender.PERSON),
        (End(137, restart_policy="unless-stopped"), False, Ender.PERSON),
        (End(137, restart_policy="unless-stopped"), True, Ender.ENGINE),
        (End(128, restart_policy="always", error="port is taken"), False, Ender.ITSELF),
        (End(137, restart_policy="always", oom_killed=True), False, Ender.ITSELF),
        (End(143, restart_policy="no"), False, Ender.ITSELF),
        (End(1, restart_policy="on-failure"), False, Ender.ITSELF),
    ],
)
def test_what_nobody_watched(end: End, engine_restarted: bool, ender: Ender) -> None:
    """S5: the engine keeps up what it should, except what a person stopped."""
    assert who_ended(end, Asked(), watched=False, engine_restarted=engine_restarted) is ender


def test_a_signal_long_ago_does_not_count() -> None:
    """S5: who ignored SIGTERM and crashed an hour later was not stopped."""
    asked = Asked(killed_at=NOW, signal="15", died_at=later(3_600))
    assert who_ended(STOPPED, asked, watched=True, engine_restarted=False) is Ender.ITSELF
    patient = End(137, grace_seconds=3_600)
    assert who_ended(patient, asked, watched=True, engine_restarted=False) is Ender.PERSON


def test_watching_has_a_beginning_and_gaps() -> None:
    """S5, R20: what ended before the stream began was not watched."""
    times = [NOW]
    noted = Doings(lambda: times[0])
    assert noted.back_at is None
    noted.connected(True)
    times[0] = later(5)
    noted.connected(True)
    assert (noted.back_at, noted.engine_was_lost) == (NOW, False)
    noted.connected(False)
    assert (noted.back_at, noted.engine_was_lost) == (None, True)
    noted.connected(True)
    assert noted.back_at == later(5)


def test_notes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """F: churn makes no memory grow."""
    monkeypatch.setattr(doings, "MOST_CONTAINERS", 2)
    noted = Doings(lambda: NOW)
    for each in "abc":
        noted.acting(each)
    assert [noted.asked(each).ours_at is not None for each in "abc"] == [False, True, True]


def test_a_cause_says_how_and_by_whom() -> None:
    """S5: exit code, signal, memory, actor."""
    row = assignment("web")
    told = cause_of(row, HOST, NOW, 137, None, after("oom", "die"))
    assert told.message == f"{row.name} ended by itself (exit 137, SIGKILL, out of memory)"
    assert (told.reason, told.actor) == ("out_of_memory", BY_ITSELF)
    told = cause_of(row, HOST, NOW, 3, None, after(("kill", "15"), "die"))
    assert (told.message, told.actor) == (f"{row.name} ended by {BY_SOMEBODY} (exit 3)", BY_SOMEBODY)
    assert cause_of(row, HOST, NOW, None, None, Asked()).message == f"{row.name} ended by itself"
    assert actor_of(after("ours", "die")) == BY_US


def test_last_lines_cannot_do_harm() -> None:
    """O6: control characters are escaped and long lines cut."""
    assert bounded_lines(["a\x1b[31m\n", "x" * 1_000]) == ["a\\x1b[31m\\n", "x" * 300]
