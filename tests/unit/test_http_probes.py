"""`controller.http`: the probes, the metrics and the description of the API."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.fakes import FakeDocker, FakeWorld, Fault
from tests.harness import wait_until
from tests.unit.passes import OF_SITE
from tests.unit.served import TOKEN, Served

WRITE = {"Authorization": f"Bearer {TOKEN}"}
BODY = {"kind": "site", "ref": "new"}


def test_readiness(served: Served, docker: FakeDocker) -> None:
    """O4: red before the first complete listing, green after it, red again past three intervals of failing."""
    docker.answer_with("/containers/json", Fault.ERROR)
    served.loop.start()
    wait_until(lambda: served.status.last, what="the boot pass")
    browser = served.browser()
    red = browser.get("/-/ready")
    assert (red.status_code, red.json()["ready"], red.json()["last_listed_at"]) == (503, False, None)
    assert any("answered 500" in reason for reason in red.json()["reasons"])
    docker.answer_normally()
    served.loop.force(30)
    green = browser.get("/-/ready")
    assert (green.status_code, green.json()["reasons"]) == (200, [])
    assert green.json()["last_listed_at"] == served.times.now.isoformat()
    served.times.go_on(91.0)
    assert browser.get("/-/ready").status_code == 503


def test_liveness_is_the_loops_heartbeat_only(served: Served, docker: FakeDocker) -> None:
    """O4, pitfall 20: an engine or a store that is down is no reason to be restarted; a loop that hangs is."""
    docker.answer_with("/containers/json", Fault.ERROR)
    browser = served.booted()
    assert browser.get("/-/healthy").json()["healthy"] is True
    docker.answer_with("/containers/json", Fault.HANG)
    served.loop.request()
    wait_until(lambda: docker.held, what="a pass hangs")
    served.times.go_on(59.0)
    assert browser.get("/-/healthy").status_code == 200
    served.times.go_on(2.0)
    hung = browser.get("/-/healthy")
    assert (hung.status_code, hung.json()["healthy"], hung.json()["heartbeat_age_seconds"]) == (503, False, 61.0)
    docker.answer_normally()
    wait_until(lambda: browser.get("/-/healthy").status_code == 200, what="life again")


def test_metrics_are_what_prometheus_reads(served: Served, world: FakeWorld) -> None:
    """O5: in its text format, with the index's numbers."""
    world.run("site", OF_SITE)
    answer = served.booted().get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    samples = [(sample.labels, sample.value) for sample in families["tallyd_containers"].samples]
    assert samples == [({"workload_kind": "site", "state": "running"}, 1.0)]


def test_openapi_describes_the_api(served: Served) -> None:
    """O4: every route under /api/v1 with a summary."""
    paths = served.browser().get("/api/openapi.json").json()["paths"]
    assert {path for path in paths if path.startswith("/api/v1")} == {
        *("/api/v1/containers", "/api/v1/hosts", "/api/v1/workloads", "/api/v1/workloads/{workload_id}"),
        *("/api/v1/events", "/api/v1/holds", "/api/v1/plugins", "/api/v1/triggers"),
        *("/api/v1/plugins/{kind}/schema", "/api/v1/workloads/{workload_id}/trigger"),
        *("/api/v1/tick", "/api/v1/routers/traefik", "/api/v1/workloads/{workload_id}/deploys/{deploy_id}"),
        *(
            f"/api/v1/workloads/{{workload_id}}/{part}"
            for part in ("revisions", "split", "split/rollback", "deploys", "secrets", "secrets/{name}", "promote")
        ),
        "/api/v1/workloads/{workload_id}/rollback",
        "/api/v1/workloads/{workload_id}/revisions/{revision_id}",
        *("/api/v1/config", "/api/v1/config/diagnostic", "/api/v1/config/history"),
        *("/api/v1/config/schema", "/api/v1/config/status"),
    }
    assert all(operation["summary"] for path in paths.values() for operation in path.values())


@pytest.mark.parametrize("path", ["/", "/api", "/api/v1", "/api/v2/containers", "/-/nothing", "/metrics/x"])
def test_nothing_else_is_there(served: Served, path: str) -> None:
    """O4: unknown paths are 404."""
    assert served.browser().get(path).status_code == 404
