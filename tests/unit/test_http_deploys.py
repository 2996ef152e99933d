"""`controller.http.deploys`: deploys over HTTP, who may ask for one, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from store.database import Database
from store.rollout_records import RevisionState
from tests.rollouts import declare, shop
from tests.unit.served import CONTROL, TOKEN, Browser, Served

S = RevisionState
WRITE = {"Authorization": f"Bearer {TOKEN}"}
DEPLOYS = "/api/v1/workloads/shop/deploys"


@pytest.fixture
def browser(served: Served, database: Database) -> Browser:
    """The API over a workload with revisions, whose source does not deploy."""
    shop(database, S.READY, S.INACTIVE)
    declare(database, "wiki")
    return served.browser()


def test_who_may_ask(served: Served, browser: Browser) -> None:
    """O4: the API's token, or this controller's own; off loopback reads need the token too."""
    outside = served.browser(on_loopback=False)
    assert browser.get(DEPLOYS).json() == {"items": []}
    assert (outside.get(DEPLOYS).status_code, outside.get(DEPLOYS, headers=WRITE).status_code) == (401, 200)
    assert browser.post(DEPLOYS, content=b"{").status_code == 401
    assert served.browser(token=None).post(DEPLOYS, json={}, headers=WRITE).status_code == 403
    own = {"Authorization": f"Bearer {CONTROL}"}
    assert browser.post("/api/v1/workloads/lost/deploys", json={}, headers=own).status_code == 404


@pytest.mark.parametrize(
    ("path", "body", "status", "told"),
    [
        (DEPLOYS, {"weights": [5_000, 100]}, 422, "rising"),
        (DEPLOYS, {"weights": [5_000]}, 422, "the last one 10000"),
        (DEPLOYS, {"weights": []}, 422, "allowed"),
        (DEPLOYS, {"weights": [10_001]}, 422, "10000"),
        (DEPLOYS, {"keep": -1}, 422, "keep"),
        (DEPLOYS, {"gate": "open"}, 422, "gate"),
        (DEPLOYS, {"gates": {"prometheus": "http://127.0.0.1:9090"}}, 422, "give both or none"),
        (DEPLOYS, {"gates": {"probe": "file:///etc/passwd"}}, 422, "write http://"),
        (DEPLOYS, {}, 409, "declare one that deploys"),
        ("/api/v1/workloads/wiki/deploys", {}, 409, "declare one that deploys"),
        ("/api/v1/workloads/lost/deploys", {}, 404, "'lost' is not in the store"),
    ],
)
def test_what_is_refused(browser: Browser, path: str, body: dict[str, Any], status: int, told: str) -> None:
    """O4: at once, with what is allowed; nothing is remembered of it."""
    answer = browser.post(path, json=body, headers=WRITE)
    assert (answer.status_code, told in answer.json()["detail"]) == (status, True), answer.text
    assert browser.get(path).json() == {"items": []}


def test_what_is_not_remembered(browser: Browser) -> None:
    """O4: 404."""
    answer = browser.get(f"{DEPLOYS}/abc")
    assert answer.status_code == 404
    assert "no deploy 'abc' that this controller remembers" in answer.json()["detail"]
