"""`tallyd deploy` where something outside is in the way: the old one serves, and the revision is failed."""

from __future__ import annotations

from typing import Any

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
