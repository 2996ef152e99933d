"""Rows that a deployer makes, on both stores: made, rebound, taken away, and nothing beside them touched."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from store.database import Database
from store.deployed_rows import bind_row, drop_rows
from store.errors import Conflict, NotFound
from store.workloads import apply_workloads
from tests.builders import HOST, NOW, assignment, id_of, workload
from tests.contract.ticks import rows_of, tick

WEB = assignment("shop:web", "web", state="", health="", workload_kind="project")
EXTRA = {"addresses": {"net": "1"}}
OWNED = {"stage_id": "shop-r1", "image_tag": "shop:1"}


def test_a_row_is_made_filled_and_bound_again(database: Database) -> None:
    """R9, R12: repeating it changes nothing, and what a pass saw of the same container stays."""
    apply_workloads(database, [workload("shop")], NOW)
    bind_row(database, HOST, WEB, OWNED, EXTRA)
    made = rows_of(database)["shop:web"]
    assert (made.container_id, made.state, made.stage_id, made.image_tag) == (id_of("web"), "", "shop-r1", "shop:1")
    assert made.last_seen_at is None
    tick(database, replace(WEB, state="running", health="healthy"))
    seen = rows_of(database)["shop:web"]
    bind_row(database, HOST, WEB, OWNED, EXTRA)
    assert rows_of(database)["shop:web"] == seen
    assert seen.state == "running"
    assert json.loads(seen.extra_json) == EXTRA


def test_a_row_follows_to_another_container(database: Database) -> None:
    """R9: the old container's state is not the new one's; columns that are not named stay."""
    bind_row(database, HOST, WEB, {**OWNED, "subdomain": "shop"}, {"theirs": 1, **EXTRA})
    tick(database, replace(WEB, state="running"))
    bind_row(database, HOST, replace(WEB, container_id=id_of("new")), OWNED, {"addresses": {"net": "2"}})
    moved = rows_of(database)["shop:web"]
    assert (moved.container_id, moved.state, moved.subdomain) == (id_of("new"), "", "shop")
    assert moved.last_seen_at is None
    assert json.loads(moved.extra_json) == {"theirs": 1, "addresses": {"net": "2"}}


def test_what_cannot_be_bound(database: Database) -> None:
    """R9, R12: an unknown host, a container of another row, a column of the loop."""
    bind_row(database, HOST, WEB, OWNED, EXTRA)
    with pytest.raises(NotFound, match="'nowhere'"):
        bind_row(database, "nowhere", WEB, OWNED, EXTRA)
    with pytest.raises(Conflict, match="row 'shop:web'"):
        bind_row(database, HOST, replace(WEB, id="shop:other"), OWNED, {})
    with pytest.raises(ValueError, match="state"):
        bind_row(database, HOST, WEB, {"state": "running"}, {})


def test_the_rows_of_a_revision_go_with_it(database: Database) -> None:
    """R9: those and no others; twice is as once."""
    bind_row(database, HOST, WEB, OWNED, EXTRA)
    bind_row(database, HOST, assignment("shop:next", "next"), {"stage_id": "shop-r2"}, {})
    bind_row(database, HOST, assignment("blog:web", "blog"), OWNED, {})
    assert drop_rows(database, HOST, "shop", "shop-r1") == 1
    assert drop_rows(database, HOST, "shop", "shop-r1") == 0
    assert sorted(rows_of(database)) == ["blog:web", "shop:next"]
