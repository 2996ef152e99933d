"""`tallyd deploy` where something outside is in the way: the old one serves, and the revision is failed."""

from __future__ import annotations

import contextlib
from typing import Any

from store.database import open_database
from store.hosts import accept_engine
from tests.harness import PrivateRegistry, World
from tests.integration.backends import free_port
from tests.integration.test_deploy import Shop, shop

__all__ = ["shop"]


def _fails(shop: Shop, said: str, **options: Any) -> None:
    shop.declare("v1")
    shop.deploy()
    before = shop.runtime.read_text()
    shop.declare("v2", **options)
    answer = shop.deploy(exit_code=1)
    assert said in answer["detail"]
    assert said in str(answer["checks"])
    assert shop.states() == {"shop-1": "ready", "shop-2": "failed"}
    assert shop.runtime.read_text() == before


def test_a_registry_that_is_down_during_stage(shop: Shop, world: World, registry: PrivateRegistry) -> None:
    """D4, L2: and when it is up again the same command deploys."""
    reference, digest = registry.push(world.engine, "shop:1")
    registry.stop()
    _fails(shop, "does not reach the registry", image=f"{reference.rpartition(':')[0]}@{digest}")
    registry.start()
    assert shop.deploy()["revision_id"] == "shop-3"


def test_another_engine_is_not_acted_on(shop: Shop) -> None:
    """R18: by no command that acts: it says what to do, and neither the engine nor the store is touched."""
    for version in ("v1", "v2"):
        shop.declare(version)
        shop.deploy()
    host = shop.tallyd.environment["TALLYD_HOST"]
    with contextlib.closing(open_database(shop.tallyd.environment["TALLYD_DATABASE_URL"])) as database:
        right = accept_engine(database, host, "ANOTHER:ENGINE")
        shop.declare("v3")
        for command in (("deploy", "shop"), ("rollback", "shop"), ("teardown", "shop", "--yes")):
            refused = shop.tallyd(*command).expect(1)
            assert "is bound to engine ANOTHER:ENGINE" in refused.stderr
            assert "tallyd host accept" in refused.stderr
        assert shop.states() == {"shop-1": "inactive", "shop-2": "ready"}
        accept_engine(database, host, right)
    assert shop.deploy()["revision_id"] == "shop-3"


def test_a_port_that_is_taken(shop: Shop, world: World) -> None:
    """D4, L2: in the engine's words; the old one, which made room for it, is back."""
    port = free_port()
    world.run(published={(80, "tcp"): port})
    _fails(shop, str(port), strategy="recreate", publish_address="127.0.0.1", publish_port=port)
    label = f"{world.prefix}.workload.id=shop"
    assert [each["State"] for each in world.client.containers(all=True, filters={"label": label})] == ["running"]


def test_a_host_without_the_network(shop: Shop) -> None:
    """D4, L2: it is named."""
    _fails(shop, "no-such-network", networks=["no-such-network"])
