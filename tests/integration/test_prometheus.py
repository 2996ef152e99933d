"""Debian's Prometheus scrapes a running `tallyd` on a real engine: metrics, dashboard, rules."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.rollout.deployer import Deployment
from controller.rollout.gates import PrometheusQuery
from store.records import Workload, WorkloadKind
from tests.chart.components import start
from tests.chart.rendering import DASHBOARD, RULES
from tests.docs.markdown import names, table
from tests.harness import Engine, World, wait_until
from tests.integration.console import Console, Controller, Tallyd, settings_of

START_SECONDS = 60.0
SCRAPE_SECONDS = 30.0
# Exposed, and without a series in this scene.
NO_SERIES_YET = {
    "tallyd_revisions": "nothing is deployed",
    "tallyd_healings_total": "nothing is broken",
    "tallyd_trigger_dispatches_total": "no trigger fires",
    "tallyd_trigger_looks_total": "no trigger looks",
}
OF_THE_SCRAPE = {"__name__", "instance", "job", "le"}


class Prometheus:
    """One real server with one target and our rules."""

    def __init__(self, folder: Path, target: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        configuration = {
            "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"},
            "rule_files": [str(RULES)],
            "scrape_configs": [{"job_name": "tallyd", "static_configs": [{"targets": [target]}]}],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
        self.log = folder / "prometheus.log"
        self._process = start(
            [
                "prometheus",
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address={self.address}",
            ],
            self.log,
        )

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait(10)

    def api(self, path: str, **query: str) -> Any:
        """The data of one call to its API; AssertionError with its words where it refuses."""
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{path} {query}: {error.read().decode()}") from None

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples of an instant query."""
        result: list[dict[str, Any]] = self.api("query", query=expression)["result"]
        return result

    def value(self, expression: str) -> float | None:
        """The value of the one sample of a query, or nothing."""
        samples = self.query(expression)
        return float(samples[0]["value"][1]) if samples else None

    def target(self) -> dict[str, Any]:
        """The one target and its health."""
        (found,) = self.api("targets")["activeTargets"]
        return dict(found)

    def ready(self) -> bool:
        """Whether it answers and has scraped the target."""
        assert self._process.poll() is None, self.log.read_text()
        try:
            urllib.request.urlopen(f"http://{self.address}/-/ready", timeout=30).close()
        except OSError:
            return False
        return [each["health"] for each in self.api("targets")["activeTargets"]] == ["up"]


class Scene:
    """A controller that keeps a site, a stack and a project, and the Prometheus that scrapes it."""

    def __init__(self, world: World, tallyd: Tallyd, controller: Controller, prometheus: Prometheus) -> None:
        self.world = world
        self.tallyd = tallyd
        self.controller = controller
        self.prometheus = prometheus


@pytest.fixture(scope="module")
def scene(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Everything up, and two ticks scraped."""
    folder = tmp_path_factory.mktemp("prometheus")
    with contextlib.ExitStack() as stack:
        world = World(engine)
        stack.callback(world.close)
        stack.callback(world.remove_all)
        console = stack.enter_context(contextlib.closing(Console()))
        settings = {"TALLYD_INTERVAL_SECONDS": "0.5", "TALLYD_LABEL_PREFIX": world.prefix}
        environment = settings_of(engine.endpoint, f"sqlite:///{folder}/tallyd.db", folder, **settings)
        tallyd = Tallyd(console, folder, environment)
        _declare(tallyd, world)
        controller = stack.enter_context(tallyd.running()).wait_ready()
        server = Prometheus(folder, controller.address.removeprefix("http://"))
        stack.callback(server.close)
        wait_until(server.ready, START_SECONDS, "Prometheus has scraped tallyd")
        # A rate needs two samples, and the second tick.
        wait_until(
            lambda: server.value('increase(tallyd_ticks_total{outcome="complete"}[1m])') or 0.0,
            SCRAPE_SECONDS,
            "two ticks are scraped",
        )
        # So that there are events and a targeted pass.
        world.run(labels={f"{world.prefix}.workload.id": "blog", f"{world.prefix}.role": "cache"})
        targeted = 'sum(increase(tallyd_targeted_passes_total{outcome="complete"}[1m]))'
        wait_until(lambda: server.value(targeted) or 0.0, SCRAPE_SECONDS, "a targeted pass is scraped")
        yield Scene(world, tallyd, controller, server)


def _declare(tallyd: Tallyd, world: World) -> None:
    plugins = {"source": {"kind": "report", "config": {"containers": 1}}, "trigger": {"kind": "manual", "config": {}}}
    tallyd.apply(
        {"id": "docs", "kind": "site", "ref": "docs.example", **plugins},
        {"id": "blog", "kind": "stack", "ref": f"{world.prefix}-blog"},
    )
    world.run(labels={f"{world.prefix}.static-site": "docs.example"})
    for service in ("web", "db"):
        world.create(
            labels={"com.docker.compose.project": f"{world.prefix}-blog", "com.docker.compose.service": service}
        )
    world.create(labels={f"{world.prefix}.workload.id": "nobody"})


def documented() -> list[tuple[str, str, set[str]]]:
    """Name, type and labels of each metric of docs/metrics.md."""
    rows = table("docs/metrics.md", "Metrics")
    labels = [set(re.findall(r"`(\w+)`", row["Labels"])) for row in rows]
    return list(zip(names(rows, "Metric"), [row["Type"] for row in rows], labels, strict=True))


def queries() -> Iterator[tuple[str, str]]:
    """Panel and query, as Grafana would ask it."""
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", []):
            asked = target["expr"]
            for variable, value in {"$job": ".*", "$instance": ".*", "$__rate_interval": "1m"}.items():
                asked = asked.replace(variable, value)
            yield panel["title"], asked


def test_the_target_is_up(scene: Scene) -> None:
    """Issue 4.4, O4: Prometheus scrapes `tallyd run` on a real engine and finds nothing to complain of."""
    target = scene.prometheus.target()
    assert (target["health"], target["lastError"], target["scrapePool"]) == ("up", "", "tallyd")
    assert scene.prometheus.value('up{job="tallyd"}') == 1


@pytest.mark.parametrize(("name", "kind", "labels"), documented(), ids=[name for name, _, _ in documented()])
def test_every_metric_arrives_as_documented(scene: Scene, name: str, kind: str, labels: set[str]) -> None:
    """O5, issue 4.4: Prometheus has each documented metric with the documented type and exactly these labels."""
    family = name.removesuffix("_total").removesuffix("_info")
    told = scene.prometheus.api("targets/metadata", match_target='{job="tallyd"}')
    types = {each["type"] for each in told if each["metric"] in (name, family)}
    # OpenMetrics, which Prometheus asks for, has a type of its own for what is always 1.
    assert types <= {kind, "info"} if name.endswith("_info") else types == {kind}
    sample = f"{name}_count" if kind == "histogram" else name
    series = scene.prometheus.api("series", **{"match[]": sample})
    assert all(set(each) - OF_THE_SCRAPE == labels for each in series), series
    assert bool(series) == (name not in NO_SERIES_YET)


def test_no_metric_is_undocumented(scene: Scene) -> None:
    """O5: what is scraped is what docs/metrics.md lists, and no name or id of a container is in any label."""
    scraped = scene.prometheus.api("series", **{"match[]": '{__name__=~"tallyd_.*"}'})
    known = {name for name, _, _ in documented()}
    assert {re.sub(r"_(bucket|sum|count)$", "", each["__name__"]) for each in scraped} <= known
    containers = [each for each in scene.world.listing() if any(scene.world.prefix in name for name in each["Names"])]
    assert containers
    secret = [part for each in containers for part in (each["Id"], each["Id"][:12], each["Names"][0].lstrip("/"))]
    assert not [value for each in scraped for value in each.values() if value in secret]


@pytest.mark.parametrize(
    ("panel", "query"), list(queries()), ids=[f"{title}-{n}" for n, (title, _) in enumerate(queries())]
)
def test_every_query_of_the_dashboard_answers(scene: Scene, panel: str, query: str) -> None:
    """Issue 4.4: a Grafana dashboard whose every query is checked there, with data where there is any."""
    used = set(re.findall(r"\btallyd_\w+", query))
    assert used, panel
    samples = scene.prometheus.query(query)
    nothing_yet = {re.sub(r"_(bucket|sum|count)$", "", name) for name in used} & NO_SERIES_YET.keys()
    assert bool(samples) == (not nothing_yet), f"{panel}: {query}"
    assert not any(each["value"][1] == "NaN" for each in samples)


def test_the_rules_are_loaded_and_healthy(scene: Scene) -> None:
    """Issue 4.4: Prometheus evaluates every alert rule without an error, and in good health none is firing."""
    shipped = [rule["alert"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]

    def evaluated() -> list[dict[str, Any]]:
        rules: list[dict[str, Any]] = scene.prometheus.api("rules")["groups"][0]["rules"]
        return rules if all(rule["health"] != "unknown" for rule in rules) else []

    rules = wait_until(evaluated, SCRAPE_SECONDS, "every rule was evaluated")
    assert [rule["name"] for rule in rules] == shipped
    assert {rule["health"] for rule in rules} == {"ok"}, rules
    assert [rule["name"] for rule in rules if rule["state"] == "firing"] == []


def test_every_rule_and_panel_asks_for_metrics_that_exist(scene: Scene) -> None:
    """Issue 4.4: a rule over a metric that nobody exposes never fires."""
    told = scene.prometheus.api("targets/metadata", match_target='{job="tallyd"}')
    exposed = {f"{each['metric']}{suffix}" for each in told for suffix in ("", "_total", "_info", "_bucket")}
    text = RULES.read_text() + DASHBOARD.read_text()
    asked = set(re.findall(r"\btallyd_\w+(?=[{ )\[])", text))
    assert asked - exposed == set()


def test_no_series_outlives_a_workload(scene: Scene) -> None:
    """O5, issue 4.4: no stale series after a workload is removed, nor after what was ignored is gone."""
    scene.tallyd.apply({"id": "gone", "kind": "project"})
    container = scene.world.run(labels={f"{scene.world.prefix}.workload.id": "gone"})
    scene.tallyd.ok("workload", "adopt", "gone", container)
    running = 'tallyd_containers{workload_kind="project",state="running"}'
    missing = 'tallyd_containers{workload_kind="project",state="missing"}'

    def has(sample: str, value: float | None) -> None:
        wait_until(lambda: scene.prometheus.value(sample) == value, SCRAPE_SECONDS, f"{sample} is {value}")

    has(running, 1)
    scene.world.rm(container)
    has(missing, 1)
    has(running, None)
    scene.tallyd.ok("workload", "delete", "gone", "--force")
    has(missing, None)
    assert scene.prometheus.value('sum(tallyd_containers{workload_kind="stack"})') == 3


def test_a_gate_of_a_rollout_asks_prometheus(scene: Scene) -> None:
    """L2: a condition that holds, one that does not, and one that is no query, asked of the real server."""
    deployment = Deployment(Workload("docs", "docs", WorkloadKind.SITE, "docs.example"), {}, None, "h")
    server = f"http://{scene.prometheus.address}"
    verdicts = [
        PrometheusQuery(server, query)(deployment, "docs-1")
        for query in (
            'tallyd_ticks_total{outcome="complete"} > 0',
            "tallyd_ticks_total < 0",
            "vector(1) == bool 2",
            "up{",
        )
    ]
    assert [each.passed for each in verdicts] == [True, False, False, False]
    assert "parse error" in verdicts[-1].checks["prometheus"]
