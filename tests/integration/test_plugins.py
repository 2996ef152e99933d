"""A stranger's plugins, installed as a distribution: none of them hurts another, the loop, or the process."""

from __future__ import annotations

import contextlib
import textwrap
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from store.database import open_database
from store.records import Workload, WorkloadKind
from store.workloads import apply_workloads
from tests.harness import Engine, World, wait_until
from tests.integration.console import Console, Controller, Tallyd, settings_of

TOKEN = "a-token-of-the-tests"
MODULE = """
import os, sys, threading
from controller.plugins.contract import Outcome, Result, Retry, Terminal

class Source:
    def validate(self, config): pass
    def config_schema(self): return {"type": "object"}
    def reconcile(self, request):
        with open(os.environ["STRANGE_CALLS"], "a") as calls:
            calls.write(f"{request.workload.id} {len(request.rows)} {len(request.public_faces)}\\n")
        return self.act(request)

class Succeeds(Source):
    kind = "succeeds"
    def act(self, request): return Outcome(Result.IN_SYNC)

class Repairs(Source):
    kind = "repairs"
    def act(self, request): return Outcome(Result.REPAIRED, "did it")

class Raises(Source):
    kind = "raises"
    def act(self, request): raise RuntimeError("I am broken")

class Mends(Source):
    kind = "mends"
    def act(self, request):
        if not os.path.exists(os.environ["STRANGE_CALLS"] + ".mended"):
            raise RuntimeError("I need mending")
        return Outcome(Result.IN_SYNC)

class Exits(Source):
    kind = "exits"
    def act(self, request): sys.exit(7)

class Interrupts(Source):
    kind = "interrupts"
    def act(self, request): raise KeyboardInterrupt

class Hangs(Source):
    kind = "hangs"
    def act(self, request): threading.Event().wait()

class Lies(Source):
    kind = "lies"
    def act(self, request): return True

class Later(Source):
    kind = "later"
    def act(self, request): raise Retry(0.1, "not yet")

class Gives_up(Source):
    kind = "gives-up"
    def act(self, request): raise Terminal("never")

class Misnamed(Source):
    kind = "another-name"
    def act(self, request): return Outcome(Result.IN_SYNC)

class Halves:
    kind = "halves"
    def reconcile(self, request): return Outcome(Result.IN_SYNC)

class Explodes(Source):
    kind = "explodes"
    def __init__(self): raise OSError("no licence")
"""
WORKING = {
    "succeeds": "Succeeds",
    "repairs": "Repairs",
    "raises": "Raises",
    "mends": "Mends",
    "exits": "Exits",
    "interrupts": "Interrupts",
    "hangs": "Hangs",
    "lies": "Lies",
    "later": "Later",
    "gives-up": "Gives_up",
}
BROKEN = {
    "misnamed": ("strange:Misnamed", "its kind is 'another-name'"),
    "halves": ("strange:Halves", "lacks a member of the Source protocol"),
    "explodes": ("strange:Explodes", "no licence"),
    "lost": ("strange:Lost", "Lost"),
    "unimportable": ("strange_exit:Any", "SystemExit"),
}


@pytest.fixture(scope="module")
def console() -> Iterator[Console]:
    """The console script."""
    with contextlib.closing(Console()) as started:
        yield started


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    """The file in which the plugins write down that they were called."""
    path = tmp_path / "calls"
    path.touch()
    return path


@pytest.fixture
def tallyd(console: Console, engine: Engine, world: World, sqlite_url: str, calls: Path, tmp_path: Path) -> Tallyd:
    """`tallyd` with the strange plugins installed; found by their entry points."""
    site = tmp_path / "site"
    described = site / "strange-1.0.dist-info"
    described.mkdir(parents=True)
    (site / "strange.py").write_text(textwrap.dedent(MODULE))
    (site / "strange_exit.py").write_text("import sys\nsys.exit(9)\n")
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: strange\nVersion: 1.0\n")
    entries = {kind: f"strange:{name}" for kind, name in WORKING.items()} | {
        kind: place for kind, (place, _) in BROKEN.items()
    }
    lines = [f"{kind} = {place}\n" for kind, place in entries.items()]
    (described / "entry_points.txt").write_text("[tallyd.sources]\n" + "".join(lines))
    settings = settings_of(
        engine.endpoint,
        sqlite_url,
        tmp_path,
        PYTHONPATH=str(site),
        STRANGE_CALLS=str(calls),
        TALLYD_LABEL_PREFIX=world.prefix,
        TALLYD_INTERVAL_SECONDS="0.25",
        TALLYD_PLUGIN_DEADLINE_SECONDS="1",
        TALLYD_PLUGIN_WORKERS="2",
        TALLYD_API_TOKEN=TOKEN,
    )
    return Tallyd(console, tmp_path, settings)


def spec(workload_id: str, kind: str, **more: Any) -> dict[str, Any]:
    """A workload that this kind of source brings up."""
    return {
        "id": workload_id,
        "kind": "stack",
        "source": {"kind": kind},
        "trigger": {"kind": "manual"},
        **more,
    }


def called(calls: Path) -> Counter[str]:
    """How often each workload's plugin was called."""
    return Counter(line.split()[0] for line in calls.read_text().splitlines())


def results(controller: Controller, kind: str) -> dict[str, float]:
    """How often each result was counted for this kind of source."""
    found: dict[str, float] = {}
    for line in controller.get("/metrics").body.decode().splitlines():
        if line.startswith(f'tallyd_plugin_reconciles_total{{kind="{kind}",result="'):
            found[line.split('"')[3]] = float(line.rpartition(" ")[2])
    return found


def test_plugins_that_raise_hang_exit_and_lie_hurt_nobody(
    tallyd: Tallyd, world: World, calls: Path, sqlite_url: str
) -> None:
    """R15, F, O5: the loop lives, the others succeed, every result is counted; back-off, and one call at a time."""
    container = world.create(labels={f"{world.prefix}.workload.id": "good", f"{world.prefix}.role": "a"})
    hanging = [f"hangs-{number}" for number in range(3)]
    tallyd.apply(
        *(spec(each, "hangs") for each in hanging),
        *(spec(kind, kind) for kind in WORKING if kind not in ("hangs", "succeeds")),
        spec("good", "succeeds", public_faces=[{"host": "good.example"}]),
        {"id": "no-trigger", "kind": "stack", "source": {"kind": "succeeds"}},
        {"id": "no-source", "kind": "stack", "trigger": {"kind": "manual"}},
    )
    declare_behind_the_door(sqlite_url, world.prefix)
    with tallyd.running(executed=True) as controller:
        controller.wait_ready()
        good = 'tallyd_plugin_reconciles_total{kind="succeeds",result="in_sync"}'
        wait_until(lambda: results(controller, "hangs").get("timeout") == 3, 30, "all that hang are given up")
        controller.wait_for_metric(good, controller.metric(good) + 6)
        assert results(controller, "hangs") == {"timeout": 3}
        report = controller.request("POST", "/api/v1/tick", headers={"Authorization": f"Bearer {TOKEN}"}).json
        assert report["outcome"] == "complete"
        assert report["plugins"]["in_flight"] >= 3
        for kind in ("raises", "exits", "interrupts", "lies"):
            assert results(controller, kind).keys() == {"failed"}
        assert results(controller, "repairs").keys() == {"repaired"}
        assert results(controller, "later")["retry"] >= 2
        assert results(controller, "gives-up") == {"terminal": 1}
        assert results(controller, "lost").keys() == {"unusable"}
        assert controller.ready
        assert controller.healthy
        assert {row["container_id"] for row in controller.rows().values()} == {container}

        made = called(calls)
        assert {each: made[each] for each in hanging} == dict.fromkeys(hanging, 1)
        assert made["gives-up"] == 1
        assert made["good"] > made["raises"] >= 1
        assert made["repairs"] > made["exits"] >= 1
        assert made.keys() & {"no-trigger", "no-source", "broken-plugin"} == set()
        assert "good 1 1\n" in calls.read_text()
        assert "bad-faces 0 0\n" in calls.read_text()

        told = {line["workload"]: line for line in controller.logged("workload reconciled")}
        assert told["raises"]["detail"] == "RuntimeError: I am broken"
        assert "SystemExit: 7" in told["exits"]["detail"]
        assert "instead of an Outcome" in told["lies"]["detail"]
        assert told["hangs-0"]["detail"] == "no answer within 1 s"
        (problem,) = controller.logged("problem")
        assert "workload 'bad-faces': public_faces" in problem["detail"]
        broken = {line["entry_point"]: line["reason"] for line in controller.logged("plugin cannot be loaded")}
        assert broken.keys() == BROKEN.keys()
        for kind, (place, reason) in BROKEN.items():
            assert place in broken[kind]
            assert reason in broken[kind]

        tallyd.apply(spec("gives-up", "gives-up", name="Changed"))
        wait_until(lambda: called(calls)["gives-up"] == 2, 30, "a changed declaration is tried again")
        code, _ = controller.terminate()
        assert code == 0


def declare_behind_the_door(database_url: str, prefix: str) -> None:
    """What no manifest lets in, but a store may hold: a plugin that broke later, faces that nobody can read."""
    common = {"kind": WorkloadKind.STACK, "trigger_kind": "manual"}
    lost = Workload("broken-plugin", "b", ref=f"{prefix}-b", source_kind="lost", **common)  # type: ignore[arg-type]
    faces = Workload("bad-faces", "f", ref=f"{prefix}-f", source_kind="succeeds", public_faces={"host": 7}, **common)  # type: ignore[arg-type]
    with contextlib.closing(open_database(database_url)) as database:
        apply_workloads(database, [lost, faces], datetime.now(UTC))


def test_one_pass_and_the_doctor_tell_of_plugins(tallyd: Tallyd, calls: Path) -> None:
    """R15, O1, O7: `tick` counts results and is true all the same; `doctor` fails; a broken kind is refused."""
    tallyd.apply(spec("good", "succeeds"), spec("bad", "raises"), spec("stuck", "hangs"))
    report = tallyd.with_settings(TALLYD_INTERVAL_SECONDS=None).tick()
    assert report["outcome"] == "complete"
    assert report["plugins"] == {"in_sync": 1, "failed": 1, "timeout": 1}
    assert called(calls) == {"good": 1, "bad": 1, "stuck": 1}
    found = {each["check"]: each for each in tallyd("doctor", "-o", "json").expect(1).json}
    assert found["plugins"]["status"] == "fail"
    for kind, (_, reason) in BROKEN.items():
        assert f"{kind}: " in found["plugins"]["detail"]
        assert reason in found["plugins"]["detail"]
    text = yaml.safe_dump({"workloads": [spec("x", "lost")]})
    refused = tallyd("workload", "apply", "-f", "-", stdin=text).expect(2)
    assert "'lost' is installed but cannot be loaded" in refused.stderr


def test_a_failing_plugin_is_seen_in_metrics_and_why_and_so_is_that_it_recovered(tallyd: Tallyd, calls: Path) -> None:
    """R15, O5, S5: the count and the words; when it works again, also after a restart, `why` says so."""

    def why(workload_id: str) -> str:
        return tallyd.ok("why", workload_id).stdout

    tallyd.apply(spec("shop", "mends"), spec("blog", "mends"))
    with tallyd.running() as controller:
        failed = 'tallyd_plugin_reconciles_total{kind="mends",result="failed"}'
        controller.wait_ready().wait_for_metric(failed, 2)
        words = "source mends: failed: RuntimeError: I need mending"
        told = wait_until(lambda: said if words in (said := why("shop")) else "", 20, "the failure is told")
        assert f"plugin: {words}" in told
        assert f"source: {words}" in told.splitlines()[-1]
    calls.with_suffix(".mended").touch()
    with tallyd.running() as controller:
        controller.wait_ready().wait_for_metric('tallyd_plugin_reconciles_total{kind="mends",result="in_sync"}', 2)
        told = wait_until(lambda: said if "it recovered" in (said := why("shop")) else "", 20, "it is told")
        assert "source mends: in_sync; it recovered, failed before" in told
        assert not told.splitlines()[-1].startswith("source: ")
