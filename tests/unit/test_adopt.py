"""`controller.loop.adopt`: a container of a project gets its row, as a deployer would make it."""

from __future__ import annotations

import pytest

from controller.errors import Conflict, NotFound
from controller.loop.adopt import adopt_container
from tests.builders import listed
from tests.fakes import FakeWorld
from tests.unit.passes import OF_PROJECT, OF_STACK, Passes


@pytest.fixture
def passes(passes: Passes) -> Passes:
    """One pass has run."""
    passes.tick()
    return passes


def adopt(passes: Passes, workload_id: str, wanted: str) -> str:
    """What `tallyd workload adopt` does."""
    return adopt_container(passes.activation, workload_id, wanted, passes.times.clock)


def test_an_adopted_container_is_filled_by_the_next_pass(passes: Passes, world: FakeWorld) -> None:
    """R9: the row is empty until then, and one of two instances of a project."""
    first = world.run("shop-1", OF_PROJECT)
    second = world.run("shop-2", {**OF_PROJECT, "tallyd.role": "worker", "tallyd.revision": "r1"})
    assert adopt(passes, "shop", "shop-1") == "shop:shop-1"
    assert adopt(passes, "shop", second[:12]) == "shop:shop-2"
    assert passes.states == {"shop:shop-1": "", "shop:shop-2": ""}
    assert {row.last_seen_at for row in passes.rows.values()} == {None}
    passes.tick()
    assert passes.states == {"shop:shop-1": "running", "shop:shop-2": "running"}
    row = passes.rows["shop:shop-2"]
    assert (row.role, row.revision, row.container_id) == ("worker", "r1", second)
    assert passes.rows["shop:shop-1"].container_id == first


@pytest.mark.parametrize(
    ("workload_id", "wanted", "error", "said"),
    [
        ("nothing", "shop-1", NotFound, "'nothing' is not in the store"),
        ("shop", "nothing", NotFound, "no container 'nothing'"),
        ("blog", "web", Conflict, "'blog' is a stack; rows of sites and stacks make themselves"),
        ("shop", "web", Conflict, "must carry the label tallyd.workload.id=shop; it says nothing"),
        ("shop", "other", Conflict, "it says 'other'"),
        ("shop", "broken", Conflict, "cannot be read: State is null"),
    ],
)
def test_what_cannot_be_adopted(
    passes: Passes, world: FakeWorld, workload_id: str, wanted: str, error: type[Exception], said: str
) -> None:
    """R9: only what says itself that it belongs to the project; the reason is told, and no row is made."""
    world.run("shop-1", OF_PROJECT)
    world.run("web", OF_STACK)
    world.run("other", {"tallyd.workload.id": "other"})
    world.add_raw(listed("broken", OF_PROJECT, State=None))
    with pytest.raises(error, match=said):
        adopt(passes, workload_id, wanted)
    assert passes.rows == {}


def test_nobody_is_adopted_twice(passes: Passes, world: FakeWorld) -> None:
    """R9: a container has one row; a name that was taken over by another container is no reason to move it."""
    first = world.run("shop-1", OF_PROJECT)
    adopt(passes, "shop", "shop-1")
    with pytest.raises(Conflict, match="'shop:shop-1'"):
        adopt(passes, "shop", "shop-1")
    world.rename(first, "shop-old")
    world.run("shop-1", OF_PROJECT)
    with pytest.raises(Conflict, match="'shop:shop-1'"):
        adopt(passes, "shop", "shop-1")
    assert set(passes.rows) == {"shop:shop-1"}
