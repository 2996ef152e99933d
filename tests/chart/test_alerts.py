"""The alert rules: each fires and stays silent as promtool's cases say, and each is documented."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import yaml

from tests.chart.rendering import RULE_TESTS, RULES
from tests.harness import require
from tests.harness.components import program_path

DOCUMENTED = Path(__file__).parents[2] / "docs/alerts.md"


def alerts() -> list[dict[str, object]]:
    """The rules as they are shipped."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def promtool(*arguments: str) -> str:
    """Run promtool; it must succeed."""
    require("promtool")
    done = subprocess.run(
        [program_path("promtool"), *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_alert_fires_and_stays_silent() -> None:
    """Issue 4.4: engine unreachable, listing stale, containers missing, plugin failing, config reload failing and
    lease lost, in `promtool test rules` cases that fire and that stay silent."""
    assert "SUCCESS" in promtool("check", "rules", str(RULES))
    assert "SUCCESS" in promtool("test", "rules", str(RULE_TESTS))


def test_every_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    """Issue 4.4: no alert is without its two cases."""
    cases = [
        case for test in yaml.safe_load(RULE_TESTS.read_text())["tests"] for case in test.get("alert_rule_test", [])
    ]
    names = {str(rule["alert"]) for rule in alerts()}
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == names
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == names


def test_every_alert_says_what_to_do() -> None:
    """Issue 4.5: docs/alerts.md has a section for each alert, what it means and what to do, and none for others."""
    sections = re.split(r"^## ", DOCUMENTED.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    texts = {section.partition("\n")[0].strip(): section for section in sections}
    names = [str(rule["alert"]) for rule in alerts()]
    assert [title for title in texts if title.startswith("Tallyd")] == names
    for name in names:
        assert "**What it means.**" in texts[name]
        assert "**What to do.**" in texts[name]


def test_every_alert_points_to_its_section() -> None:
    """Issue 4.5: the runbook of an alert is its section."""
    for rule in alerts():
        annotations = rule["annotations"]
        assert isinstance(annotations, dict)
        assert annotations["runbook"] == f"docs/alerts.md#{str(rule['alert']).lower()}"
