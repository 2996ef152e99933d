"""`store.records`: the nouns, and the little that they know."""

from __future__ import annotations

import pytest

from store.records import ENDED_STATES, Change, Host, RowUpdate
from tests.builders import HOST, NOW, assignment, container, later


@pytest.mark.parametrize("state", sorted(ENDED_STATES))
def test_ended_states_hold_no_slot(state: str) -> None:
    """R16: exited, dead and removing; the first two by either name."""
    assert not container(state=state).alive


@pytest.mark.parametrize("state", ["running", "paused", "created", "restarting", "anything"])
def test_all_other_states_hold_their_slot(state: str) -> None:
    """R16: also one that nobody knows."""
    assert container(state=state).alive


@pytest.mark.parametrize(
    ("age", "stale"), [(0, False), (30, False), (90, False), (90.5, True), (86_400, True), (-30, False), (-91, True)]
)
def test_truth_is_stale_past_three_intervals(age: float, stale: bool) -> None:
    """R21: and as much in the future, which is what a clock that was stepped back leaves behind."""
    host = Host(HOST, interval_seconds=30, last_listed_at=NOW)
    assert host.stale(later(age)) is stale


def test_the_age_is_never_negative() -> None:
    """R21: a clock that was stepped back makes no truth of the future."""
    host = Host(HOST, last_listed_at=NOW)
    assert host.age_seconds(later(12.5)) == 12.5
    assert host.age_seconds(later(-5)) == 0.0


def test_a_host_that_was_never_listed() -> None:
    """R21: has no age, and is stale."""
    assert Host(HOST).age_seconds(NOW) is None
    assert Host(HOST).stale(NOW)


def test_what_makes_a_change_empty() -> None:
    """R12: nothing but last-seen to write."""
    assert Change(unseen=("x",), unchanged=3).empty
    assert not Change(inserted=(assignment(),)).empty
    assert not Change(updated=(RowUpdate(assignment(), None),)).empty
    assert not Change(missing=(("x", "y"),)).empty
