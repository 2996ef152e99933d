"""The table of checks in docs/plugins.md, written from the reports of real runs.

tallyd conformance KIND --with … -o json > KIND.json     # for each source that deploys
python -m tests.docs.conformance KIND.json …
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from controller.plugins.registry import load_registry
from controller.rollout.conformance import CHECKS
from controller.rollout.deployer import Deployer
from tests.docs.markdown import ROOT, section

PLUGINS = "docs/plugins.md"


def deploying_kinds() -> list[str]:
    """The installed sources that deploy."""
    return sorted(kind for kind, each in load_registry().sources.items() if isinstance(each, Deployer))


def table_of(verdicts: Mapping[str, Mapping[str, str]]) -> str:
    """A row for each check of the kit, a column for each source: kind → check → verdict."""
    kinds = sorted(verdicts)
    heading = ["Check", "Promise", "What is checked", *(f"`{kind}`" for kind in kinds)]
    rows = [heading, ["---"] * len(heading)]
    rows += [
        [f"`{each.name}`", each.promise, each.title, *(verdicts[kind][each.name] for kind in kinds)]
        for each in CHECKS
    ]
    lines = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join(lines).replace(" --- ", "---")


def write(reports: list[Path]) -> None:
    """Put the table of these reports in the place of the one that is there."""
    verdicts = {}
    for path in reports:
        report = json.loads(path.read_text(encoding="utf-8"))
        verdicts[report["kind"]] = {each["check"]: each["verdict"] for each in report["checks"]}
    if sorted(verdicts) != deploying_kinds():
        raise SystemExit(f"reports of {', '.join(sorted(verdicts))}; needed: one of each of {deploying_kinds()}")
    old = section(PLUGINS, "Checks")
    kept = old.split("\n")
    rows = [number for number, line in enumerate(kept) if line.startswith("|")]
    new = "\n".join([*kept[: rows[0]], table_of(verdicts), *kept[rows[-1] + 1 :]])
    page = ROOT / PLUGINS
    page.write_text(page.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


if __name__ == "__main__":
    write([Path(each) for each in sys.argv[1:]])
