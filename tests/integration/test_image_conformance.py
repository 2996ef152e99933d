"""The source `image` passes the conformance kit on a real engine, by the subject that the package ships."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from controller.rollout.conformance import CHECKS, Check, Verdict, run_checks
from controller.rollout.subjects.image import ImageSubject
from tests.harness import BUSYBOX, Engine
from tests.integration.console import Console, Tallyd, settings_of

COMMAND = "httpd -f -p 8080 -h /www"
OPTIONS = {"image": BUSYBOX, "port": "8080", "command": COMMAND}
SOME = ("members", "split-sum-9999", "warm-effect", "archive-effect")


@pytest.mark.parametrize("check", [pytest.param(each, id=each.name) for each in CHECKS])
def test_the_source_image_keeps_the_contract(engine: Engine, check: Check) -> None:
    """D1, D2, D3, D4, D5, D6, D7, D8, D9: every check of the kit, none left out."""
    subject = partial(ImageSubject, **OPTIONS, docker_host=engine.endpoint)
    (finding,) = run_checks(subject, checks=[check], deadline_seconds=60)
    assert finding.verdict is Verdict.PASSED, f"{finding.title}: {finding.verdict}: {finding.detail}"


@pytest.fixture
def tallyd(engine: Engine, sqlite_url: str, tmp_path: Path) -> Iterator[Tallyd]:
    """`tallyd` before the shared engine."""
    with contextlib.closing(Console()) as console:
        yield Tallyd(console, tmp_path, settings_of(engine.endpoint, sqlite_url, tmp_path))


def test_the_command_checks_it_too_and_clears_up(tallyd: Tallyd, engine: Engine) -> None:
    """D9, O1: with an image that is named; nothing is left on the engine."""
    with contextlib.closing(engine.client()) as client:
        before = {each["Id"] for each in client.containers(all=True)}
        arguments = [part for name, value in OPTIONS.items() for part in ("--with", f"{name}={value}")]
        arguments += [part for name in SOME for part in ("--check", name)]
        report = tallyd.ok("conformance", "image", *arguments, "-o", "json").json
        assert (report["conformant"], report["passed"], report["unchecked"]) == (True, len(SOME), 0)
        assert {each["Id"] for each in client.containers(all=True)} == before


@pytest.mark.parametrize(
    ("arguments", "exit_code", "told"),
    [
        ((), 2, "has to be told: --with image=… (allowed: image=…, port=…, command=…, docker_host=…)"),
        (("--with", "picture=x"), 2, "--with 'picture=x': no such option; allowed: image=…"),
        (("--with", "image"), 2, "--with 'image': no such option"),
        (("--with", "image=a", "--with", "image=b"), 2, "image was given already"),
        (("--with", "image=a", "--with", "port=no", "--check", "members"), 1, "port='no'; allowed: 1 to 65535"),
        (("--with", "image=nobody/has:this", "--check", "repeat-stage"), 1, "nobody/has:this"),
    ],
)
def test_what_the_command_has_to_be_told(
    tallyd: Tallyd, arguments: tuple[str, ...], exit_code: int, told: str
) -> None:
    """D9, O1: what is missing or wrong, and what is allowed."""
    done = tallyd("conformance", "image", *arguments).expect(exit_code)
    assert told in done.stdout + done.stderr
