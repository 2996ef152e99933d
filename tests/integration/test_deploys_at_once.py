"""Deploys by several ways at once, on a real engine: one has its turn, the controller deploys too, and back again."""

from __future__ import annotations

import json
import os
import pty
import signal
from pathlib import Path
from typing import Any

from store.database import open_database
from store.turns import find_turn
from tests.harness import wait_until
from tests.integration.backends import free_port
from tests.integration.test_deploy import Shop, shop

__all__ = ["shop"]

TOKEN = "a-token-of-the-tests-of-deploys"
SLOWLY = "sleep 2; mkdir /site; exec httpd -f -p 8080 -h /site"


def weights(shop: Shop) -> dict[str, int]:
    """What the routers are told of the shop: revision and weight."""
    (workload,) = json.loads(shop.runtime.read_text())["workloads"]
    return {each["revision_id"]: each["weight"] for each in workload["blocks"]}


def test_a_second_deploy_is_refused_or_waits(shop: Shop) -> None:
    """L2, O1: who deploys, and what is being done; with --wait it is done after the first."""
    shop.declare("v1")
    shop.deploy()
    shop.declare("v2", SLOWLY)
    with shop.tallyd.started("deploy", "shop") as first:
        wait_until(lambda: shop.states().get("shop-2") == "warming", 30, "the first one warms")
        refused = shop.tallyd("deploy", "shop").expect(1)
        assert "workload 'shop' is being worked on: cli:" in refused.stderr
        assert "--wait" in refused.stderr
        waited = shop.deploy("--wait")
        first().expect(0)
    assert (waited["arrived"], waited["revision_id"], waited["steps"]) == (True, "shop-2", [])


def test_a_killed_deploy_is_gone_on_with_at_once(shop: Shop, sqlite_url: str) -> None:
    """L2, F: SIGKILL in the middle; its turn has not run out, and nobody waits for it."""
    shop.declare("v1")
    shop.deploy()
    shop.declare("v2", SLOWLY)
    with shop.tallyd.started("deploy", "shop", executed=True) as deploying:
        wait_until(lambda: shop.states().get("shop-2") == "warming", 30, "it warms")
        os.kill(deploying.process.pid, signal.SIGKILL)
        deploying.process.wait(30)
    database = open_database(sqlite_url)
    left = find_turn(database, "shop")
    database.close()
    assert left is not None
    assert shop.deploy()["arrived"]
    assert shop.states() == {"shop-1": "inactive", "shop-2": "ready"}


def test_back_by_one_command_and_forth_again(shop: Shop) -> None:
    """T1, L2: the one before is brought up again, and the routers are told; once more goes forth."""
    shop.tallyd("rollback", "shop").expect(1)
    for version in ("v1", "v2"):
        shop.declare(version)
        shop.deploy()
    done = shop.tallyd.ok("rollback", "shop", "-o", "json")
    assert [each["revision_id"] for each in done.json["split"]["entries"]] == ["shop-1"]
    assert [step.split()[0] for step in done.json["deploy"]["steps"]] == ["stage", "warm", "shift", "drain"]
    assert weights(shop) == {"shop-1": 10_000}
    assert shop.states() == {"shop-1": "ready", "shop-2": "inactive"}
    shop.tallyd.ok("rollback", "shop")
    assert weights(shop) == {"shop-2": 10_000}


def test_a_split_that_is_set_is_enforced(shop: Shop) -> None:
    """T1, T2: in the middle of a canary that was killed; by the command, its rollback, and the API."""
    shop.tallyd.environment["TALLYD_API_TOKEN"] = TOKEN
    shop.declare("v1")
    shop.deploy()
    shop.declare("v2")
    with shop.tallyd.started("deploy", "shop", "--canary", "10%", "--hold-seconds", "1000") as deploying:
        wait_until(lambda: weights(shop) == {"shop-1": 9_000, "shop-2": 1_000}, 60, "the canary gets its share")
        deploying.kill()
    shop.tallyd.ok("split", "set", "shop", "shop-1=60%", "shop-2=40%")
    assert weights(shop) == {"shop-1": 6_000, "shop-2": 4_000}
    shop.tallyd.ok("split", "rollback", "shop")
    assert weights(shop) == {"shop-1": 9_000, "shop-2": 1_000}
    done = shop.tallyd.ok("rollback", "shop", "-o", "json").json
    assert (done["deploy"], weights(shop)) == (None, {"shop-1": 6_000, "shop-2": 4_000})
    with shop.tallyd.running() as controller:
        controller.wait_ready()
        entries = [{"revision_id": "shop-1", "weight": 10_000}]
        headers = {"Authorization": f"Bearer {TOKEN}"}
        answer = controller.request("PUT", "/api/v1/workloads/shop/split", {"entries": entries}, headers)
        assert (answer.status, weights(shop)) == (200, {"shop-1": 10_000})


def test_the_controller_deploys(shop: Shop) -> None:
    """T6, O4: asked over its port or by --no-wait; it tells how far it is, and what is refused."""
    nobody = shop.tallyd("deploy", "shop", "--no-wait").expect(1)
    assert "leave --no-wait out" in nobody.stderr
    shop.declare("v1")
    with shop.tallyd.running() as controller:
        controller.wait_ready()
        first = shop.tallyd.ok("deploy", "shop", "--no-wait").stdout.strip()
        path = f"/api/v1/workloads/shop/deploys/{first}"

        def over() -> Any:
            shown = controller.get(path).json
            return shown if shown["ended_at"] else None

        shown = wait_until(over, 60, "the controller has deployed")
        assert (shown["state"], shown["revision_id"], shown["made"]) == ("arrived", "shop-1", True), shown
        assert [step.split()[0] for step in shown["steps"]] == ["stage", "warm", "shift"]
        assert shown["reason"].startswith("asked for by cli:")
        assert weights(shop) == {"shop-1": 10_000}
        refused = shop.tallyd("deploy", "shop", "--no-wait", "--revision", "shop-9").expect(1)
        assert "no revision 'shop-9' to deploy" in refused.stderr


def test_the_controller_asks_gates_and_goes_back(shop: Shop) -> None:
    """T1, L2, O4: over its port: a closed gate returns the traffic; a rollback is a split or a deploy."""
    shop.tallyd.environment["TALLYD_API_TOKEN"] = TOKEN
    headers = {"Authorization": f"Bearer {TOKEN}"}
    for version in ("v1", "v2"):
        shop.declare(version)
        shop.deploy()
    shop.declare("v3")
    with shop.tallyd.running() as controller:
        controller.wait_ready()

        def ended(deploy: dict[str, Any]) -> dict[str, Any]:
            path = f"/api/v1/workloads/shop/deploys/{deploy['id']}"
            wait_until(lambda: controller.get(path).json["ended_at"], 60, "the deploy ends")
            shown: dict[str, Any] = controller.get(path).json
            return shown

        probe = f"http://127.0.0.1:{free_port()}/{{revision}}"
        asked = shop.tallyd.ok("deploy", "shop", "--no-wait", "--canary", "10%", "--probe", probe, "-o", "json").json
        assert asked["gates"] == {"probe": probe, "prometheus": None, "query": None, "hold_seconds": 0.0}
        shown = ended(asked)
        assert (shown["state"], list(shown["checks"])) == ("failed", ["http"]), shown
        assert weights(shop) == {"shop-2": 10_000}

        back = controller.request("POST", "/api/v1/workloads/shop/rollback", {}, headers)
        assert back.status == 202, back
        assert ended(back.json["deploy"])["state"] == "arrived"
        assert weights(shop) == {"shop-1": 10_000}


def test_a_controller_that_stops_leaves_a_deploy_to_be_gone_on_with(shop: Shop) -> None:
    """R3, L2: it stops in time in the middle of a warm-up, marks nothing, and the next deploy is of the same one."""
    shop.declare("v1")
    shop.deploy()
    shop.declare("v2", "sleep 10; mkdir /site; exec httpd -f -p 8080 -h /site")
    with shop.tallyd.running() as controller:
        controller.wait_ready()
        shop.tallyd.ok("deploy", "shop", "--no-wait")
        wait_until(lambda: shop.states().get("shop-2") == "warming", 30, "the controller warms it")
        assert controller.terminate()[0] == 0
    assert shop.states() == {"shop-1": "ready", "shop-2": "warming"}
    answer = shop.deploy()
    assert (answer["arrived"], answer["revision_id"]) == (True, "shop-2")


def test_progress_on_a_terminal(shop: Shop, tmp_path: Path) -> None:
    """O1: each step with its seconds, on stderr alone."""
    shop.declare("v1")
    ours, theirs = pty.openpty()
    environment = {**shop.tallyd.environment, "TERM": "xterm", "COLUMNS": "100"}
    with (tmp_path / "out").open("w+b") as out, Path(os.devnull).open("rb") as null:
        streams = (null.fileno(), out.fileno(), theirs)
        process = shop.tallyd.console.start(("deploy", "shop", "-o", "json"), environment, tmp_path, streams)
        os.close(theirs)
        seen = b"".join(iter(lambda: _read(ours), b"")).decode()
        assert process.wait(60) == 0
        out.seek(0)
        assert json.load(out)["arrived"] is True
    os.close(ours)
    for step in ("new revision shop-1", "stage shop-1", "warm shop-1", "shift traffic: shop-1 100%"):
        assert step in seen
    assert seen.count("✓") >= 3


def _read(terminal: int) -> bytes:
    """What comes from a terminal; nothing when its other end is closed."""
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""
