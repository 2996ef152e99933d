"""What the chart renders over every case, held against Kubernetes's schemas and against our own rules."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml

from controller import __version__
from controller.settings_sources import load_settings
from tests.chart import generate
from tests.chart.rendering import (
    CASES,
    CHART,
    DASHBOARD,
    GOLDEN,
    HERE,
    RULES,
    Document,
    controller,
    documents,
    helm,
    mode_of,
    of_kind,
    pod_spec,
    rendered,
    template,
    values_of,
    workload,
)

OLDEST = "1.25.0"
VERSIONS = [OLDEST, "1.29.0", "1.31.0", "1.34.0", "1.37.0"]
MONITORING = ("ServiceMonitor", "PodMonitor", "PrometheusRule")


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> str:
    """Every case, one after the other."""
    return str(request.param)


@pytest.fixture
def resources(case: str) -> list[Document]:
    """What the chart makes of the case."""
    return documents(rendered(case))


def monitoring_schema(kind: str) -> Document:
    schema: Document = json.loads((HERE / f"schemas/{kind.lower()}.json").read_text())
    return schema


def pods(resources: list[Document]) -> list[Document]:
    """The specifications of all pods: the controller's and that of the test hook."""
    return [pod_spec(resources), *(each["spec"] for each in of_kind(resources, "Pod"))]


def test_helm_lint_finds_nothing(case: str) -> None:
    """Issue 4.3: `helm lint --strict` over every case."""
    done = helm("lint", "--strict", str(CHART), "--values", str(values_of(case)))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout


@pytest.mark.parametrize("path", generate.FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_what_is_generated_is_current(path: Path) -> None:
    """Issue 4.3: golden renders, the chart's README made from its values, and its schema made from the settings."""
    assert path.read_text(encoding="utf-8") == generate.content_of(path), "run: python -m tests.chart.generate"


def test_no_golden_render_is_left_over() -> None:
    """Issue 4.3: each golden render is that of a case."""
    assert sorted(path.stem for path in GOLDEN.glob("*.yaml")) == CASES


def test_every_value_is_described() -> None:
    """Issue 4.3: the README made from values leaves none out."""
    assert generate.undescribed_values() == []


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_accepts_every_resource(case: str, version: str) -> None:
    """Issue 4.3: `kubernetes-validate --strict` for several versions of Kubernetes; no unknown field anywhere."""
    if mode_of(case) == "sidecar" and version == OLDEST:
        done = template("--kube-version", version, "--values", str(values_of(case)))
        assert done.returncode != 0
        assert "mode sidecar needs native sidecars, which Kubernetes has from 1.29 on" in done.stderr
        return
    for resource in documents(rendered(case)):
        if resource["kind"] not in MONITORING:
            kubernetes_validate.validate(resource, version, strict=True)


def test_the_operator_accepts_the_monitoring_resources() -> None:
    """Issue 4.3: ServiceMonitor, PodMonitor and PrometheusRule against the schemas kept with the tests."""
    seen = set()
    for case in CASES:
        for resource in of_kind(documents(rendered(case)), *MONITORING):
            jsonschema.validate(resource, monitoring_schema(resource["kind"]))
            seen.add(resource["kind"])
    assert seen == set(MONITORING)


def test_a_wrong_monitoring_resource_would_be_found() -> None:
    """Issue 4.3: those schemas do refuse: a misspelt field, a missing port and an alert without a severity."""
    monitor, rule = (
        of_kind(documents(rendered(case)), kind)[0]
        for case, kind in (("daemonset", "PodMonitor"), ("everything", "PrometheusRule"))
    )
    endpoint = monitor["spec"]["podMetricsEndpoints"][0]
    endpoint["intervall"] = endpoint.pop("interval")
    del rule["spec"]["groups"][0]["rules"][0]["labels"]["severity"]
    for broken in (monitor, rule):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, monitoring_schema(broken["kind"]))


def test_monitoring_is_off_by_default() -> None:
    """Issue 4.3: monitoring resources and dashboard are off until asked for."""
    resources = documents(rendered("sidecar"))
    assert of_kind(resources, *MONITORING) == []
    assert [each["metadata"]["name"] for each in of_kind(resources, "ConfigMap")] == ["docker-tallyd"]


def test_rules_and_dashboard_are_the_files() -> None:
    """Issue 4.3, 4.4: the PrometheusRule and the dashboard are those that are tested against a real Prometheus."""
    done = template("--set", "metrics.prometheusRule.enabled=true,metrics.dashboard.enabled=true")
    resources = documents(done.stdout)
    (rule,) = of_kind(resources, "PrometheusRule")
    (dashboard,) = [each for each in of_kind(resources, "ConfigMap") if "tallyd.json" in each["data"]]
    assert rule["spec"] == yaml.safe_load(RULES.read_text())
    assert json.loads(dashboard["data"]["tallyd.json"]) == json.loads(DASHBOARD.read_text())
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"


@pytest.mark.parametrize(
    ("interval", "stale_after"), [("30", 90), ("12.5", 39), ("0", 90), ("-4", 90), ("300", 900), ("4000", 900)]
)
def test_the_stale_alert_follows_the_interval(interval: str, stale_after: int) -> None:
    """R1, R21: stale is three intervals, also in the chart's alert; the interval is clamped as elsewhere."""
    rule_on = ("--set", "metrics.prometheusRule.enabled=true")
    done = template(*rule_on, "--set-json", f"config.interval_seconds={interval}")
    (rule,) = of_kind(documents(done.stdout), "PrometheusRule")
    (stale,) = [each for each in rule["spec"]["groups"][0]["rules"] if each["alert"] == "TallydListingStale"]
    assert stale["expr"].endswith(f"> {stale_after}")


def test_pods_get_no_token_and_no_service_variables(resources: list[Document]) -> None:
    """Issue 4.3: no service-account token, and no variables of services that could be taken for settings."""
    for spec in pods(resources):
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}
    for account in of_kind(resources, "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False


def test_containers_are_hardened(case: str, resources: list[Document]) -> None:
    """Issue 4.3: hardened security context; what is more is named here: the engine, and one chown."""
    extra = {"runner"}  # the case's own container
    for spec in pods(resources):
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            context = container.get("securityContext", {})
            if container["name"] == "engine":
                assert mode_of(case) == "sidecar"
                assert context == {"privileged": True}
            elif container["name"] not in extra:
                _assert_hardened(container["name"], context)


def _assert_hardened(name: str, context: Document) -> None:
    assert context["readOnlyRootFilesystem"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert context["privileged"] is False
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert context["capabilities"]["drop"] == ["ALL"]
    if name == "prepare-state":
        assert context["capabilities"]["add"] == ["CHOWN"]
        return
    assert "add" not in context["capabilities"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] > 0
    assert context["runAsGroup"] > 0


def test_the_kubelet_never_changes_owners_of_image_layers(case: str, resources: list[Document]) -> None:
    """Issue 4.3(a): fsGroup would be applied to the engine's data as well, and break its images."""
    spec = pod_spec(resources)
    assert ("fsGroup" in spec.get("securityContext", {})) == (mode_of(case) != "sidecar")


def test_the_engine_is_up_before_the_controller(case: str, resources: list[Document]) -> None:
    """Issue 4.3(a): Docker-in-Docker is a native sidecar with a start-up probe, and shares a socket directory."""
    engines = [each for each in pod_spec(resources).get("initContainers", []) if each["name"] == "engine"]
    assert len(engines) == (mode_of(case) == "sidecar")
    for engine in engines:
        assert engine["restartPolicy"] == "Always"
        assert engine["startupProbe"]["exec"]["command"][0] == "docker"
        assert {each["mountPath"] for each in engine["volumeMounts"]} == {"/run/engine", "/var/lib/docker"}


def test_directories_are_mounted_and_never_files(resources: list[Document]) -> None:
    """Issue 4.3, W3: the socket's directory, so that a restarted engine is found; and the config's folder without
    subPath, so that the `..data` swap arrives."""
    spec = pod_spec(resources)
    assert not any("subPath" in mount or "subPathExpr" in mount for mount in controller(spec)["volumeMounts"])
    for volume in spec["volumes"]:
        if "hostPath" in volume:
            assert volume["hostPath"]["type"] in ("Directory", "DirectoryOrCreate")
    (config,) = [mount for mount in controller(spec)["volumeMounts"] if mount["name"] == "config"]
    assert (config["mountPath"], config["readOnly"]) == ("/etc/tallyd", True)


def test_only_the_state_can_be_written(resources: list[Document]) -> None:
    """Issue 4.3: everything that the controller mounts is read-only but the state (and what the user added)."""
    writable = {
        mount["name"] for mount in controller(pod_spec(resources))["volumeMounts"] if not mount.get("readOnly")
    }
    assert writable <= {"state", "extra"}


def test_probes_are_on_our_endpoints(resources: list[Document]) -> None:
    """Issue 4.3, O4: start-up and liveness look at the loop's heartbeat, readiness at the index."""
    container = controller(pod_spec(resources))
    paths = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert paths == {
        "startup": {"path": "/-/healthy", "port": "http"},
        "liveness": {"path": "/-/healthy", "port": "http"},
        "readiness": {"path": "/-/ready", "port": "http"},
    }


def test_secrets_come_by_reference(case: str, resources: list[Document]) -> None:
    """Issue 4.3: no secret in a ConfigMap, a variable or a Secret of ours; each is a file that a variable names."""
    assert of_kind(resources, "Secret") == []
    for variable in controller(pod_spec(resources))["env"]:
        name = variable["name"]
        if name.endswith("TOKEN") or (name == "TALLYD_DATABASE_URL" and "postgresql" in variable["value"]):
            pytest.fail(f"{case}: {name} is in the environment")
        if name.endswith("_FILE"):
            assert variable["value"].startswith(("/run/tallyd-secrets/", "/run/tallyd-keys/"))


def test_the_controller_accepts_its_settings(case: str, resources: list[Document], tmp_path: Path) -> None:
    """O2, issue 4.3: what the chart puts into environment and config is valid, and every key of it is read."""
    environment = {}
    for variable in controller(pod_spec(resources))["env"]:
        name, value = variable["name"], variable.get("value", "node-1")
        if name.endswith("_FILE"):
            secret = tmp_path / name
            secret.write_text("postgresql://u:p@server/db" if "DATABASE" in name else "s" * 40)
            value = str(secret)
        environment[name] = value
    config = tmp_path / "tallyd.yaml"
    (shipped,) = [each for each in of_kind(resources, "ConfigMap") if "tallyd.yaml" in each["data"]]
    config.write_text(shipped["data"]["tallyd.yaml"])
    settings = load_settings({}, environment | {"TALLYD_CONFIG": str(config)}).settings
    given = yaml.safe_load(config.read_text())
    assert {name: getattr(settings, name) for name in given} == given
    ports = [each["containerPort"] for each in controller(pod_spec(resources))["ports"]]
    assert settings.address == ("0.0.0.0", ports[0])


def test_one_writer_for_a_sqlite_store(case: str, resources: list[Document]) -> None:
    """Issue 4.3: SQLite means one replica and Recreate; a rolling update is for PostgreSQL only."""
    found = workload(resources)
    sqlite = any(each["name"] == "TALLYD_DATABASE_URL" for each in controller(pod_spec(resources))["env"])
    if found["kind"] == "DaemonSet":
        assert found["spec"]["updateStrategy"]["rollingUpdate"] == {"maxUnavailable": 1, "maxSurge": 0}
    elif sqlite or mode_of(case) == "sidecar":
        assert (found["spec"]["replicas"], found["spec"]["strategy"]) == (1, {"type": "Recreate"})
    else:
        assert found["spec"]["strategy"]["type"] == "RollingUpdate"


def test_the_network_policy_lets_through_what_the_mode_needs(case: str, resources: list[Document]) -> None:
    """Issue 4.3: a NetworkPolicy: in, the HTTP port only; out, names, the remote engine and the store."""
    policies = of_kind(resources, "NetworkPolicy")
    if case == "remote-proxy":
        assert policies == []
        return
    (policy,) = policies
    assert [port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]] == ["http"]
    out = [port["port"] for rule in policy["spec"]["egress"] for port in rule.get("ports", [])]
    assert out == {
        "daemonset": [53, 53],
        "daemonset-postgresql": [53, 53, 6432],
        "everything": [53, 53],
        "remote": [53, 53, 2376],
        "remote-standby": [53, 53, 2376, 5432],
    }.get(case, [])


def test_a_changed_config_starts_the_pod_anew_where_that_is_asked_for() -> None:
    """Issue 4.3, W3: a changed config reaches the controller, which follows its file; by a restart where wanted."""

    def annotations(*options: str) -> Document:
        resources = documents(template(*options).stdout)
        found: Document = workload(resources)["spec"]["template"]["metadata"]["annotations"]
        return found

    changed = ("--set", "config.log_level=debug")
    assert annotations() == annotations(*changed)
    anew = ("--set", "restartOnConfigChange=true")
    assert annotations(*anew) != annotations(*anew, *changed)


def test_the_test_hook_asks_for_readiness(resources: list[Document]) -> None:
    """Issue 4.3: the `helm test` hook asks the Service, with our own command, whether the index can be relied on."""
    (hook,) = of_kind(resources, "Pod")
    (service,) = of_kind(resources, "Service")
    assert hook["metadata"]["annotations"]["helm.sh/hook"] == "test"
    address = f"http://{service['metadata']['name']}.engines:{service['spec']['ports'][0]['port']}"
    assert hook["spec"]["containers"][0]["args"] == ["probe", "--ready", address]
    # The Service must not send traffic to the hook's pod.
    assert not service["spec"]["selector"].items() <= hook["metadata"]["labels"].items()


def test_the_notes_tell_the_next_three_commands(case: str, tmp_path: Path) -> None:
    """Issue 4.3: NOTES.txt tells the next three commands, for the workload that was made."""
    chart = tmp_path / "tallyd"
    for path in CHART.rglob("*"):
        if path.is_file() and path.name not in ("NOTES.txt", "values.schema.json"):
            copy = chart / path.relative_to(CHART)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    # `helm template` prints no notes; so they are rendered as a resource's text.
    notes = (CHART / "templates/NOTES.txt").read_text()
    (chart / "templates/_notes.tpl").write_text('{{ define "notes" }}' + notes + "{{ end }}")
    (chart / "templates/notes.yaml").write_text('kind: Notes\ntext: {{ include "notes" . | toJson }}\n')
    done = template("--kube-version", "1.31.0", "--values", str(values_of(case)), chart=chart)
    assert done.returncode == 0, done.stderr
    resources = documents(done.stdout)
    (text,) = [each["text"] for each in resources if each["kind"] == "Notes"]
    commands = [line.strip() for line in text.splitlines() if line.strip().startswith("kubectl")]
    made = workload(resources)
    assert len(commands) == 3
    assert all(f"{made['kind'].lower()}/{made['metadata']['name']}" in command for command in commands)
    assert all("-n engines" in command for command in commands)


def test_the_chart_has_the_version_of_the_package() -> None:
    """Issue 4.6, 4.3: a version in one place, and the annotations of Artifact Hub."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)
    assert chart["annotations"]["artifacthub.io/license"] == "Apache-2.0"
    assert yaml.safe_load(chart["annotations"]["artifacthub.io/changes"])
