"""Healing on a real engine, by a real `tallyd run`: what is brought back, what is left alone, what is told."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

from tests.harness import wait_until
from tests.integration.shops import Shop, controlled, shop

__all__ = ["shop"]


def test_a_process_that_is_killed_is_back_and_why_tells(shop: Shop) -> None:
    """S5: kill -9 of a container's process: started again, and `why` has the chain: died, how, last lines, healed."""
    shop.deploy()
    with shop.tallyd.with_settings(TALLYD_INTERVAL_SECONDS="60").running() as controller:
        controller.wait_ready().wait_for_metric("tallyd_event_stream_connected", 1)
        before = shop.started_at()
        shop.kill_process()
        wait_until(
            lambda: shop.state() == "running" and shop.started_at() != before, 20, "it is back, without a tick"
        )
        told = wait_until(lambda: said if "cause:" in (said := shop.why()) else "", 10, "the cause is told")
        assert f"cause: {shop.name()} ended by itself (exit 137, SIGKILL); last lines: ready to serve" in told
        assert f"state: {shop.name()} is stopped; it was running" in told
        assert f"healed: {shop.name()} is stopped; attempt 1 of 5 in 10 min [controller]" in told
        assert controller.metric('tallyd_healings_total{result="attempted"}') == 1
    states = shop.events("state")
    assert all(each["tick"].startswith("testhost/") for each in states)
    assert [each["reason"] for each in shop.events("deploy")][:2] == ["made", "staged"]


def test_one_that_is_gone_is_made_anew(shop: Shop) -> None:
    """S5: `docker rm -f` of one of two brings one of two back."""
    shop.deploy(replicas=2)
    with controlled(shop):
        gone = shop.inspected(2)["Id"]
        shop.world.rm(gone)
        wait_until(lambda: shop.state(2) == "running", 20, "it is back")
        assert shop.inspected(2)["Id"] != gone
        assert shop.holds() == []


def test_a_crash_loop_ends_with_its_budget(shop: Shop) -> None:
    """S5: what dies again and again is healed five times, then not, and that is seen; a new controller knows it."""
    shop.deploy(command=["sh", "-c", "sleep 3; echo out of luck; exit 3"], start_timeout_seconds=5)
    with controlled(shop) as controller:
        controller.wait_for_metric('tallyd_healings_total{result="exhausted"}', 1, 90)
        assert shop.healings() == ["attempted"] * 5 + ["exhausted"]
        told = wait_until(
            lambda: said if "source: " in (said := shop.why()) else "", 20, "the source's answer is told"
        )
        assert "exit 3" in told
        assert "out of luck" in told
        assert f"budget: {shop.name()}: all spent, 5 of 5 attempts" in told
        assert "source: source image: drift" in told
    with controlled(shop) as controller:
        controller.wait_for_metric('tallyd_healings_total{result="exhausted"}', 2)
    assert shop.healings() == ["attempted"] * 5 + ["exhausted"]
    assert shop.state() == "exited"


def test_what_a_person_stopped_is_held_until_it_is_released(shop: Shop) -> None:
    """S5: `docker stop` makes a hold; after `tallyd release` the container is back."""
    shop.deploy()
    with controlled(shop) as controller:
        shop.world.stop(shop.inspected()["Id"])
        held = wait_until(shop.holds, 20, "it is held")
        assert [(each["slot"], each["author"], each["scope"]) for each in held] == [(shop.name(), "engine", "slot")]
        controller.wait_for_metric('tallyd_holds{scope="slot"}', 1)
        told = wait_until(lambda: said if "cause:" in (said := shop.why()) else "", 10, "the cause is told")
        assert "ended by somebody else (engine API)" in told
        assert "held: " in told
        assert shop.state() == "exited"
        shop.tallyd.ok("release", "shop")
        wait_until(lambda: shop.state() == "running", 20, "it is back after the release")
        assert shop.holds() == []


def test_who_starts_it_again_ends_the_hold(shop: Shop) -> None:
    """S5: and so does `docker restart`, which stops and starts."""
    shop.deploy()
    with controlled(shop):
        container = shop.inspected()["Id"]
        shop.world.stop(container)
        wait_until(shop.holds, 20, "it is held")
        shop.world.start(container)
        wait_until(lambda: not shop.holds(), 20, "the hold is over")
        assert [each["reason"] for each in shop.events("hold")] == ["held", "released"]


def test_a_stop_while_nobody_watched_is_a_persons(shop: Shop) -> None:
    """S5: the engine keeps up what it should; what is stopped nevertheless was stopped by hand."""
    shop.deploy(restart="unless-stopped")
    shop.world.stop(shop.inspected()["Id"])
    with controlled(shop):
        wait_until(shop.holds, 20, "it is held")
    assert shop.state() == "exited"


def test_paused_ones_are_left_alone(shop: Shop) -> None:
    """S5: a paused container is told, and not touched."""
    shop.deploy()
    with controlled(shop) as controller:
        container = shop.inspected()["Id"]
        shop.world.pause(container)
        ticks = controller.metric('tallyd_ticks_total{outcome="complete"}')
        controller.wait_for_metric('tallyd_ticks_total{outcome="complete"}', ticks + 3)
        assert shop.state() == "paused"
        assert shop.healings() == []
        shop.world.unpause(container)


def test_out_of_memory_is_told(shop: Shop) -> None:
    """S5: a container that the kernel kills for its memory says so in `why`."""
    eat = "sleep 4; exec tail /dev/zero"
    shop.deploy(command=["sh", "-c", eat], memory="8m", start_timeout_seconds=5)
    with controlled(shop):
        told = wait_until(lambda: said if "cause:" in (said := shop.why()) else "", 30, "the cause is told")
        assert "out of memory" in told
        assert shop.events("cause")[0]["details"]["out_of_memory"] is True


def test_when_most_of_a_host_is_gone_it_stops_and_asks(shop: Shop) -> None:
    """S5: five of six removed at once: nothing is made anew until somebody says so; readiness and doctor tell."""
    shop.deploy(replicas=6)
    ids = [shop.inspected(number)["Id"] for number in range(1, 6)]
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda each: shop.world.engine.client().remove_container(each, force=True), ids))
    with controlled(shop) as controller:
        held = wait_until(shop.holds, 20, "the host is held")
        assert [(each["scope"], each["author"]) for each in held] == [("host", "controller")]
        assert "5 of 6 containers of this host ended" in held[0]["reason"]
        controller.wait_for_metric('tallyd_holds{scope="host"}', 1)
        assert "5 of 6" in json.dumps(controller.get("/-/ready").json["holds"])
        assert "tallyd release --host testhost" in shop.why()
        assert "tallyd release --host" in shop.tallyd("doctor", "-o", "json").stdout
        assert controller.logged("healing stops on this host; look, then: tallyd release --host")
        ticks = controller.metric('tallyd_ticks_total{outcome="complete"}')
        controller.wait_for_metric('tallyd_ticks_total{outcome="complete"}', ticks + 3)
        assert [shop.state(number) for number in range(1, 6)] == [""] * 5
        shop.tallyd.ok("release", "--host", "testhost")
        wait_until(lambda: all(shop.state(number) == "running" for number in range(1, 7)), 40, "all are back")
