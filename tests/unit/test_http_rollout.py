"""`controller.http.rollout`: revisions and splits over HTTP, and who may do what."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from httpx import Response

from store.database import Database
from store.revisions import create_revision, move_revision
from store.rollout_records import RevisionState
from store.splits import get_split, list_splits
from store.workloads import apply_workloads
from tests.builders import NOW, workload
from tests.rollouts import DIGEST, IMAGE_REF, revision, shop
from tests.unit.served import TOKEN, Browser, Served

S = RevisionState
WRITE = {"Authorization": f"Bearer {TOKEN}"}
SHOP = "/api/v1/workloads/shop"
READS = [f"{SHOP}/revisions", f"{SHOP}/revisions/shop-1", f"{SHOP}/split"]


def body(*weights: int, **more: Any) -> dict[str, Any]:
    """A split over the first revisions of `shop`."""
    listed = [{"revision_id": f"shop-{number}", "weight": weight} for number, weight in enumerate(weights, start=1)]
    return {"entries": listed, **more}


def put(browser: Browser, content: Any, match: str | None = None) -> Response:
    """Set the split of `shop`."""
    headers = WRITE | {"Content-Type": "application/json"} | ({} if match is None else {"If-Match": match})
    return browser.put(f"{SHOP}/split", content=json.dumps(content).encode(), headers=headers)


def roll_back(browser: Browser, match: str | None = None) -> Response:
    """Take it back."""
    return browser.post(f"{SHOP}/split/rollback", headers=WRITE | ({} if match is None else {"If-Match": match}))


@pytest.fixture
def browser(served: Served, database: Database) -> Browser:
    """The API over a workload with two ready revisions and one that warms up."""
    shop(database, S.READY, S.READY, S.WARMING)
    return served.browser()


def test_who_may_do_what(served: Served, browser: Browser, database: Database) -> None:
    """O4: writes need the token, before anything of the body is read; off loopback so do reads."""
    put(browser, body(10_000))
    outside = served.browser(on_loopback=False)
    for path in READS:
        assert browser.get(path).status_code == 200
        assert (outside.get(path).status_code, outside.get(path, headers=WRITE).status_code) == (401, 200)
    for without, headers, status in ((browser, {}, 401), (served.browser(token=None), WRITE, 403)):
        for content in (b"{", b"\xff", b'{"entries": []}'):
            assert without.put(f"{SHOP}/split", content=content, headers=headers).status_code == status
        assert without.post(f"{SHOP}/split/rollback", headers=headers).status_code == status
    assert get_split(database, "shop").generation == 0


def test_revisions_are_shown(browser: Browser, database: Database) -> None:
    """O4, L1: the oldest first, with their state and why they failed."""
    move_revision(database, "shop", "shop-3", S.FAILED, NOW, detail="no answer", checks={"http": "refused"})
    items = browser.get(f"{SHOP}/revisions").json()["items"]
    assert [(each["id"], each["state"]) for each in items] == [
        *(("shop-1", "ready"), ("shop-2", "ready")),
        ("shop-3", "failed"),
    ]
    assert browser.get(f"{SHOP}/revisions/shop-3").json() == items[2]
    assert items[2] == {
        "id": "shop-3",
        "workload_id": "shop",
        "sequence": 3,
        "state": "failed",
        "image_ref": IMAGE_REF,
        "image_digest": DIGEST,
        "config_digest": items[0]["config_digest"],
        "config": {"port": 80},
        "detail": "no answer",
        "checks": {"http": "refused"},
        "created_at": NOW.isoformat(),
        "updated_at": NOW.isoformat(),
    }


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("lost/revisions", "workload 'lost' is not in the store"),
        ("lost/revisions/lost-1", "has no revision 'lost-1'"),
        ("shop/revisions/shop-9", "has no revision 'shop-9'"),
        ("shop/revisions/blog-1", "has no revision 'blog-1'"),
        ("lost/split", "workload 'lost' is not in the store"),
        ("blog/split", "workload 'blog' has no traffic split"),
    ],
)
def test_what_is_not_there(browser: Browser, database: Database, path: str, told: str) -> None:
    """O4, D3: 404 that names it."""
    revision(database, "blog")
    answer = browser.get(f"/api/v1/workloads/{path}")
    assert (answer.status_code, told in answer.json()["detail"]) == (404, True)


def test_a_split_is_set_and_shown_under_generations(browser: Browser) -> None:
    """T1, O4: 201 and generation 0 first; ETag is the generation, If-Match must be it."""
    made = put(browser, body(10_000, idempotency_key="k"))
    assert (made.status_code, made.headers["ETag"]) == (201, '"0"')
    assert made.json() == {
        "workload_id": "shop",
        **body(10_000),
        "generation": 0,
        "idempotency_key": "k",
        "stickiness_epoch": 0,
        "previous": None,
        "updated_at": NOW.isoformat(),
    }
    again = put(browser, body(10_000, idempotency_key="k"))
    assert (again.status_code, again.json()) == (201, made.json())
    changed = put(browser, body(1, 9_999), '"0"')
    assert (changed.status_code, changed.headers["ETag"]) == (200, '"1"')
    assert changed.json()["previous"] == body(10_000)["entries"]
    shown = browser.get(f"{SHOP}/split")
    assert (shown.headers["ETag"], shown.json()) == ('"1"', changed.json())


def test_a_split_is_taken_back(browser: Browser) -> None:
    """T1: one step, under a new generation."""
    put(browser, body(10_000))
    put(browser, body(0, 10_000))
    back = roll_back(browser, '"1"')
    assert (back.status_code, back.headers["ETag"]) == (200, '"2"')
    assert (back.json()["entries"], back.json()["stickiness_epoch"]) == (body(10_000)["entries"], 1)


def test_a_stale_if_match_is_412_with_both_numbers(browser: Browser, database: Database) -> None:
    """O4, T1: and nothing is changed; where there is no split yet, the current one is null."""
    early = put(browser, body(10_000), '"0"')
    assert (early.status_code, early.json()["expected"], early.json()["current"]) == (412, 0, None)
    put(browser, body(10_000))
    put(browser, body(1, 9_999))
    for answer in (put(browser, body(10_000), '"0"'), roll_back(browser, '"0"')):
        assert (answer.status_code, answer.json()["expected"], answer.json()["current"]) == (412, 0, 1)
    assert get_split(database, "shop").generation == 1
    for answer in (put(browser, body(10_000), "1"), roll_back(browser, "1")):
        assert answer.status_code == 422


def _entry(revision_id: Any, weight: Any) -> dict[str, Any]:
    return {"entries": [{"revision_id": revision_id, "weight": weight}]}


@pytest.mark.parametrize(
    ("content", "status", "told"),
    [
        (_entry("shop-9", 10_000), 404, "has no revision 'shop-9'"),
        (_entry("blog-1", 10_000), 422, "'blog-1' is not one of its own"),
        (body(9_000, 0, 1_000), 409, "'shop-3' is warming"),
        (body(9_998, 1), 422, "sum up to 9999 basis points"),
        (body(9_999, 2), 422, "sum up to 10001 basis points"),
        (body(), 422, "no entries"),
        (body(10_001), 422, "body.entries.0.weight: Input should be less than or equal to 10000"),
        (body(10_000, -1), 422, "body.entries.1.weight: Input should be greater than or equal to 0"),
        ({"entries": body(5_000)["entries"] * 2}, 422, "'shop-1' stands twice"),
        (_entry("shop-1", 10_000.0), 422, "body.entries.0.weight"),
        (_entry("shop-1", "10000"), 422, "body.entries.0.weight"),
        (_entry("shop-1", True), 422, "body.entries.0.weight"),
        (_entry("shop-1", None), 422, "body.entries.0.weight"),
        (_entry(1, 10_000), 422, "body.entries.0.revision_id"),
        (_entry("\ud800", 10_000), 422, "cannot hold this text"),
        ({"entries": [{"revision_id": "shop-1"}]}, 422, "body.entries.0.weight: Field required"),
        ({"entries": None}, 422, "body.entries"),
        ({}, 422, "body.entries: Field required"),
        ([], 422, "body"),
        (body(10_000, generation=3), 422, "body.generation: Extra inputs are not permitted"),
        (body(10_000, idempotency_key="k" * 201), 422, "body.idempotency_key"),
        (body(10_000, idempotency_key=None), 422, "body.idempotency_key"),
    ],
)
@pytest.mark.parametrize("before", [False, True], ids=["first", "second"])
def test_what_a_split_may_not_be(
    browser: Browser, database: Database, content: Any, status: int, told: str, before: bool
) -> None:
    """T1, D3: a status and a sentence that says what is wrong; nothing is stored."""
    revision(database, "blog")
    if before:
        put(browser, body(10_000))
    stored = list_splits(database)
    answer = put(browser, content)
    assert (answer.status_code, told in answer.json()["detail"]) == (status, True), answer.text
    assert list_splits(database) == stored


REFUSED: list[tuple[Callable[[Browser], Response], int, str]] = [
    (lambda browser: put(browser, body(0, 10_000, idempotency_key="k")), 409, "was used for other entries"),
    (roll_back, 409, "no entries before"),
    (lambda browser: browser.post("/api/v1/workloads/blog/split/rollback", headers=WRITE), 404, "no traffic split"),
    (lambda browser: browser.post("/api/v1/workloads/lost/split/rollback", headers=WRITE), 404, "'lost'"),
]


@pytest.mark.parametrize(("ask", "status", "told"), REFUSED, ids=["key", "nothing before", "no split", "no workload"])
def test_what_is_refused(
    browser: Browser, database: Database, ask: Callable[[Browser], Response], status: int, told: str
) -> None:
    """T1, O4: a conflict is 409, what is not there 404."""
    put(browser, body(10_000, idempotency_key="k"))
    answer = ask(browser)
    assert (answer.status_code, told in answer.json()["detail"]) == (status, True)
    assert get_split(database, "shop").generation == 0


def test_no_way_back_to_what_is_not_ready(browser: Browser, database: Database) -> None:
    """T1: a rollback checks again."""
    put(browser, body(10_000))
    put(browser, {"entries": [{"revision_id": "shop-2", "weight": 10_000}]})
    move_revision(database, "shop", "shop-1", S.DRAINING, NOW)
    answer = roll_back(browser)
    assert (answer.status_code, "'shop-1' is draining" in answer.json()["detail"]) == (409, True)


def test_a_promotion_over_http(served: Served) -> None:
    """S4: 201 for a new revision, 200 for the same again, 409 where there is no chain; for who may write."""
    database = served.passes.activation.database
    config = {"image": "shop:1", "env": {"WHERE": "staging"}}
    own = {"image": "shop:1", "env": {"WHERE": "production"}}
    apply_workloads(
        database,
        [
            workload("staging", source_kind="image", source_config=config),
            workload("production", source_kind="image", source_config=own, parent="staging"),
        ],
        NOW,
    )
    made = create_revision(database, "staging", "shop:1", f"sha256:{'1' * 64}", config, NOW)
    for state in (RevisionState.STAGED, RevisionState.WARMING, RevisionState.READY):
        move_revision(database, "staging", made.id, state, NOW)
    browser, authorised = served.browser(), {"Authorization": f"Bearer {TOKEN}"}
    path = "/api/v1/workloads/staging/promote"
    assert browser.post(path, json={"to": "production"}).status_code == 401
    answer = browser.post(path, json={"to": "production"}, headers=authorised)
    assert (answer.status_code, answer.json()["id"], answer.json()["config"]) == (201, "production-1", own)
    assert browser.post(path, json={"to": "production"}, headers=authorised).status_code == 200
    assert browser.post(path, json={"to": "staging"}, headers=authorised).status_code == 409
    body = {"to": "production", "revision_id": "staging-9"}
    assert browser.post(path, json=body, headers=authorised).status_code == 404
