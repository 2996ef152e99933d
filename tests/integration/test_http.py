"""The HTTP port of a running controller: probes, metrics, API, and who may use them."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from datetime import datetime
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.fakes import FakeDocker, Fault
from tests.harness import Engine, World, require, wait_until
from tests.harness.components import program_path
from tests.integration.console import Console, Controller, Tallyd, settings_of

TOKEN = "a-token-of-the-tests"
RIGHT = {"Authorization": f"Bearer {TOKEN}"}
METRICS = {
    "tallyd_ticks_total": "counter",
    "tallyd_tick_duration_seconds": "histogram",
    "tallyd_last_complete_listing_timestamp_seconds": "gauge",
    "tallyd_containers": "gauge",
    "tallyd_containers_ignored": "gauge",
    "tallyd_docker_requests_total": "counter",
    "tallyd_docker_request_duration_seconds": "histogram",
    "tallyd_event_stream_connected": "gauge",
    "tallyd_events_total": "counter",
    "tallyd_plugin_reconciles_total": "counter",
    "tallyd_config_generation": "gauge",
    "tallyd_config_reloads_total": "counter",
    "tallyd_revisions": "gauge",
    "tallyd_build_info": "gauge",
}
ROUTES = {
    ("/api/v1/containers", "get"),
    ("/api/v1/hosts", "get"),
    ("/api/v1/tick", "post"),
    ("/api/v1/workloads", "get"),
    ("/api/v1/workloads/{workload_id}", "get"),
    ("/api/v1/workloads/{workload_id}", "put"),
    ("/api/v1/workloads/{workload_id}", "delete"),
    ("/api/v1/workloads/{workload_id}/revisions", "get"),
    ("/api/v1/workloads/{workload_id}/revisions/{revision_id}", "get"),
    ("/api/v1/workloads/{workload_id}/split", "get"),
    ("/api/v1/workloads/{workload_id}/split", "put"),
    ("/api/v1/workloads/{workload_id}/split/rollback", "post"),
    ("/api/v1/workloads/{workload_id}/promote", "post"),
    ("/api/v1/workloads/{workload_id}/rollback", "post"),
    ("/api/v1/workloads/{workload_id}/trigger", "post"),
    ("/api/v1/workloads/{workload_id}/secrets", "get"),
    *(("/api/v1/workloads/{workload_id}/secrets/{name}", method) for method in ("put", "delete")),
    *(("/api/v1/workloads/{workload_id}/deploys", method) for method in ("get", "post")),
    ("/api/v1/workloads/{workload_id}/deploys/{deploy_id}", "get"),
    *(("/api/v1/holds", method) for method in ("get", "post", "delete")),
    *((f"/api/v1/{part}", "get") for part in ("events", "plugins", "plugins/{kind}/schema", "triggers")),
    ("/api/v1/routers/traefik", "get"),
    *(("/api/v1/config", method) for method in ("get", "put", "patch")),
    *((f"/api/v1/config/{part}", "get") for part in ("diagnostic", "history", "schema", "status")),
    ("/-/healthy", "get"),
    ("/-/ready", "get"),
    ("/metrics", "get"),
}


@pytest.fixture(scope="module")
def console() -> Iterator[Console]:
    """The console script."""
    with contextlib.closing(Console()) as started:
        yield started


@pytest.fixture(scope="module")
def shared_world(engine: Engine) -> Iterator[World]:
    """Containers of this module."""
    with contextlib.closing(World(engine)) as made:
        yield made
        made.remove_all()


@pytest.fixture(scope="module")
def tallyd(console: Console, engine: Engine, shared_world: World, tmp_path_factory: pytest.TempPathFactory) -> Tallyd:
    """The settings of this module's controller; it ticks when it is told to."""
    folder = tmp_path_factory.mktemp("http")
    more = {
        "TALLYD_LABEL_PREFIX": shared_world.prefix,
        "TALLYD_API_TOKEN": TOKEN,
        "TALLYD_INTERVAL_SECONDS": "300",
    }
    return Tallyd(console, folder, settings_of(engine.endpoint, f"sqlite:///{folder}/tallyd.db", folder, **more))


@pytest.fixture(scope="module")
def controller(tallyd: Tallyd, shared_world: World) -> Iterator[Controller]:
    """A controller with one site, one stack of two containers, and one container that nobody declared."""
    reported = {"source": {"kind": "report"}, "trigger": {"kind": "manual"}}
    tallyd.apply({"id": "web", "kind": "site"}, {"id": "app", "kind": "stack", **reported})
    label = f"{shared_world.prefix}.workload.id"
    shared_world.run("named-" + shared_world.prefix, {label: "web"})
    for role in ("a", "b"):
        shared_world.create(labels={label: "app", f"{shared_world.prefix}.role": role})
    shared_world.create(labels={label: "nobody"})
    with tallyd.running() as started:
        yield started.wait_ready()


def tick(controller: Controller) -> dict[str, object]:
    """Force one pass."""
    answer = controller.request("POST", "/api/v1/tick", headers=RIGHT)
    assert answer.status == 200, answer
    report: dict[str, object] = answer.json
    assert report["outcome"] == "complete"
    return report


def metrics_of(controller: Controller) -> str:
    """The text of `/metrics`."""
    return controller.get("/metrics").body.decode()


def series(text: str) -> set[str]:
    """Every series of a metrics page, without values."""
    return {line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")}


def test_the_probes(controller: Controller) -> None:
    """O4, R21: both are green, and say how they know."""
    alive = controller.get("/-/healthy")
    assert (alive.status, alive.json["healthy"]) == (200, True)
    assert 0 <= alive.json["heartbeat_age_seconds"] < 300
    ready = controller.get("/-/ready")
    assert (ready.status, ready.json["ready"], ready.json["reasons"]) == (200, True, [])
    assert datetime.fromisoformat(ready.json["last_listed_at"]).tzinfo is not None
    assert controller.get("/nothing").status == 404
    assert controller.request("POST", "/-/ready").status == 405


def test_the_index_over_http(controller: Controller, tallyd: Tallyd, shared_world: World) -> None:
    """O4, O7, R21: the same rows as `ps`, narrowed by query, with the age of their truth."""
    tick(controller)
    answer = controller.get("/api/v1/containers").json
    by_id = {row["id"]: row for row in answer["items"]}
    assert by_id.keys() == {"web:site", "app:a", "app:b"}
    assert sorted(answer["items"], key=lambda row: row["id"]) == sorted(tallyd.ps(), key=lambda row: row["id"])
    (host,) = answer["hosts"]
    assert (host["id"], host["stale"], host["address"]) == ("testhost", False, controller.address)
    assert host["age_seconds"] >= 0
    assert controller.get("/api/v1/hosts").json["items"][0]["engine_id"] == host["engine_id"]
    assert controller.rows(workload="app").keys() == {"app:a", "app:b"}
    assert controller.rows(state="running").keys() == {"web:site"}
    assert controller.rows(host="another") == {}
    assert {each["id"] for each in controller.get("/api/v1/workloads").json["items"]} == {"web", "app"}
    assert controller.get("/api/v1/workloads/nobody").status == 404
    assert by_id["web:site"]["name"] == f"named-{shared_world.prefix}"


def test_a_forced_pass_answers_with_its_report(controller: Controller, shared_world: World) -> None:
    """R4, O4: `POST /api/v1/tick` runs one whole pass that began after the request."""
    report = tick(controller)
    assert (report["inserted"], report["missing"], report["matched"]) == (0, 0, 3)
    assert report["plugins"] == {"drift": 1}
    container = shared_world.create(
        labels={f"{shared_world.prefix}.workload.id": "app", f"{shared_world.prefix}.role": "c"}
    )
    assert tick(controller)["listed"] == report["listed"] + 1  # type: ignore[operator]
    assert controller.rows()["app:c"]["container_id"] == container
    shared_world.rm(container)
    assert tick(controller)["listed"] == report["listed"]
    assert controller.rows()["app:c"]["state"] == "missing"


def test_promtool_accepts_the_metrics(controller: Controller) -> None:
    """O5: `promtool check metrics` has nothing to say about the live page; each metric has its type and help."""
    require("promtool")
    tick(controller)
    text = metrics_of(controller)
    checked = subprocess.run(
        [program_path("promtool"), "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    helps = dict(re.findall(r"^# HELP (\S+) (.+)$", text, re.MULTILINE))
    assert {name: types.get(name) for name in METRICS} == METRICS
    assert types.keys() == helps.keys()
    assert all(name.startswith("tallyd_") for name in types)
    assert controller.metric('tallyd_containers{state="running",workload_kind="site"}') == 1
    assert controller.metric('tallyd_containers{state="created",workload_kind="stack"}') == 2
    assert controller.metric('tallyd_containers_ignored{reason="unknown_workload"}') == 1
    assert controller.metric('tallyd_plugin_reconciles_total{kind="report",result="drift"}') >= 1
    assert controller.metric('tallyd_docker_requests_total{operation="list",result="ok"}') >= 1
    assert controller.metric('tallyd_tick_duration_seconds_count{phase="write"}') >= 1
    open_metrics = controller.request("GET", "/metrics", headers={"Accept": "application/openmetrics-text"})
    assert open_metrics.headers["content-type"].startswith("application/openmetrics-text")
    assert open_metrics.body.endswith(b"# EOF\n")


def test_no_series_outlives_its_cause_and_none_names_a_container(
    controller: Controller, tallyd: Tallyd, shared_world: World
) -> None:
    """O5: what a workload brought goes with it; ids and names of containers are no labels."""
    tick(controller)
    before = series(metrics_of(controller))
    tallyd.apply({"id": "gone", "kind": "project"})
    label = f"{shared_world.prefix}.workload.id"
    made = shared_world.run(f"gone-{shared_world.prefix}", {label: "gone"})
    shared_world.create(labels={label: "gone", f"{shared_world.prefix}.workload.kind": "site"})
    assert tick(controller)["ignored"]["no_project_row"] == 1  # type: ignore[index]
    tallyd.ok("workload", "adopt", "gone", made[:12])
    tick(controller)
    brought = series(metrics_of(controller)) - before
    assert 'tallyd_containers{state="running",workload_kind="project"}' in brought
    assert 'tallyd_containers_ignored{reason="kind_mismatch"}' in brought
    text = metrics_of(controller)
    for container in shared_world.listing():
        assert container["Id"][:12] not in text
        assert container["Names"][0].removeprefix("/") not in text
    tallyd.ok("workload", "delete", "gone", "--force")
    tick(controller)
    left = {each for each in series(metrics_of(controller)) - before if each.startswith("tallyd_containers")}
    assert left == set()


def test_workloads_under_their_generation(controller: Controller, shared_world: World) -> None:
    """O4: ETag and If-Match; 412 with both numbers and nothing written; 404, 409 and 422 where they belong."""
    path = "/api/v1/workloads/shop"

    def put(body: object, if_match: str | None = None) -> tuple[int, str | None, dict[str, object]]:
        headers = RIGHT | ({"If-Match": if_match} if if_match is not None else {})
        answer = controller.request("PUT", path, body, headers)
        return answer.status, answer.headers.get("etag"), answer.json

    status, etag, made = put({"kind": "project"}, '"0"')
    assert (status, etag, made["result"], made["generation"]) == (201, '"1"', "created", 1)
    assert put({"kind": "project"}, '"0"')[0] == 412
    assert put({"kind": "project"})[:2] == (200, '"1"')
    assert put({"kind": "project", "name": "Shop"}, '"1"')[:2] == (200, '"2"')
    status, _, conflict = put({"kind": "project", "name": "Other"}, '"1"')
    assert (status, conflict["expected"], conflict["current"]) == (412, 1, 2)
    got = controller.get(path)
    assert (got.headers["etag"], got.json["name"], got.json["generation"]) == ('"2"', "Shop", 2)
    assert put({"kind": "project", "name": "Any"}, "*")[:2] == (200, '"3"')

    assert put({"kind": "site"})[0] == 409
    for body, told in (
        ({"kind": "sight"}, "'project', 'site' or 'stack'"),
        ({"kind": "project", "soruce": {}}, "did you mean 'source'?"),
        ({"kind": "project", "source": {"kind": "reprot"}}, "did you mean 'report'?"),
        ({"kind": "project", "id": "other"}, "'other'"),
    ):
        status, _, refused = put(body)
        assert (status, told in str(refused["detail"])) == (422, True), refused
    assert put({"kind": "project"}, "3")[0] == 422
    assert put([])[0] == 422
    assert controller.request("PUT", path, b"{", RIGHT).status == 422
    assert controller.get(path).json["generation"] == 3

    delete = controller.request("DELETE", path, headers=RIGHT | {"If-Match": '"2"'})
    assert (delete.status, delete.json["expected"], delete.json["current"]) == (412, 2, 3)
    assert controller.request("DELETE", path, headers=RIGHT | {"If-Match": '"3"'}).status == 200
    assert controller.request("DELETE", path, headers=RIGHT).status == 404
    assert controller.request("DELETE", "/api/v1/workloads/web", headers=RIGHT).status == 409
    assert controller.get("/api/v1/workloads/web").status == 200


def test_openapi_lists_the_routes(controller: Controller) -> None:
    """O4: every route with a summary, and the page that shows them."""
    document = controller.get("/api/openapi.json").json
    operations = {
        (path, method): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert operations.keys() == ROUTES
    assert all(operation["summary"] for operation in operations.values())
    assert controller.get("/api/docs").status == 200


WRITES: tuple[tuple[str, str, object], ...] = (
    ("POST", "/api/v1/tick", None),
    ("PUT", "/api/v1/workloads/new", {"kind": "site"}),
    ("PUT", "/api/v1/workloads/new", b"{"),
    ("DELETE", "/api/v1/workloads/new", None),
)
READS = ("/api/v1/containers", "/api/v1/hosts", "/api/v1/workloads", "/api/v1/workloads/web")
WRONG: tuple[tuple[Mapping[str, str], int], ...] = (
    ({}, 401),
    ({"Authorization": "Bearer "}, 401),
    ({"Authorization": f"Basic {TOKEN}"}, 401),
    ({"Authorization": "Bearer not-the-token-of-the-tests"}, 401),
    ({"Authorization": f"Bearer {TOKEN}x"}, 401),
    ({"Authorization": "Bearer \xe9"}, 401),
)


def test_writes_need_the_token_and_on_loopback_reads_do_not(controller: Controller) -> None:
    """O4: before the body is looked at; nothing is done without the right token."""
    before = controller.get("/api/v1/workloads").json
    for method, path, body in WRITES:
        for headers, status in WRONG:
            answer = controller.request(method, path, body, headers)
            assert answer.status == status, (method, path, headers)
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert TOKEN not in answer.body.decode()
    assert controller.get("/api/v1/workloads").json == before
    for path in READS:
        assert controller.get(path).status == 200
    lower_case = controller.request("POST", "/api/v1/tick", headers={"Authorization": f"bearer {TOKEN}"})
    assert lower_case.status == 200


def test_without_a_token_nobody_writes(tallyd: Tallyd, tmp_path: Path) -> None:
    """O4: on loopback reads are open and writes are closed, with the reason, while no token is set."""
    alone = tallyd.with_settings(TALLYD_API_TOKEN=None, TALLYD_HOST="alone")
    with alone.running() as controller:
        wait_until(controller.serving, 30, "the HTTP port answers")
        for method, path, body in WRITES:
            assert controller.request(method, path, body).status == 401
            refused = controller.request(method, path, body, RIGHT)
            assert (refused.status, "TALLYD_API_TOKEN" in refused.json["detail"]) == (403, True)
        assert [controller.get(path).status for path in READS] == [200] * len(READS)


@pytest.mark.parametrize("token", [TOKEN, None])
def test_off_loopback_reads_need_the_token_as_well(tallyd: Tallyd, token: str | None) -> None:
    """O4: on every address the API is closed without the token; probes and metrics stay open."""
    public = tallyd.with_settings(TALLYD_API_TOKEN=token, TALLYD_HOST="public", TALLYD_LISTEN="0.0.0.0:0")
    with public.running() as controller:
        wait_until(controller.serving, 30, "the HTTP port answers")
        for path in READS:
            for headers, status in WRONG:
                expected = status if token or len(headers.get("Authorization", "")) < 8 else (401, 403)
                given = controller.request("GET", path, headers=headers).status
                assert given == expected or (isinstance(expected, tuple) and given in expected)
            assert controller.request("GET", path, headers=RIGHT).status == (200 if token else 403)
        assert controller.request("POST", "/api/v1/tick").status == 401
        assert controller.get("/metrics").status == 200
        controller.wait_ready()


def test_forced_passes_that_wait_share_one(console: Console, sqlite_url: str, tmp_path: Path) -> None:
    """R4, R3: eight requests during a pass are answered by one more pass; at a stop they are refused."""
    with FakeDocker() as fake, contextlib.ExitStack() as stack:
        settings = settings_of(fake.endpoint, sqlite_url, tmp_path, TALLYD_API_TOKEN=TOKEN)
        tallyd = Tallyd(console, tmp_path, settings | {"TALLYD_INTERVAL_SECONDS": "300"})
        with tallyd.running() as controller:
            controller.wait_ready()

            def force() -> HTTPConnection:
                asked = HTTPConnection(controller.address.removeprefix("http://"), timeout=30)
                stack.callback(asked.close)
                asked.request("POST", "/api/v1/tick", headers=RIGHT)
                return asked

            def force_during_a_pass(count: int) -> list[HTTPConnection]:
                fake.answer_with("/containers/json", Fault.HANG)
                first = force()
                wait_until(lambda: fake.held == 1, 10, "a pass hangs")
                others = [force() for _ in range(count)]
                for _ in range(20):  # each is answered after those that came before it were taken up
                    assert controller.healthy
                return [first, *others]

            listed = fake.requests["/containers/json"]
            waiting = force_during_a_pass(8)
            fake.answer_normally()
            reports = [json.loads(asked.getresponse().read()) for asked in waiting]
            assert {report["outcome"] for report in reports} == {"complete"}
            assert len({report["began_at"] for report in reports}) == 2
            assert fake.requests["/containers/json"] == listed + 2

            waiting = force_during_a_pass(1)
            assert controller.terminate()[0] == 0
            cancelled, refused = (asked.getresponse() for asked in waiting)
            assert (cancelled.status, json.loads(cancelled.read())["outcome"]) == (200, "cancelled")
            assert (refused.status, "stops" in refused.read().decode()) == (503, True)
