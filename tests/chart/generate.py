"""Writes what is made from something else: the chart's README, the settings in its schema, the golden renders.

Run `python -m tests.chart.generate` after a change of values.yaml, of a template or of a setting, and look at what
`git diff` shows. A test fails while anything here is out of date.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from controller import __version__
from controller.settings import Settings
from tests.chart.rendering import CASES, CHART, GOLDEN, rendered

README = CHART / "README.md"
SCHEMA = CHART / "values.schema.json"
VALUES = CHART / "values.yaml"
# What the chart sets itself, from other values; a secret has no place in a ConfigMap.
NOT_IN_CONFIG = {"config", "host", "database_url", "listen", "api_token", "reload_token"}
_DESCRIBED = re.compile(r"^(?P<indent> *)# -- (?P<text>.+)$")
_KEY = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z]+):(?P<rest>.*)$")


FILES = (README, SCHEMA, *(GOLDEN / f"{case}.yaml" for case in CASES))


def content_of(path: Path) -> str:
    """What a generated file must contain."""
    if path == README:
        return readme()
    return schema() if path == SCHEMA else rendered(path.stem)


def readme() -> str:
    """README.md of the chart, with a line for each described value."""
    rows = "\n".join(f"| `{name}` | `{default}` | {text} |" for name, default, text in described_values())
    return _README.replace("@VERSION@", __version__).replace("@VALUES@", rows)


def described_values() -> Iterator[tuple[str, str, str]]:
    """Name, default and description of each value that values.yaml describes, in its order."""
    values = yaml.safe_load(VALUES.read_text(encoding="utf-8"))
    path: list[str] = []
    text = ""
    for line in VALUES.read_text(encoding="utf-8").splitlines():
        described, key = _DESCRIBED.match(line), _KEY.match(line)
        if described:
            text = described["text"]
        elif key:
            path = [*path[: len(key["indent"]) // 2], key["key"]]
            if text:
                yield ".".join(path), _shown(values, path), text
            text = ""


def undescribed_values() -> list[str]:
    """Values that have no description, neither their own nor one above them."""
    described = {name for name, _, _ in described_values()}
    values = yaml.safe_load(VALUES.read_text(encoding="utf-8"))
    return [name for name in _leaves(values) if not any(f"{name}.".startswith(f"{each}.") for each in described)]


def schema() -> str:
    """values.schema.json, its `config` made from the controller's settings."""
    document = json.loads(SCHEMA.read_text(encoding="utf-8"))
    settings = Settings.model_json_schema()["properties"]
    document["properties"]["config"] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {name: _setting(text) for name, text in settings.items() if name not in NOT_IN_CONFIG},
    }
    return json.dumps(document, indent=2) + "\n"


def _setting(schema_of_one: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in schema_of_one.items() if name not in ("title", "default")}


def _shown(values: dict[str, Any], path: list[str]) -> str:
    value: Any = values
    for key in path:
        value = value[key]
    return json.dumps(value)


def _leaves(values: dict[str, Any], above: str = "") -> Iterator[str]:
    for key, value in values.items():
        name = f"{above}{key}"
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{name}.")
        else:
            yield name


_README = """\
<!-- Made by `python -m tests.chart.generate` from values.yaml; change it there. -->
# tallyd chart

Version @VERSION@. Installs [tallyd](../../README.md), the reconciliation controller for plain Docker hosts, in one of
three modes:

| `mode` | What it makes | The engine |
|---|---|---|
| `sidecar` | a Deployment of one pod | Docker-in-Docker in the same pod, a native sidecar (Kubernetes 1.29 on) |
| `daemonset` | a DaemonSet | each node's own engine, by a hostPath directory |
| `remote` | a Deployment | an engine elsewhere, over TCP with a client certificate |

How to install each, and what to look at first: [docs/install/helm.md](../../docs/install/helm.md). What each alert
means: [docs/alerts.md](../../docs/alerts.md). What the engine's socket gives away:
[docs/security.md](../../docs/security.md).

```
helm install docker charts/tallyd --namespace engines --create-namespace
helm test docker --namespace engines
```

The image is built from this repository's `Dockerfile`; name yours with `image.repository` and `image.tag`.

## Values

A value that is not listed, of another type, or at odds with another one is refused with a sentence that says so.

| Value | Default | Meaning |
|---|---|---|
@VALUES@
"""


if __name__ == "__main__":
    # The schema first: the renders are checked by it.
    SCHEMA.write_text(schema(), encoding="utf-8")
    GOLDEN.mkdir(exist_ok=True)
    for stale in set(GOLDEN.glob("*.yaml")) - set(FILES):
        stale.unlink()
    for path in FILES:
        path.write_text(content_of(path), encoding="utf-8")
