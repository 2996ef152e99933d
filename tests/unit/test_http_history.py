"""`/api/v1/events` and `/api/v1/holds` over a store, and what `/-/ready` says of holds."""

from __future__ import annotations

import pytest

from store.history import append_events
from store.history_records import Event
from store.workloads import apply_workloads
from tests.builders import HOST, NOW, later, workload
from tests.unit.served import TOKEN, Served

WRITER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def history(served: Served) -> Served:
    """Three events of two workloads."""
    database = served.passes.activation.database
    apply_workloads(database, [workload("shop")], NOW)
    given = [("state", "shop"), ("deploy", "shop"), ("state", "blog")]
    append_events(
        database, [Event(later(n), kind, HOST, owner, message=str(n)) for n, (kind, owner) in enumerate(given)]
    )
    return served


def messages(served: Served, query: str = "") -> list[str]:
    """What is answered."""
    answer = served.browser().get(f"/api/v1/events{query}")
    assert answer.status_code == 200, answer.text
    return [each["message"] for each in answer.json()["items"]]


def test_events_are_read_and_read_on(history: Served) -> None:
    """S5: filters, the newest, and from a cursor on."""
    assert messages(history) == ["0", "1", "2"]
    assert messages(history, "?workload=shop") == ["0", "1"]
    assert messages(history, "?kind=deploy&kind=hold") == ["1"]
    assert messages(history, "?limit=1") == ["2"]
    assert messages(history, "?limit=1&after=0") == ["0"]
    last = history.browser().get("/api/v1/events?limit=2&after=0").json()["last_id"]
    assert messages(history, f"?after={last}") == ["2"]
    assert messages(history, "?since=2026-01-02T03:04:06Z") == ["1", "2"]


@pytest.mark.parametrize("query", ["?limit=0", "?after=-1", "?since=2026-01-02T03:04:05", "?wrong=1", "?limit=5000"])
def test_a_wrong_question_is_told(history: Served, query: str) -> None:
    """O4: 422 with what is wrong."""
    assert history.browser().get(f"/api/v1/events{query}").status_code == 422


def test_holds_are_set_listed_and_released(history: Served) -> None:
    """S5: with an author, a reason and an end; both are history."""
    browser = history.browser()
    made = browser.post(
        "/api/v1/holds", headers=WRITER, json={"workload_id": "shop", "reason": "moving", "lasts": "2h"}
    )
    assert made.status_code == 200, made.text
    told = made.json()
    assert (told["scope"], told["author"], told["host"], told["reason"]) == ("workload", "operator", HOST, "moving")
    assert [each["workload_id"] for each in browser.get("/api/v1/holds?workload=shop").json()["items"]] == ["shop"]
    assert len(browser.delete("/api/v1/holds?workload=shop", headers=WRITER).json()["released"]) == 1
    assert browser.get("/api/v1/holds").json()["items"] == []
    assert messages(history, "?kind=hold") == [
        "shop is left alone until 2026-01-02 05:04:05 UTC: moving",
        "shop is looked after again",
    ]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"workload_id": "nobody"}, 404),
        ({"slot": "shop-1"}, 422),
        ({"workload_id": "shop", "lasts": "soon"}, 422),
        ({"workload_id": "shop", "lasts": "0h"}, 422),
        ({"wrong": 1}, 422),
    ],
)
def test_a_hold_that_makes_no_sense_is_refused(history: Served, body: dict[str, object], status: int) -> None:
    """O4: and nothing is held."""
    browser = history.browser()
    assert browser.post("/api/v1/holds", headers=WRITER, json=body).status_code == status
    assert browser.get("/api/v1/holds").json()["items"] == []
    assert browser.delete("/api/v1/holds", headers=WRITER).status_code == 404


def test_readiness_tells_of_a_host_that_is_held(history: Served) -> None:
    """S5, O4: in its answer; the index is true all the same."""
    history.host_holds.append("host held by controller: 5 of 6")
    assert history.browser().get("/-/ready").json()["holds"] == ["host held by controller: 5 of 6"]
