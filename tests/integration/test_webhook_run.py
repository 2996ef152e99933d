"""The webhook of a running controller whose manifests lie in a clone: what was pushed is what every read sees."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fakes import FakeDocker
from tests.harness.git import Forge
from tests.integration.console import Answer, Console, Controller, Tallyd, settings_of

TOKEN = "0123456789abcdef" * 2
OLD = "fedcba9876543210" * 2
RIGHT = {"Authorization": f"Bearer {TOKEN}"}


def _manifest(*ids: str) -> dict[str, str]:
    return {"web.yaml": yaml.safe_dump({"workloads": [{"id": each, "kind": "site"} for each in ids]})}


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    """A remote that declares one site."""
    made = Forge(tmp_path)
    made.push({"a.yaml": None, "b.yaml": None, **_manifest("web")})
    return made


@pytest.fixture
def tallyd(forge: Forge, tmp_path: Path) -> Iterator[Tallyd]:
    """The settings of a controller that follows a clone of it."""
    with contextlib.closing(Console()) as console, FakeDocker() as engine:
        more = {"TALLYD_INTERVAL_SECONDS": "300", "TALLYD_MANIFESTS": str(forge.clone("tree"))}
        secrets = {"TALLYD_RELOAD_TOKEN": TOKEN, "TALLYD_RELOAD_TOKEN_PREVIOUS": OLD}
        settings = settings_of(engine.endpoint, f"sqlite:///{tmp_path}/tallyd.db", forge.home, **more, **secrets)
        yield Tallyd(console, tmp_path, settings)


def _reload(controller: Controller, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
    return controller.request("POST", "/-/reload", body, RIGHT if headers is None else headers)


def _workloads(controller: Controller) -> list[str]:
    return [each["id"] for each in controller.get("/api/v1/workloads").json["items"]]


def test_a_push_is_in_force_when_the_answer_comes(tallyd: Tallyd, forge: Forge) -> None:
    """H5, H7, H8: the read after the answer sees it, each time; the same push again changes nothing."""
    with tallyd.running() as controller:
        controller.wait_ready()
        assert _workloads(controller) == ["web"]
        for number in range(5):
            commit = forge.push(_manifest("web", f"site-{number}"))
            told = _reload(controller, {"commit": commit, "branch": "main"})
            assert (told.status, told.json["changed"], told.json["outcome"]) == (200, True, "fast-forwarded")
            assert f"site-{number}" in _workloads(controller)
        again = _reload(controller, {"commit": commit})
        assert again.json == {"changed": False, "outcome": "already-here", "commit": commit}
        assert _reload(controller).json["outcome"] == "in-sync"
        forge.path.rename(forge.folder / "away")
        failed = _reload(controller)
        assert (failed.status, failed.json["changed"], failed.json["outcome"]) == (200, False, "fetch-failed")
        assert controller.ready


def test_a_push_that_cannot_be_built(tallyd: Tallyd, forge: Forge) -> None:
    """H6: the file is named, the previous state serves and is ready; the next push heals it."""
    with tallyd.running() as controller:
        controller.wait_ready()
        refused = forge.push({"web.yaml": "workloads: [{id: other, kind: sight}]"})
        for body in (None, None, {"commit": refused}):  # whoever asks again is not told that all is well
            told = _reload(controller, body)
            assert (told.status, told.json["error"]) == (500, "previous state serving")
            assert "web.yaml:1" in told.json["detail"]
        assert (_workloads(controller), controller.ready) == (["web"], True)
        forge.push(_manifest("web", "healed"))
        assert _reload(controller).json["changed"] is True
        assert _workloads(controller) == ["healed", "web"]


def test_who_may_call_it(tallyd: Tallyd, forge: Forge) -> None:
    """H1, H2: the route is there without a secret too; either secret opens it; a short one is a wrong setting."""
    with tallyd.running() as controller:
        controller.wait_ready()
        assert _reload(controller, headers={"Authorization": f"bearer {OLD}"}).status == 200
        assert _reload(controller, headers={"Authorization": "Bearer wrong"}).status == 401
        missing = _reload(controller, headers={})
        assert "/-/reload" not in controller.get("/api/openapi.json").json["paths"]
        assert not any(each in controller.text for each in (TOKEN, OLD))
    without = tallyd.with_settings(TALLYD_RELOAD_TOKEN=None, TALLYD_RELOAD_TOKEN_PREVIOUS=None)
    with without.running() as controller:
        controller.wait_ready()
        told = _reload(controller, headers={})
        assert (told.status, told.body) == (missing.status, missing.body) == (401, missing.body)
        assert _reload(controller).json["error"] == "reload not configured"
    short = tallyd.with_settings(TALLYD_RELOAD_TOKEN="x" * 31)("run")
    assert (short.exit_code, "at least 32" in short.stderr) == (2, True)
