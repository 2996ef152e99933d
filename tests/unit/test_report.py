"""`controller.loop.report`: what one pass did, in the shapes that others read."""

from __future__ import annotations

import json

import pytest

from controller.loop.dispatch import IgnoreReason
from controller.loop.observe import Unreadable
from controller.loop.report import TickOutcome
from store.records import Change, RowUpdate
from tests.builders import assignment
from tests.unit.reports import failed, ignored, reconciled, report

FULL = report(
    listed=49,
    matched=40,
    change=Change(
        inserted=(assignment("a:1"), assignment("a:2")),
        updated=(RowUpdate(assignment("a:3"), None), RowUpdate(assignment("a:4"), None)),
        missing=(("a:5", "x"),),
        unchanged=36,
        recovered=1,
    ),
    ignored=tuple(
        ignored(name, reason)
        for name, reason in [
            ("x", IgnoreReason.UNLABELLED),
            ("y", IgnoreReason.KIND_MISMATCH),
            ("z", IgnoreReason.UNLABELLED),
        ]
    ),
    unreadable=(Unreadable(None, "no id"),),
    reconciled=(reconciled("a", "in_sync"), reconciled("b", "failed", message="no"), reconciled("c", "in_sync")),
    duration_seconds=0.1234567,
    errors=("row 'a:9' was refused",),
)


def test_the_shape_of_a_full_report() -> None:
    """O7: the keys that scripts rely on; JSON can hold all of it."""
    shape = json.loads(json.dumps(FULL.as_dict()))
    required = {
        *("outcome", "listed", "matched", "ignored", "inserted", "updated", "unchanged", "missing", "recovered"),
        *("unreadable", "plugins", "duration_seconds", "errors"),
    }
    assert required <= set(shape)
    assert {name: shape[name] for name in required} == {
        "outcome": "complete",
        "listed": 49,
        "matched": 40,
        "ignored": {"kind_mismatch": 1, "unlabelled": 2},
        "inserted": 2,
        "updated": 2,
        "unchanged": 36,
        "missing": 1,
        "recovered": 1,
        "unreadable": 1,
        "plugins": {"in_sync": 2, "failed": 1},
        "duration_seconds": 0.123457,
        "errors": ["row 'a:9' was refused"],
    }


def test_the_summary_is_one_line_of_what_changed() -> None:
    """O6: and says nothing of what did not."""
    assert FULL.summary == "49 seen, 2 new, 1 updated, 1 recovered, 1 missing, 1 unreadable"
    assert report(listed=3).summary == "3 seen"


def test_only_a_complete_pass_is_complete() -> None:
    """R6: every other outcome wrote nothing."""
    assert report().complete
    assert not any(failed(outcome=outcome).complete for outcome in TickOutcome if outcome is not TickOutcome.COMPLETE)


@pytest.mark.parametrize("outcome", list(TickOutcome))
def test_every_outcome_has_the_whole_shape(outcome: TickOutcome) -> None:
    """O7: a script needs no case for failures."""
    assert failed(outcome=outcome).as_dict().keys() == FULL.as_dict().keys()
    assert failed(outcome=outcome).as_dict()["outcome"] == str(outcome)
