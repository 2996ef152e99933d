"""`/api/v1/workloads/…/secrets`: for who may write, and never with a value in the answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.keys import key_file
from tests.rollouts import declare
from tests.unit.served import TOKEN, Browser, Served

CANARY = "canary-8f2e1b"
PATH = "/api/v1/workloads/shop/secrets"
AUTHORISED: dict[str, Any] = {"headers": {"Authorization": f"Bearer {TOKEN}"}}


@pytest.fixture
def browser(served: Served, tmp_path: Path) -> Browser:
    """The application, with keys and a workload `shop`."""
    declare(served.passes.activation.database, "shop")
    served.key_file = key_file(tmp_path)
    return served.browser()


def test_a_value_goes_in_and_never_comes_out(browser: Browser) -> None:
    """S4, O4: 201 for a new name, 200 for a new value; names and generations are all that is answered."""
    first = browser.put(f"{PATH}/PW", json={"value": CANARY}, **AUTHORISED)
    assert (first.status_code, first.json()) == (201, {"workload_id": "shop", "name": "PW", "generation": 1})
    again = browser.put(f"{PATH}/PW", json={"value": CANARY}, **AUTHORISED)
    assert (again.status_code, again.json()["generation"]) == (200, 2)
    listed = browser.get(PATH, **AUTHORISED)
    (item,) = listed.json()["items"]
    assert (item["name"], item["generation"], item["readable"], item["trouble"]) == ("PW", 2, True, "")
    assert browser.delete(f"{PATH}/PW", **AUTHORISED).status_code == 200
    assert browser.get(PATH, **AUTHORISED).json() == {"items": []}
    assert browser.delete(f"{PATH}/PW", **AUTHORISED).status_code == 404
    assert not any(CANARY in each.text for each in (first, again, listed))


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_names_are_for_who_may_write(browser: Browser, method: str) -> None:
    """S4, O4: on loopback too."""
    path = PATH if method == "GET" else f"{PATH}/PW"
    assert browser.request(method, path).status_code == 401


@pytest.mark.parametrize(
    "body",
    [
        {"value": f"{CANARY}\x00"},
        {"value": [CANARY]},
        {"value": ""},
        {"value": "x", "more": CANARY},
        {"valu": CANARY},
        [CANARY],
    ],
)
def test_a_refused_body_is_not_repeated(browser: Browser, body: Any) -> None:
    """S4: it has the value, or something near it."""
    answer = browser.put(f"{PATH}/PW", json=body, **AUTHORISED)
    assert answer.status_code == 422
    assert CANARY not in answer.text


def test_without_keys_nothing_is_stored(served: Served, browser: Browser) -> None:
    """S4: 503, with what to do; an unknown workload is 404."""
    assert browser.put("/api/v1/workloads/nobody/secrets/PW", json={"value": "x"}, **AUTHORISED).status_code == 404
    served.key_file = None
    answer = served.browser().put(f"{PATH}/PW", json={"value": CANARY}, **AUTHORISED)
    assert answer.status_code == 503
    assert "TALLYD_SECRETS_KEY_FILE" in answer.json()["detail"]
