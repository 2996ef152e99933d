"""`controller.views`: the shapes that people and scripts read."""

from __future__ import annotations

import json

import pytest

from controller.views import container_views, host_view, workload_view
from store.records import ContainerRow, Host
from tests.builders import HOST, NOW, later, workload

ROW = ContainerRow(
    id="blog:web",
    host=HOST,
    workload_id="blog",
    workload_kind="stack",
    role="web",
    container_id="c" * 64,
    name="web",
    image_ref="busybox:local",
    image_id="sha256:1",
    state="running",
    health="healthy",
    port=80,
    ports='[{"private":80,"type":"tcp","ip":"","public":0}]',
    revision="r1",
    last_seen_at=NOW,
    subdomain="blog",
    proxy_route_id="p",
    npm_proxy_id="n",
    image_tag="local",
    stage_id="s",
    extra_json='{"a": 1}',
)
LISTED = Host(HOST, engine_id="E", endpoint="unix:///x", address="http://x", interval_seconds=30, last_listed_at=NOW)


def test_a_row_has_the_keys_that_scripts_rely_on() -> None:
    """O7: at least these; all of it is JSON."""
    view = json.loads(json.dumps(container_views([ROW], [LISTED], later(10))))[0]
    required = {
        *("id", "host", "workload_id", "workload_kind", "role", "container_id", "name", "image_ref", "state"),
        *("health", "port", "last_seen_at", "stale"),
    }
    assert required <= set(view)
    assert {name: view[name] for name in required} == {
        "id": "blog:web",
        "host": HOST,
        "workload_id": "blog",
        "workload_kind": "stack",
        "role": "web",
        "container_id": "c" * 64,
        "name": "web",
        "image_ref": "busybox:local",
        "state": "running",
        "health": "healthy",
        "port": 80,
        "last_seen_at": "2026-01-02T03:04:05+00:00",
        "stale": False,
    }
    assert view["ports"] == [{"private": 80, "type": "tcp", "ip": "", "public": 0}]


@pytest.mark.parametrize(("age", "stale"), [(0, False), (90, False), (91, True), (-91, True)])
def test_truth_has_an_age(age: float, stale: bool) -> None:
    """R21: past three intervals every row of the host is stale, whatever its state says."""
    assert container_views([ROW], [LISTED], later(age))[0]["stale"] is stale
    assert host_view(LISTED, later(age))["stale"] is stale


def test_rows_of_a_host_that_nobody_listed_are_stale() -> None:
    """R21: nothing is known of them."""
    assert container_views([ROW], [Host(HOST)], NOW)[0]["stale"]
    assert container_views([ROW], [], NOW)[0]["stale"]
    assert container_views([ROW], [], NOW)[0]["listed_at"] is None


def test_a_host() -> None:
    """R18, R21: engine, address, and the age of the truth in seconds."""
    assert host_view(LISTED, later(12.3456)) == {
        "id": HOST,
        "engine_id": "E",
        "endpoint": "unix:///x",
        "address": "http://x",
        "interval_seconds": 30,
        "last_listed_at": "2026-01-02T03:04:05+00:00",
        "age_seconds": 12.346,
        "stale": False,
    }
    never = host_view(Host(HOST), NOW)
    assert (never["last_listed_at"], never["age_seconds"], never["stale"]) == (None, None, True)


def test_a_workload_has_the_shape_of_its_manifest() -> None:
    """O7: with its generation; a plugin that was not declared is null."""
    view = workload_view(
        workload(
            "blog",
            "stack",
            source_kind="report",
            source_config={"containers": 2},
            public_faces=[{"host": "x"}],
            generation=3,
            updated_at=NOW,
        )
    )
    assert json.loads(json.dumps(view)) == {
        "id": "blog",
        "name": "Blog",
        "kind": "stack",
        "ref": "tallyd-blog",
        "source": {"kind": "report", "config": {"containers": 2}},
        "trigger": None,
        "public_faces": [{"host": "x"}],
        "parent": None,
        "host": None,
        "generation": 3,
        "updated_at": "2026-01-02T03:04:05+00:00",
    }
