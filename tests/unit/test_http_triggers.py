"""`/api/v1/triggers`, firing by hand, the webhook, and what history is told of the answers."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from controller.cli.triggers import _row
from controller.http.triggers import MOST_BODY_BYTES
from controller.triggering import event_of
from controller.triggers.answers import Answer, Answered
from controller.views import trigger_view
from store.history import read_events
from store.history_records import EventFilter, EventKind
from store.triggers import list_bindings
from store.workloads import apply_workloads
from tests.builders import HOST, NOW, workload
from tests.harness import wait_until
from tests.unit.served import CONTROL, TOKEN, Served

WRITER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def served_shop(served: Served) -> Served:
    """A workload whose source is none that deploys, with a trigger by hand; and one without a trigger."""
    declared = [workload("shop", source_kind="report", trigger_kind="manual"), workload("wiki")]
    apply_workloads(served.passes.activation.database, declared, NOW)
    return served


def test_who_may_fire(served_shop: Served) -> None:
    """O4, S1: with the token, or with the one that is in the store; a workload without a trigger is none."""
    browser = served_shop.browser()
    path = "/api/v1/workloads/shop/trigger"
    assert browser.post(path).status_code == 401
    assert browser.post("/api/v1/workloads/wiki/trigger", headers=WRITER).status_code == 404
    assert browser.post("/api/v1/workloads/nobody/trigger", headers=WRITER).status_code == 404
    assert browser.post(path, headers=WRITER, json={"reason": "x" * 201}).status_code == 422
    assert browser.post(path, headers={"Authorization": f"Bearer {CONTROL}"}).status_code in (200, 202)


def test_an_answer_is_shown_and_history_has_it(served_shop: Served) -> None:
    """S1, S5: a source that does not deploy is an error of this workload alone, with its sentence."""
    browser = served_shop.browser()
    told = browser.post(
        "/api/v1/workloads/shop/trigger?wait_seconds=20", headers=WRITER, json={"reason": "because"}
    ).json()
    assert told["answer"] == "errored"
    assert "does not deploy" in told["message"]
    (item,) = browser.get("/api/v1/triggers").json()["items"]
    assert (item["workload_id"], item["answer"]) == ("shop", "errored")
    (event,) = read_events(served_shop.passes.activation.database, EventFilter(kinds=(EventKind.TRIGGER,)))
    assert (event.workload_id, event.reason, event.actor) == ("shop", "errored", "trigger:manual")
    assert told["message"] in event.message
    assert "because" in event.message


def test_a_webhook_tells_strangers_nothing(served_shop: Served) -> None:
    """H2, S1: the same answer for a workload without a webhook, and for none at all; a large body is not read."""
    browser = served_shop.browser()
    answers = [browser.post(f"/-/hooks/{each}", content=b"{}") for each in ("shop", "nobody")]
    assert {(each.status_code, each.text) for each in answers} == {(401, answers[0].text)}
    assert browser.post("/-/hooks/shop", content=b"x" * (MOST_BODY_BYTES + 1)).status_code == 413


def test_a_store_that_fails_keeps_nobody_from_the_answer(served_shop: Served) -> None:
    """S5: history has a gap, and the log says so."""
    database = served_shop.passes.activation.database
    with database.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE events RENAME TO elsewhere")
    with capture_logs() as logs:
        answer = served_shop.browser().post("/api/v1/workloads/shop/trigger?wait_seconds=20", headers=WRITER)
        assert answer.json()["answer"] == "errored"
        wait_until(lambda: [each for each in logs if each["event"] == "history has a gap"], 10, "the gap is told")


def test_the_event_of_an_answer() -> None:
    """S5: which revision, and whether it is tried again."""
    answered = Answered("shop", "registry", Answer.DEPLOYED, "shop-2 serves", "shop-2")
    event = event_of(answered, "new digest", HOST, NOW)
    assert (event.subject, event.message) == ("shop-2", "deployed: shop-2 serves (new digest)")
    assert event.details == {"about": "new digest", "again": False}


def test_a_row_of_the_command_line(served_shop: Served) -> None:
    """O1: one that never fired says nothing."""
    (binding,) = list_bindings(served_shop.passes.activation.database)
    row = _row(trigger_view(binding, NOW))
    assert (row["workload_id"], row["fired"], row["next_at"]) == ("shop", "", "")
