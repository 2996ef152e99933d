"""A disk that is full while an image is pulled: the old version serves, the trouble is told, and space ends it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import BUSYBOX, PrivateEngine, PrivateRegistry, World
from tests.integration.console import Console, Tallyd, settings_of
from tests.integration.test_deploy import Shop

DISK_MEGABYTES = 96
IMAGE_MEGABYTES = 20


@pytest.fixture
def small_world() -> Iterator[World]:
    """An engine with little space for what it stores."""
    engine = PrivateEngine(DISK_MEGABYTES)
    engine.start()
    try:
        with contextlib.closing(World(engine)) as made:
            yield made
    finally:
        engine.stop()


@pytest.fixture
def small_shop(small_world: World, sqlite_url: str, tmp_path: Path) -> Iterator[Shop]:
    """A shop on it."""
    runtime = tmp_path / "runtime" / "runtime.json"
    runtime.parent.mkdir()
    given = {"TALLYD_LABEL_PREFIX": small_world.prefix, "TALLYD_RUNTIME_CONFIG": str(runtime)}
    with contextlib.closing(Console()) as console:
        settings = settings_of(small_world.engine.endpoint, sqlite_url, tmp_path, **given)
        made = Shop(Tallyd(console, tmp_path, settings), small_world, runtime)
        made.tallyd.tick()
        yield made
        made.remove()


def _large_image(world: World) -> str:
    """busybox with so many megabytes that no compression makes smaller."""
    name = "large:local"
    container = world.client.create_container(
        BUSYBOX, ["dd", "if=/dev/urandom", "of=/large", "bs=1M", f"count={IMAGE_MEGABYTES}"]
    )
    world.client.start(container)
    world.client.wait(container)
    world.client.commit(container, *name.split(":"))
    world.client.remove_container(container)
    return name


def test_a_disk_that_is_full_while_an_image_is_pulled(
    small_shop: Shop, small_world: World, world: World, registry: PrivateRegistry
) -> None:
    """D4, D8, L2: the revision is failed with the engine's words; with space again the same deploy works."""
    local = _large_image(world)
    reference, _ = registry.push(world.engine, "large:1", local)
    world.client.remove_image(local, force=True)
    small_shop.declare("v1")
    small_shop.deploy()
    served = small_shop.runtime.read_text()
    ballast = Path(small_world.engine.data_root) / "ballast"  # type: ignore[attr-defined]  # it is a private one
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as filled:
        while True:
            filled.write(bytes(2**20))
    os.truncate(ballast, ballast.stat().st_size - IMAGE_MEGABYTES // 2 * 2**20)

    small_shop.declare("v2", image=reference)
    answer = small_shop.deploy(exit_code=1)
    assert "no space left on device" in answer["detail"]
    assert "no space left on device" in answer["checks"]["engine"]
    assert small_shop.states() == {"shop-1": "ready", "shop-2": "failed"}
    assert small_shop.runtime.read_text() == served
    assert [each["State"] for each in small_world.client.containers(all=True)] == ["running"]
    (shown,) = [each for each in small_shop.tallyd.ok("revision", "list", "shop", "-o", "json").json
                if each["id"] == "shop-2"]  # fmt: skip
    assert "no space left on device" in str(shown)

    ballast.unlink()
    answer = small_shop.deploy()
    assert (answer["arrived"], answer["revision_id"]) == (True, "shop-3")
    assert small_shop.states() == {"shop-1": "inactive", "shop-2": "failed", "shop-3": "ready"}
