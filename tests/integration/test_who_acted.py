"""Who acted, while a real `tallyd run` watches: a command in another process is none of a person's stops (S5)."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import Any

from store.database import open_database
from store.revisions import move_revision
from store.rollout_records import RevisionState
from tests.harness import wait_until
from tests.integration.shops import Shop, controlled, shop

__all__ = ["shop"]

NEVER_READY = {"port": 8080, "start_timeout_seconds": 120}


def causes(shop: Shop, container: str) -> list[dict[str, Any]]:
    """What is told of how a container ended."""
    return [each for each in shop.events("cause") if each["details"]["name"] == container]


def test_a_deploy_of_another_process_is_named_and_held_against_nobody(shop: Shop) -> None:
    """S5, T6: blue-green by the command line: no hold, and `why` says that the deploy ended the old one."""
    shop.deploy(env={"A": "1"})
    old = shop.name()
    with controlled(shop):
        shop.deploy(env={"A": "2"})
        (told,) = wait_until(lambda: causes(shop, old), 20, "the end of the old one is told")
        assert told["actor"] == "controller"
        assert "ended by tallyd, cli:" in told["message"]
        assert "deploys shop-2" in told["message"]
        (verb,) = [each for each in shop.events("verb") if each["subject"] == old]
        assert verb["actor"].startswith("cli:")
        assert shop.holds() == []
        why = shop.why()
        assert "deploys shop-2" in why
        assert "somebody else" not in why
    made = [each for each in shop.events("deploy") if each["reason"] == "made"]
    assert {each["actor"] for each in shop.events("deploy")} == {verb["actor"]}
    assert [each["subject"] for each in made] == ["shop-1", "shop-2"]


def test_what_a_deploy_stopped_and_left_is_healed_and_not_held(shop: Shop, sqlite_url: str) -> None:
    """S5, L2: a recreate that cannot start the old one again; who serves is healed, not held as a person's stop."""
    shop.deploy(strategy="recreate")
    old = shop.name()
    with controlled(shop):
        shop.declare(strategy="recreate", **NEVER_READY)
        with shop.tallyd.started("deploy", "shop") as pending:
            wait_until(lambda: shop.state() == "exited", 30, "the old one is stopped")
            wait_until(lambda: shop.state(sequence=2) == "running", 30, "the new one is started")
            pending.kill()
        with contextlib.closing(open_database(sqlite_url)) as database:
            move_revision(
                database, "shop", "shop-2", RevisionState.FAILED, datetime.now(UTC), detail="as a walk does"
            )
        wait_until(lambda: shop.state() == "running", 40, "the old one is healed")
        assert shop.holds() == []
        assert "attempted" in shop.healings()
        (told,) = wait_until(lambda: causes(shop, old), 20, "the end is told")
        assert "ended by tallyd, cli:" in told["message"]


def test_after_a_deploy_a_persons_stop_is_still_a_persons(shop: Shop) -> None:
    """S5: what a deploy did to the one before does not excuse who stops the one that serves."""
    shop.deploy(strategy="recreate")
    with controlled(shop):
        shop.deploy(strategy="recreate", env={"A": "2"})
        assert shop.holds() == []
        serving = shop.inspected(sequence=2)["Id"]
        shop.world.stop(serving)
        held = wait_until(shop.holds, 20, "it is held")
        assert [(each["slot"], each["author"]) for each in held] == [(shop.name(sequence=2), "engine")]


def test_a_teardown_of_another_process_is_told_and_makes_no_hold(shop: Shop) -> None:
    """S5, S4: what was removed, by whom; nothing is held."""
    shop.deploy()
    with controlled(shop):
        shop.tallyd.ok("teardown", "shop", "--yes")
        assert shop.holds() == []
        (told,) = shop.events("teardown")
        assert told["reason"] == "torn_down"
        assert told["actor"].startswith("cli:")
        assert f"container {shop.name()}" in told["details"]["removed"]
        assert shop.healings() == []


def test_splits_and_gates_are_told(shop: Shop) -> None:
    """L2, T1: gates that were passed and refused with what they saw; splits with who set them."""
    shop.deploy()
    shop.declare(env={"A": "2"})
    refused = shop.tallyd("deploy", "shop", "--probe", "http://127.0.0.1:9/").expect(1)
    assert "the gate was not passed" in refused.stderr
    (gate,) = [each for each in shop.events("deploy") if each["reason"] == "gate_refused"]
    assert "http://127.0.0.1:9/" in gate["details"]["checks"]["http"]
    assert gate["subject"] == "shop-2"
    shop.tallyd.ok("split", "set", "shop", "shop-1=100%")
    (told,) = [each for each in shop.events("deploy") if each["reason"] == "split_set"]
    assert told["actor"].startswith("cli:")
    assert "shop-1 100 %" in told["message"]
    assert "gate refuses" in shop.why()
