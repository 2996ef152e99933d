"""The source `compose` passes the conformance kit on a real engine with the real Compose."""

from __future__ import annotations

from functools import partial

import pytest

from controller.rollout.conformance import CHECKS, Check, Verdict, run_checks
from controller.rollout.subjects.compose import ComposeSubject
from tests.harness import BUSYBOX, Engine
from tests.harness.components import require

OPTIONS = {"image": BUSYBOX, "port": "8080", "command": "httpd -f -p 8080 -h /www"}


@pytest.mark.parametrize("check", [pytest.param(each, id=each.name) for each in CHECKS])
def test_the_source_compose_keeps_the_contract(engine: Engine, check: Check) -> None:
    """D1, D2, D3, D4, D5, D6, D7, D8, D9: every check of the kit, none left out, in its form for one at a time."""
    require("compose")
    subject = partial(ComposeSubject, **OPTIONS, docker_host=engine.endpoint)
    (finding,) = run_checks(subject, checks=[check], deadline_seconds=200)
    assert finding.verdict is Verdict.PASSED, f"{finding.title}: {finding.verdict}: {finding.detail}"
