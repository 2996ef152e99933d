"""The source `static` passes the conformance kit on a real engine, by the subject that the package ships."""

from __future__ import annotations

import contextlib
from functools import partial

import pytest

from controller.rollout.conformance import CHECKS, Check, Verdict, run_checks
from controller.rollout.subjects.static import StaticSubject
from tests.harness import NGINX, Engine
from tests.harness.images import import_images


@pytest.fixture(scope="module")
def image(engine: Engine) -> str:
    """An image with nginx, on the shared engine."""
    with contextlib.closing(engine.client()) as client:
        import_images(client, [NGINX])
    return NGINX


@pytest.mark.parametrize("check", [pytest.param(each, id=each.name) for each in CHECKS])
def test_the_source_static_keeps_the_contract(engine: Engine, image: str, check: Check) -> None:
    """D1, D2, D3, D4, D5, D6, D7, D8, D9: every check of the kit, none left out."""
    subject = partial(StaticSubject, image=image, docker_host=engine.endpoint)
    (finding,) = run_checks(subject, checks=[check], deadline_seconds=60)
    assert finding.verdict is Verdict.PASSED, f"{finding.title}: {finding.verdict}: {finding.detail}"
