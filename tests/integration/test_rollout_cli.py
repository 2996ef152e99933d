"""`tallyd revision` and `tallyd split` as people and scripts use them, without an engine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from store.database import Database, open_database
from store.revisions import move_revision
from store.rollout_records import RevisionState
from store.schema import migrate
from store.splits import get_split
from tests.builders import NOW
from tests.integration.console import Console, Tallyd, settings_of
from tests.rollouts import DIGEST, declare, revision, shop

S = RevisionState
NOWHERE = "unix:///nonexistent/docker.sock"


@pytest.fixture(scope="module")
def console() -> Iterator[Console]:
    """The console script."""
    with contextlib.closing(Console()) as started:
        yield started


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """Both stores: a workload with two ready revisions and a failed one, and one without any."""
    with contextlib.closing(open_database(database_url)) as store:
        migrate(store)
        shop(store, S.READY, S.READY, S.WARMING)
        move_revision(store, "shop", "shop-3", S.FAILED, NOW, detail="no answer\x1b[31m", checks={"http": "refused"})
        declare(store, "blog")
        yield store


@pytest.fixture
def tallyd(console: Console, database: Database, database_url: str, tmp_path: Path) -> Tallyd:
    """`tallyd` on that store; there is no engine."""
    return Tallyd(console, tmp_path, settings_of(NOWHERE, database_url, tmp_path))


def test_revisions_are_listed_and_shown(tallyd: Tallyd) -> None:
    """O1, L1: in each form, the oldest first; what failed says why, and nothing reaches the terminal raw."""
    listed = tallyd.ok("revision", "list", "shop")
    assert [line.split()[:3] for line in listed.stdout.splitlines()] == [
        ["ID", "STATE", "IMAGE"],
        ["shop-1", "ready", "shop:2"],
        ["shop-2", "ready", "shop:2"],
        ["shop-3", "failed", "shop:2"],
    ]
    assert "\x1b" not in listed.stdout
    items = tallyd.ok("revision", "list", "shop", "-o", "json").json
    assert [(each["id"], each["sequence"], each["state"], each["image_digest"]) for each in items] == [
        (f"shop-{number}", number, state, DIGEST)
        for number, state in enumerate(("ready", "ready", "failed"), start=1)
    ]
    shown = tallyd.ok("revision", "get", "shop", "shop-3", "-o", "json").json
    assert (shown, shown["checks"]) == (items[2], {"http": "refused"})
    assert "state: failed" in tallyd.ok("revision", "get", "shop", "shop-3").stdout
    assert tallyd.ok("revision", "get", "shop", "shop-1", "-o", "table").stdout.splitlines()[1].startswith("shop-1")
    assert tallyd.ok("revision", "list", "blog", "-o", "json").json == []


def test_a_split_is_set_shown_and_taken_back(tallyd: Tallyd) -> None:
    """O1, T1: shares as people write them, under generations, and back again."""
    made = tallyd.ok("split", "set", "shop", "shop-1=100%", "-o", "json").json
    assert (made["generation"], made["entries"]) == (0, [{"revision_id": "shop-1", "weight": 10_000}])
    changed = ("shop-1=99.99%", "shop-2=1bp", "--expect-generation", "0", "--idempotency-key", "k")
    told = tallyd.ok("split", "set", "shop", *changed).stdout
    assert [line.split() for line in told.splitlines()] == [
        ["generation", "1,", "stickiness", "epoch", "0"],
        ["REVISION", "SHARE", "WEIGHT"],
        ["shop-1", "99.99%", "9999bp"],
        ["shop-2", "0.01%", "1bp"],
        ["before:", "shop-1=100%"],
    ]
    assert tallyd.ok("split", "set", "shop", *changed).stdout == told == tallyd.ok("split", "show", "shop").stdout
    back = tallyd.ok("split", "rollback", "shop", "--expect-generation", "1", "-o", "json").json
    assert (back["generation"], back["entries"], back["stickiness_epoch"]) == (2, made["entries"], 1)
    assert tallyd.ok("split", "show", "shop", "-o", "json").json == back


REFUSED = [
    (("split", "set", "shop", "shop-1=90%", "shop-2=9.99%"), 1, "sum up to 9999 basis points"),
    (("split", "set", "shop", "shop-1=90%", "shop-2=10.01%"), 1, "sum up to 10001 basis points"),
    (("split", "set", "shop", "shop-1=100.01%"), 1, "weight 10001"),
    (("split", "set", "shop", "shop-1=50%", "shop-1=50%"), 1, "'shop-1' stands twice"),
    (("split", "set", "shop", "shop-9=100%"), 1, "no revision 'shop-9'"),
    (("split", "set", "blog", "shop-1=100%"), 1, "'shop-1' is not one of its own"),
    (("split", "set", "shop", "shop-3=100%"), 1, "'shop-3' is failed"),
    (("split", "set", "lost", "shop-1=100%"), 1, "'lost' is not in the store"),
    (("split", "set", "shop", "shop-1=100%", "--expect-generation", "7"), 1, "expected generation 7, current is 0"),
    (("split", "set", "shop", "shop-2=100%", "--idempotency-key", "k"), 1, "'k' was used for other entries"),
    (("split", "set", "shop", "shop-1=-5%", "shop-2=105%"), 2, "'shop-1=-5%' is no entry of a split"),
    (("split", "set", "shop", "shop-1=99.999%", "shop-2=0.001%"), 2, "more precise than a basis point"),
    (("split", "set", "shop"), 2, "Missing argument"),
    (("split", "rollback", "shop"), 1, "no entries before"),
    (("split", "rollback", "shop", "--expect-generation", "7"), 1, "expected generation 7, current is 0"),
    (("split", "rollback", "blog"), 1, "'blog' has no traffic split"),
    (("split", "show", "blog"), 1, "'blog' has no traffic split"),
    (("split", "show", "lost"), 1, "'lost' is not in the store"),
    (("revision", "list", "lost"), 1, "'lost' is not in the store"),
    (("revision", "get", "shop", "shop-9"), 1, "'shop' has no revision 'shop-9'"),
    (("revision", "get", "blog", "shop-1"), 1, "'blog' has no revision 'shop-1'"),
]


def test_what_is_refused_says_why_and_changes_nothing(tallyd: Tallyd, database: Database) -> None:
    """O1, T1, D3: one sentence on stderr, no data, exit 1, or 2 for what makes no sense."""
    tallyd.ok("split", "set", "shop", "shop-1=100%", "--idempotency-key", "k")
    before = get_split(database, "shop")
    for arguments, exit_code, told in REFUSED:
        done = tallyd(*arguments).expect(exit_code)
        assert (done.stdout, told in done.stderr) == ("", True), done
    assert get_split(database, "shop") == before


def test_no_way_back_to_what_is_not_ready(tallyd: Tallyd, database: Database) -> None:
    """O1, T1, L3: a rollback checks again; archiving what the split names is for nobody."""
    tallyd.ok("split", "set", "shop", "shop-1=100%")
    tallyd.ok("split", "set", "shop", "shop-2=100%")
    revision(database)
    move_revision(database, "shop", "shop-1", S.ARCHIVED, NOW)
    done = tallyd("split", "rollback", "shop").expect(1)
    assert "'shop-1' is archived; with a weight of 10000 it has to be ready" in done.stderr
