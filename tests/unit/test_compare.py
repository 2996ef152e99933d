"""`controller.loop.compare`: the difference between index and world."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace

import pytest

from controller.loop.compare import compare
from store.records import MISSING, Assignment, Change, RowUpdate
from tests.builders import assignment, id_of, snapshot

WEB, DB = assignment("blog:web", "web"), assignment("blog:db", "db")


def change(
    before: Iterable[Assignment],
    after: Iterable[Assignment],
    *,
    also_listed: Iterable[str] = (),
    may_sweep: bool = True,
) -> Change:
    """The change from some rows to a listing that fills others."""
    filled = list(after)
    listed = {row.container_id for row in filled if row.container_id} | {id_of(name) for name in also_listed}
    return compare(snapshot(before), filled, frozenset(listed), may_sweep=may_sweep)


def test_nothing_new_is_an_empty_change() -> None:
    """R12: idempotence; only last-seen is left to write."""
    same = change([WEB, DB], [WEB, DB])
    assert same == Change(unchanged=2)
    assert same.empty


def test_a_new_row_is_inserted() -> None:
    """R5: what the index has not."""
    assert change([WEB], [WEB, DB]) == Change(inserted=(DB,), unchanged=1)


@pytest.mark.parametrize("name", [field.name for field in fields(Assignment) if field.name != "id"])
def test_a_difference_in_any_column_is_an_update(name: str) -> None:
    """R12: of every observed column; the container that the snapshot saw guards the write."""
    other = replace(WEB, **{name: 1 if name == "port" else "other"})
    expected = Change(updated=(RowUpdate(other, WEB.container_id),))
    assert change([WEB], [other], also_listed=["web"]) == expected


def test_an_unlisted_row_is_missing_once() -> None:
    """R14: with the container that is gone; what is missing already is left alone."""
    gone = change([WEB, DB], [WEB])
    assert gone == Change(missing=((DB.id, id_of("db")),), unseen=(DB.id,), unchanged=1)
    assert not gone.empty
    assert change([WEB, replace(DB, state=MISSING)], [WEB]) == Change(unchanged=1)


def test_a_listed_container_is_never_swept() -> None:
    """R14: neither an ignored nor an unreadable one; its row keeps its last-seen."""
    assert change([WEB, DB], [WEB], also_listed=["db"]) == Change(unseen=(DB.id,), unchanged=1)


def test_a_row_without_a_container_is_never_swept() -> None:
    """R14: the sweep covers rows that have a container id."""
    assert change([assignment("shop:new", None, state="")], []) == Change()


def test_nothing_is_swept_where_absence_cannot_be_concluded() -> None:
    """R17: an illegible id may be that of any row's container."""
    assert change([WEB, DB], [WEB], may_sweep=False) == Change(unseen=(DB.id,), unchanged=1)


def test_an_empty_listing_marks_every_bound_row() -> None:
    """R6: a complete one means that all containers are gone."""
    rows = [WEB, DB, assignment("shop:new", None, state="")]
    assert {row_id for row_id, _ in change(rows, []).missing} == {WEB.id, DB.id}


def test_a_recovered_row_is_counted() -> None:
    """R14: as an update of a row that was missing."""
    back = change([replace(WEB, state=MISSING)], [WEB])
    assert back == Change(updated=(RowUpdate(WEB, WEB.container_id),), recovered=1)


def test_a_row_that_lost_its_container_to_another_row_is_released_first() -> None:
    """R14: at no time do two rows hold one container; the empty one is missing."""
    moved = assignment("mail:web", "web")
    released = RowUpdate(replace(WEB, container_id=None, state=MISSING), WEB.container_id)
    assert change([WEB], [moved]) == Change(inserted=(moved,), updated=(released,))
    waiting = assignment("mail:web", None)
    assert change([WEB, waiting], [moved]).updated == (released, RowUpdate(moved, None))


def test_a_released_row_is_not_released_again() -> None:
    """R12: idempotence of a move."""
    released = replace(WEB, container_id=None, state=MISSING)
    moved = assignment("mail:web", "web")
    assert change([released, moved], [moved]) == Change(unchanged=1)
