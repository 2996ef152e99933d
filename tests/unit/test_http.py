"""`controller.http`: the API, the probes and the metrics, and who may use them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import Response

from controller.http.api import ApiContext, build_api
from controller.http.auth import Access
from controller.loop.report import TickReport
from store.database import Database
from tests.builders import HOST
from tests.fakes import FakeDocker, FakeWorld, Fault
from tests.unit.passes import OF_SITE, OF_STACK
from tests.unit.served import CONTROL, REGISTRY, TOKEN, Browser, Served

WRITE = {"Authorization": f"Bearer {TOKEN}"}
BODY = {"kind": "site", "ref": "new"}


READS = ["/api/v1/containers", "/api/v1/hosts", "/api/v1/workloads", "/api/v1/workloads/www"]
WRITES: list[Callable[[Browser, dict[str, str]], Response]] = [
    lambda browser, headers: browser.put("/api/v1/workloads/new", json=BODY, headers=headers),
    lambda browser, headers: browser.delete("/api/v1/workloads/www", headers=headers),
]
PRESENTED = {
    "nothing": {},
    "empty": {"Authorization": ""},
    "no token": {"Authorization": "Bearer "},
    "basic": {"Authorization": f"Basic {TOKEN}"},
    "wrong": {"Authorization": "Bearer wrong"},
    "prefix": {"Authorization": f"Bearer {TOKEN[:-1]}"},
    "umlaut": {"Authorization": "Bearer \xfc".encode("latin-1")},
    "right": WRITE,
    "any case": {"Authorization": f"bEARER {TOKEN}"},
}
GUARDED = {
    # presented: (status without a configured token, status with one)
    "nothing": (401, 401),
    "empty": (401, 401),
    "no token": (401, 401),
    "basic": (401, 401),
    "wrong": (403, 401),
    "prefix": (403, 401),
    "umlaut": (403, 401),
    "right": (403, 200),
    "any case": (403, 200),
}


@pytest.mark.parametrize("presented", PRESENTED)
@pytest.mark.parametrize("configured", [False, True])
@pytest.mark.parametrize("on_loopback", [False, True])
def test_who_may_do_what(served: Served, presented: str, configured: bool, on_loopback: bool) -> None:
    """O4: writes need the token; off loopback so do reads; probes and metrics are open."""
    browser = served.browser(token=TOKEN if configured else None, on_loopback=on_loopback)
    headers: Any = PRESENTED[presented]
    guarded = GUARDED[presented][configured]
    for path in READS:
        assert browser.get(path, headers=headers).status_code == (200 if on_loopback else guarded)
    for write in WRITES:
        answer = write(browser, headers)
        assert answer.status_code in ((200, 201) if guarded == 200 else (guarded,))
        assert ("WWW-Authenticate" in answer.headers) == (answer.status_code == 401)
    for path in ("/-/healthy", "/-/ready", "/metrics"):
        assert browser.get(path, headers=headers).status_code in (200, 503)


@pytest.mark.parametrize("on_loopback", [False, True])
def test_who_may_ask_for_a_pass(served: Served, on_loopback: bool) -> None:
    """O4, R4, R22: whoever has the API token, or may read the store and so has the control token; nobody else."""
    served.booted()
    for token in (TOKEN, None):
        browser = served.browser(token=token, on_loopback=on_loopback)
        statuses = {
            presented: browser.post("/api/v1/tick", headers=headers).status_code
            for presented, headers in {
                "nothing": {},
                "wrong": {"Authorization": "Bearer wrong"},
                "control": {"Authorization": f"Bearer {CONTROL}"},
                "right": WRITE,
            }.items()
        }
        unconfigured = token is None
        assert statuses == {
            "nothing": 401,
            "wrong": 403 if unconfigured else 401,
            "control": 200,
            "right": 403 if unconfigured else 200,
        }


def test_the_control_token_is_for_passes_only(served: Served) -> None:
    """O4: it opens neither writes nor, off loopback, reads."""
    headers = {"Authorization": f"Bearer {CONTROL}"}
    browser = served.browser(on_loopback=False)
    assert browser.get("/api/v1/hosts", headers=headers).status_code == 401
    assert browser.put("/api/v1/workloads/new", json=BODY, headers=headers).status_code == 401


def test_an_empty_control_token_opens_nothing(served: Served) -> None:
    """O4: a bearer token that is empty is none."""
    access = Access(None, True, "")
    app = FastAPI()
    app.include_router(build_api(_api(served, access)))
    assert Browser(app).post("/api/v1/tick", headers={"Authorization": "Bearer  "}).status_code == 401


def _api(served: Served, access: Access, force: Callable[[float], TickReport] | None = None) -> ApiContext:
    return ApiContext(
        host=HOST,
        label_prefix="tallyd",
        database=served.passes.activation.database,
        registry=REGISTRY,
        access=access,
        now=lambda: served.times.now,
        force=force or served.loop.force,
    )


@pytest.mark.parametrize("body", [b"{", b"[1]", b"", b"\xff", b"x" * 1_000_000])
def test_the_caller_is_checked_before_the_body(served: Served, body: bytes) -> None:
    """O4, pitfall 18: a stranger learns nothing of what a valid request would be."""
    browser = served.browser()
    assert browser.put("/api/v1/workloads/new", content=body).status_code == 401
    assert browser.put("/api/v1/workloads/new", content=body, headers=WRITE).status_code == 422


def test_rows_of_the_index(served: Served, world: FakeWorld) -> None:
    """O4, O7, R21: with the age of the truth beside them."""
    world.run("site", OF_SITE)
    world.kill(world.run("web", OF_STACK))
    browser = served.booted()
    answer = browser.get("/api/v1/containers").json()
    assert [(row["id"], row["state"], row["stale"]) for row in answer["items"]] == [
        ("blog:web", "stopped", False),
        ("www:site", "running", False),
    ]
    assert [(host["id"], host["stale"], host["age_seconds"]) for host in answer["hosts"]] == [(HOST, False, 0.0)]
    served.times.go_on(91.0)
    answer = browser.get("/api/v1/containers").json()
    assert {row["stale"] for row in answer["items"]} == {True}
    assert (answer["hosts"][0]["stale"], answer["hosts"][0]["age_seconds"]) == (True, 91.0)


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ({"workload": "blog"}, ["blog:web"]),
        ({"state": "running"}, ["www:site"]),
        ({"host": HOST}, ["blog:web", "www:site"]),
        ({"host": "host-b"}, []),
        ({"workload": "blog", "state": "running"}, []),
        ({"workload": "a\0b"}, []),
        ({"workload": "' OR 1=1 --"}, []),
    ],
)
def test_rows_are_narrowed(served: Served, world: FakeWorld, query: dict[str, str], ids: list[str]) -> None:
    """O4: by host, workload and state."""
    world.run("site", OF_SITE)
    world.kill(world.run("web", OF_STACK))
    answer = served.booted().get("/api/v1/containers", params=query)
    assert (answer.status_code, [row["id"] for row in answer.json()["items"]]) == (200, ids)


def test_hosts_and_workloads(served: Served) -> None:
    """O4: lists of what the store knows."""
    browser = served.browser()
    assert [each["id"] for each in browser.get("/api/v1/hosts").json()["items"]] == [HOST]
    assert [each["id"] for each in browser.get("/api/v1/workloads").json()["items"]] == ["blog", "shop", "www"]
    assert browser.get("/api/v1/workloads/www").json()["ref"] == "site-1"
    lost = browser.get("/api/v1/workloads/nothing")
    assert (lost.status_code, "'nothing'" in lost.json()["detail"]) == (404, True)


def test_create_replace_delete_under_generations(served: Served) -> None:
    """O4: ETag is the generation; If-Match must be it."""
    browser = served.browser()
    path = "/api/v1/workloads/new"
    made = browser.put(path, json=BODY, headers=WRITE)
    assert (made.status_code, made.headers["ETag"], made.json()["result"]) == (201, '"1"', "created")
    same = browser.put(path, json=BODY, headers=WRITE | {"If-Match": '"1"'})
    assert (same.status_code, same.headers["ETag"], same.json()["result"]) == (200, '"1"', "unchanged")
    changed = browser.put(path, json=BODY | {"name": "New"}, headers=WRITE | {"If-Match": '"1"'})
    assert (changed.status_code, changed.headers["ETag"], changed.json()["result"]) == (200, '"2"', "updated")
    assert browser.get(path).headers["ETag"] == '"2"'
    gone = browser.delete(path, headers=WRITE | {"If-Match": '"2"'})
    assert (gone.status_code, gone.json()) == (200, {"id": "new", "rows_deleted": 0})
    assert browser.get(path).status_code == 404


def test_a_stale_if_match_is_412_with_both_numbers(served: Served) -> None:
    """O4: and nothing is changed; on PUT of what is not there the current one is 0."""
    browser = served.browser()
    path = "/api/v1/workloads/www"
    for request in (
        browser.put(path, json={"kind": "site", "name": "X"}, headers=WRITE | {"If-Match": '"7"'}),
        browser.delete(path, headers=WRITE | {"If-Match": '"7"'}),
    ):
        assert request.status_code == 412
        assert (request.json()["expected"], request.json()["current"]) == (7, 1)
        assert "7" in request.json()["detail"]
    assert browser.get(path).json()["name"] == "Www"
    lost = browser.put("/api/v1/workloads/new", json=BODY, headers=WRITE | {"If-Match": '"1"'})
    assert (lost.status_code, lost.json()["expected"], lost.json()["current"]) == (412, 1, 0)
    assert browser.put("/api/v1/workloads/new", json=BODY, headers=WRITE | {"If-Match": '"0"'}).status_code == 201


@pytest.mark.parametrize("match", ["7", '"x"', '"1', "", 'W/"1"', '"1", "2"', f'"{"9" * 5000}"'])
def test_an_if_match_that_is_none(served: Served, match: str) -> None:
    """O4: what is allowed is told."""
    answer = served.browser().put("/api/v1/workloads/www", json=BODY, headers=WRITE | {"If-Match": match})
    assert answer.status_code == 422
    assert "the generation" in answer.json()["detail"]


def test_if_match_of_anything(served: Served) -> None:
    """O4: `*`, and none at all, are unconditional."""
    browser = served.browser()
    body = {"kind": "site", "ref": "site-1"}
    for headers in (WRITE | {"If-Match": "*"}, WRITE):
        assert browser.put("/api/v1/workloads/www", json=body, headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("workload_id", "body", "status", "said"),
    [
        ("new", {}, 422, "kind: Field required"),
        ("new", {"kind": "sight"}, 422, "'project', 'site' or 'stack'"),
        ("new", {"kind": "site", "naem": "x"}, 422, "did you mean 'name'?"),
        ("new", {"kind": "site", "id": "other"}, 422, "the body says id 'other', the path says 'new'"),
        ("a:b", {"kind": "site"}, 422, "id"),
        ("new", {"kind": "site", "source": {"kind": "reprot"}}, 422, "did you mean 'report'?"),
        ("new", {"kind": "site", "ref": "site-1"}, 409, "belongs to workload 'www'"),
        ("www", {"kind": "stack"}, 409, "a kind never changes"),
        ("new", {"kind": "site", "parent": "nothing"}, 404, "'nothing' does not exist"),
    ],
)
def test_what_cannot_be_declared(
    served: Served, workload_id: str, body: dict[str, Any], status: int, said: str
) -> None:
    """O4: the same messages as the command line's."""
    answer = served.browser().put(f"/api/v1/workloads/{workload_id}", json=body, headers=WRITE)
    assert answer.status_code == status
    assert said in answer.json()["detail"]


def test_a_workload_in_use_is_deleted_by_force_only(served: Served, world: FakeWorld) -> None:
    """O4: as on the command line."""
    world.run("site", OF_SITE)
    browser = served.booted()
    refused = browser.delete("/api/v1/workloads/www", headers=WRITE)
    assert (refused.status_code, "1 container(s)" in refused.json()["detail"]) == (409, True)
    done = browser.delete("/api/v1/workloads/www", params={"force": "true"}, headers=WRITE)
    assert (done.status_code, done.json()["rows_deleted"]) == (200, 1)


def test_a_forced_pass(served: Served, world: FakeWorld) -> None:
    """R4, O7: returns its report, of a failed one too."""
    browser = served.booted()
    world.run("site", OF_SITE)
    report = browser.post("/api/v1/tick", headers=WRITE).json()
    assert (report["outcome"], report["inserted"]) == ("complete", 1)


def test_a_forced_pass_that_fails(served: Served, docker: FakeDocker) -> None:
    """R6: the caller is told the outcome and why."""
    browser = served.booted()
    with docker.answering("/containers/json", Fault.HTML):
        report = browser.post("/api/v1/tick", headers=WRITE).json()
    assert report["outcome"] == "listing_failed"
    assert "not JSON" in report["errors"][0]


def test_a_forced_pass_that_does_not_end(served: Served) -> None:
    """R4: the caller is freed, and told that the pass goes on."""

    def never(_seconds: float) -> TickReport:
        raise TimeoutError

    app = FastAPI()
    app.include_router(build_api(_api(served, Access(TOKEN, True), never)))
    answer = Browser(app).post("/api/v1/tick", headers=WRITE)
    assert (answer.status_code, "it goes on" in answer.json()["detail"]) == (504, True)


def test_a_stopped_loop_is_unavailable(served: Served) -> None:
    """R3: 503, so that whoever asked tries again elsewhere or later."""
    browser = served.booted()
    served.loop.stop()
    assert browser.post("/api/v1/tick", headers=WRITE).status_code == 503


def test_a_store_that_is_gone_is_unavailable(served: Served, database: Database) -> None:
    """O4: 503 with the reason, on every route that needs it; liveness does not."""
    browser = served.booted()
    assert database.path is not None
    for path in database.path.parent.glob("tallyd.db*"):
        path.unlink()
    database.path.write_text("this is no database any more" * 100)
    database.close()
    for path in READS:
        answer = browser.get(path)
        assert answer.status_code == 503
        assert "damaged" in answer.json()["detail"]
    assert browser.get("/-/healthy").status_code == 200
