"""`/api/v1/config`: the config under compare-and-swap over HTTP, and what became of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from controller.declared.config import HIDDEN, set_config
from controller.declared.reloaded import Reloaded, ReloadResult
from controller.errors import ReloadFailed
from controller.settings import LIVE_SETTINGS
from store.config_generations import change_config_document
from store.declared import Plan
from tests.builders import HOST, NOW, later
from tests.unit.served import TOKEN, Browser, Served

PATH = "/api/v1/config"
WRITE = {"Authorization": f"Bearer {TOKEN}"}
MERGE = WRITE | {"Content-Type": "application/merge-patch+json"}
SECRET = "s3cret-" * 6
PASSWORD_URL = "postgresql://me:hunter2@db/tallyd"


def put(browser: Browser, content: object, **headers: str) -> Any:
    """Replace the config."""
    return browser.put(PATH, json=content, headers=WRITE | headers)


def patch(browser: Browser, change: object, **headers: str) -> Any:
    """Change the config."""
    return browser.patch(PATH, content=json.dumps(change), headers=MERGE | headers)


def test_nothing_stored(served: Served) -> None:
    """G2, G10, O4: generation 0, the defaults, and an ETag that the first write can name."""
    browser = served.browser()
    answer = browser.get(PATH)
    assert (answer.status_code, answer.headers["ETag"]) == (200, '"0"')
    told = answer.json()
    assert (told["generation"], told["declared"], told["config"]["interval_seconds"]) == (0, {}, 30.0)
    assert (told["host"], told["instance_id"], told["backend"]) == (HOST, "instance", served.config.backend)
    assert "paths" not in told
    assert put(browser, {}, **{"If-Match": '"0"'}).json()["generation"] == 1


def test_put_replaces_and_patch_merges(served: Served) -> None:
    """G4, G5, G6, O4: each answers with what is stored, its new generation, and what became of it."""
    browser = served.browser()
    first = put(browser, {"interval_seconds": 7, "log_level": "debug"})
    assert (first.status_code, first.headers["ETag"], first.json()["author"]) == (200, '"1"', "API")
    assert first.json()["reload"] == {"result": "activated", "detail": "interval_seconds 30.0 -> 5.0"}
    second = patch(browser, {"log_level": None, "label_prefix": "acme"})
    assert second.json()["declared"] == {"interval_seconds": 7, "label_prefix": "acme"}
    third = put(browser, {"plugin_workers": 2})
    assert third.json()["declared"] == {"plugin_workers": 2}
    assert put(browser, {"plugin_workers": 2}).headers["ETag"] == '"4"'
    now = browser.get(PATH)
    assert (now.headers["ETag"], now.json()["declared"]) == ('"4"', {"plugin_workers": 2})
    assert served.reloading.asked == ["API"] * 4


def test_a_patch_may_come_as_plain_json(served: Served) -> None:
    """G5: people's tools say `application/json`."""
    answer = served.browser().patch(PATH, json={"interval_seconds": 7}, headers=WRITE)
    assert (answer.status_code, answer.json()["declared"]) == (200, {"interval_seconds": 7})


@pytest.mark.parametrize("write", [put, patch])
@pytest.mark.parametrize("expected", [0, 2, 999])
def test_another_generation_is_412_with_both_numbers(served: Served, write: Any, expected: int) -> None:
    """G3, O4: nothing is stored and nothing is reloaded."""
    browser = served.browser()
    put(browser, {"interval_seconds": 7})
    refused = write(browser, {"interval_seconds": 8}, **{"If-Match": f'"{expected}"'})
    assert refused.status_code == 412
    assert (refused.json()["expected"], refused.json()["current"]) == (expected, 1)
    assert f"expected generation {expected}, current is 1" in refused.json()["detail"]
    assert browser.get(PATH).json()["declared"] == {"interval_seconds": 7}
    assert len(served.reloading.asked) == 1
    assert write(browser, {"interval_seconds": 8}, **{"If-Match": '"1"'}).headers["ETag"] == '"2"'
    assert write(browser, {"interval_seconds": 9}, **{"If-Match": "*"}).headers["ETag"] == '"3"'


@pytest.mark.parametrize("tag", ["1", 'W/"1"', '"x"', '"-1"', '""', '"1", "2"', '"9999999999999999999"'])
def test_an_etag_that_is_none_of_ours(served: Served, tag: str) -> None:
    """O4: is told, rather than taken for "whatever is there"."""
    browser = served.browser()
    refused = put(browser, {}, **{"If-Match": tag})
    assert (refused.status_code, "If-Match" in refused.json()["detail"]) == (422, True)
    assert browser.get(PATH).json()["generation"] == 0


INVALID: dict[str, tuple[Any, str]] = {
    "unknown key": ({"interval_secs": 5}, "interval_secs is not a setting; did you mean interval_seconds?"),
    "wrong value": ({"log_level": "loud"}, "log_level is 'loud'"),
    "wrong type": ({"plugin_workers": [1]}, "plugin_workers is [1]"),
    "two of them": ({"log_level": "loud", "plugin_workers": 0}, "plugin_workers is 0"),
    "a setting of the process": ({"config": "x.yaml"}, "config is not a setting"),
    "short secret": ({"api_token": "hunter2"}, "api_token: "),
    "no number": ({"interval_seconds": float("nan")}, "interval_seconds is nan"),
}


@pytest.mark.parametrize("case", INVALID)
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_what_is_not_allowed_is_422_with_the_reason(served: Served, case: str, method: str) -> None:
    """G5, O2: the value, what is allowed and the nearest key; nothing is stored; a secret is not repeated."""
    content, said = INVALID[case]
    browser = served.browser()
    refused = browser.request(method, PATH, content=json.dumps(content), headers=MERGE)
    assert refused.status_code == 422
    assert said in refused.json()["detail"]
    assert "hunter2" not in refused.text
    assert (browser.get(PATH).json()["generation"], served.reloading.asked) == (0, [])


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"null", b"\xff", b'{"interval_seconds": 1e999}'])
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_what_is_no_document_is_refused(served: Served, body: bytes, method: str) -> None:
    """G5: and never a defect."""
    browser = served.browser()
    answer = browser.request(method, PATH, content=body, headers=MERGE)
    assert answer.status_code in (400, 422)
    assert browser.get(PATH).json()["generation"] == 0


@pytest.mark.parametrize("token", [None, "wrong", ""])
@pytest.mark.parametrize("on_loopback", [True, False])
def test_who_may_read_and_write(served: Served, token: str | None, on_loopback: bool) -> None:
    """O4, G10: writes and paths need the token everywhere; reads need it off loopback; the body is not looked at."""
    browser = served.browser(on_loopback=on_loopback)
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    for path in (PATH, f"{PATH}/status", f"{PATH}/history", f"{PATH}/schema"):
        assert browser.get(path, headers=headers).status_code == (200 if on_loopback else 401)
        assert browser.get(path, headers=WRITE).status_code == 200
    assert browser.get(f"{PATH}/diagnostic", headers=headers).status_code == 401
    for method in ("PUT", "PATCH"):
        for body in (b"{}", b"{"):
            assert browser.request(method, PATH, content=body, headers=headers).status_code == 401
    assert browser.get(f"{PATH}/diagnostic", headers=WRITE).json()["paths"] == dict(served.config.paths)
    assert browser.get(PATH).status_code == (200 if on_loopback else 401)


def test_secrets_are_never_answered(served: Served) -> None:
    """G10, O6: in no form and by no route; and what was answered can be sent back as it is."""
    browser = served.browser()
    answers = [put(browser, {"api_token": SECRET, "reload_token": SECRET, "interval_seconds": 7})]
    shown = browser.get(PATH).json()["declared"]
    assert shown == {"api_token": HIDDEN, "reload_token": HIDDEN, "interval_seconds": 7}
    answers += [put(browser, shown | {"interval_seconds": 8}), patch(browser, {"reload_token": None})]
    answers += [browser.get(f"{PATH}{each}", headers=WRITE) for each in ("", "/diagnostic", "/history", "/status")]
    assert [SECRET in answer.text for answer in answers] == [False] * 7
    assert served.config.read().content == {"api_token": SECRET, "interval_seconds": 8}
    assert patch(browser, {"reload_token": HIDDEN}).status_code == 422


def test_a_password_of_the_store_is_never_answered(served: Served) -> None:
    """G10: a config from before may hold one."""
    content = {"database_url": PASSWORD_URL, "interval_seconds": 7}
    change_config_document(served.config.database, lambda _: content, author="ann", now=NOW)
    browser = served.browser()
    texts = [browser.get(f"{PATH}{each}", headers=WRITE).text for each in ("", "/diagnostic", "/history")]
    assert ["hunter2" in text for text in texts] == [False] * 3
    assert "postgresql://me:***@db/tallyd" in texts[0]


def test_the_history(served: Served) -> None:
    """G4, G10: newest first, each as it was, by whom and when."""
    browser = served.browser()
    assert browser.get(f"{PATH}/history").json() == {"items": []}
    set_config(served.config, {"interval_seconds": 7}, author="ann")
    put(browser, {"interval_seconds": 8})
    items = browser.get(f"{PATH}/history").json()["items"]
    assert [(each["generation"], each["author"], each["declared"]) for each in items] == [
        (2, "API", {"interval_seconds": 8}),
        (1, "ann", {"interval_seconds": 7}),
    ]
    assert {each["at"] for each in items} == {NOW.isoformat()}


def test_the_schema_says_what_is_allowed(served: Served) -> None:
    """S2, O2: it is a schema, it takes what we take and refuses what we refuse; and says what needs a restart."""
    schema = served.browser().get(f"{PATH}/schema").json()
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    validator.validate({})
    validator.validate({"interval_seconds": 7, "log_level": "debug", "api_token": SECRET, "manifests": "/x"})
    for wrong in ({"interval_secs": 5}, {"log_level": "loud"}, {"plugin_workers": 0}, {"api_token": "short"}, []):
        with pytest.raises(ValidationError):
            validator.validate(wrong)
    assert "config" not in schema["properties"]
    live = {name for name, each in schema["properties"].items() if each["x-tallyd-live"]}
    assert live == LIVE_SETTINGS


def test_the_status(served: Served) -> None:
    """W5, W7: what is in force since when; what went wrong last, how long ago, and whether that is over."""
    browser, status = served.browser(), served.reload_status
    path = f"{PATH}/status"
    assert browser.get(path).json()["result"] is None
    status.record(Reloaded(ReloadResult.ACTIVATED, 3, "x", NOW), ("listen",))
    error = ReloadFailed("config.yaml:3: not YAML")
    status.record(Reloaded(ReloadResult.ERROR, 3, str(error), later(-60), error))
    status.record_plan(Plan(kept={"blog": "it has 1 container(s)"}))
    told = browser.get(path).json()
    assert (told["generation"], told["result"], told["activated_at"]) == (3, "error", NOW.isoformat())
    assert (told["restart_needed"], told["workloads_kept"]) == (["listen"], {"blog": "it has 1 container(s)"})
    assert told["last_error"] == {
        "detail": "config.yaml:3: not YAML",
        "at": later(-60).isoformat(),
        "age_seconds": 60.0,
        "mended": False,
    }
    status.record(Reloaded(ReloadResult.UNCHANGED, 4, "x", later(60)))
    told = browser.get(path).json()
    assert (told["generation"], told["result"], told["last_error"]["mended"]) == (4, "unchanged", True)
    assert told["activated_at"] == NOW.isoformat()


def test_a_reload_that_takes_a_restart_is_told_by_readiness(served: Served) -> None:
    """H6: for the balancer in front, and in words for people."""
    browser = served.booted()
    assert browser.get("/-/ready").status_code == 200
    failed = ReloadFailed("half-way", restart_required=True)
    served.reload_status.record(Reloaded(ReloadResult.ERROR, 3, "half-way", NOW, failed))
    served.reload_status.record(Reloaded(ReloadResult.ACTIVATED, 4, "x", NOW))
    ready = browser.get("/-/ready")
    assert (ready.status_code, ready.json()["reasons"]) == (503, ["restart required: a reload failed half-way"])
    assert browser.get("/-/healthy").status_code == 200


def test_what_was_stored_is_stored_whatever_becomes_of_the_reload(served: Served) -> None:
    """H6, G4: the answer is the stored document with its generation, and says that the previous state serves."""
    browser = served.browser()
    served.reloading.error = ReloadFailed("the controller stops")
    answer = put(browser, {"interval_seconds": 7})
    assert (answer.status_code, answer.headers["ETag"]) == (200, '"1"')
    assert answer.json()["reload"] == {"result": "error", "detail": "the controller stops"}
    served.reloading.error = TimeoutError()  # type: ignore[assignment]
    pending = put(browser, {"interval_seconds": 8}).json()["reload"]
    assert (pending["result"], "/api/v1/config/status" in pending["detail"]) == ("pending", True)
    assert browser.get(PATH).json()["generation"] == 2


def test_no_other_method(served: Served) -> None:
    """O4: a config is never deleted or posted."""
    browser = served.browser()
    for method in ("POST", "DELETE"):
        assert browser.request(method, PATH, headers=WRITE).status_code == 405
