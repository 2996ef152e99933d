"""Deploys under load from a real load generator, and with the controller killed in the middle of one (T6).

A few of them; `python -m tests.bench --only T6` makes fifty of each.
"""

from __future__ import annotations

from tests.harness import wait_until
from tests.harness.wrk import Account, Wrk, account_of
from tests.integration.backends import Load
from tests.integration.test_deploy import Shop, shop

__all__ = ["shop"]

HOST = "shop.example"


def test_deploys_under_load_with_a_kill(shop: Shop) -> None:
    """T6, L2, D8: kept connections and fresh ones, by wrk and by our own visitors; not one request is lost.

    wrk does not send a request again whose kept connection nginx closed before it took it (RFC 9112, 9.3.1). So what
    its kept connections could not read says nothing; our visitors do send it again, and count everything else.
    """
    shop.declare("v1", drain_seconds=20)
    shop.deploy()
    with shop.routed():
        wait_until(lambda: shop.shown() == "v1", 30, "the first version is served")
        load = Load(shop.port, kept_alive=1, fresh=1, posts=False)
        keeping, closing = (Wrk(shop.port, HOST, keep=keep, connections=1) for keep in (True, False))
        shop.declare("v2", drain_seconds=20)
        assert shop.deploy()["arrived"]
        for version, state in (("v3", "warming"), ("v4", "draining")):
            shop.declare(version, drain_seconds=20)
            with shop.tallyd.started("deploy", "shop") as deploying:
                wait_until(lambda state=state: state in shop.states().values(), 60, f"one is {state}")  # type: ignore[misc]
                deploying.kill()
            assert shop.deploy()["arrived"]
            assert shop.shown() == version
        load.stop()
        kept, closed = keeping.stop(), closing.stop()
    assert load.trouble == []
    assert {"v1", "v2", "v3", "v4"} == load.answered.keys()
    assert (closed.lost, kept.lost - kept.read) == (0, 0), (closed, kept)
    assert min(closed.requests, kept.requests, load.total) > 20


def test_what_wrk_says_is_read() -> None:
    """T6: its lines of trouble are there only where there was some."""
    told = "Running 1h test\n  512 requests in 2.10s, 1MB read\n"
    assert account_of(told) == Account(512, 0, 0, 0, 0, 0)
    told += "  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 5\n"
    assert account_of(told) == Account(512, 1, 2, 3, 4, 5)
    assert account_of(told).lost == 15
