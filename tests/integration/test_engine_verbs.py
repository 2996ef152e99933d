"""The engine's verbs by themselves, on a real engine: bounded, repeatable, and clear about what went wrong."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from controller.engine.containers import ContainerSpec
from controller.engine.endpoint import endpoint_from
from controller.engine.verbs import EngineVerbs
from controller.errors import (
    EngineActionFailed,
    EngineCallCancelled,
    EngineConflict,
    EngineNotFound,
    EngineTimeout,
    EngineUnreachable,
)
from tests.harness import BUSYBOX, PrivateEngine, PrivateRegistry, World, wait_until


@pytest.fixture
def verbs(world: World) -> Iterator[EngineVerbs]:
    """Verbs of the shared engine."""
    made = EngineVerbs(endpoint_from({"DOCKER_HOST": world.engine.endpoint}), own=())
    yield made
    made.cancel()


def spec(world: World, name: str, **options: object) -> ContainerSpec:
    """A container that sleeps."""
    wanted = {"command": ("sleep", "1000"), "labels": {f"{world.prefix}.test": name}, "stop_grace_seconds": 0}
    return ContainerSpec(f"{world.prefix}-{name}", BUSYBOX, **{**wanted, **options})  # type: ignore[arg-type]


def test_every_verb_may_be_repeated(world: World, verbs: EngineVerbs) -> None:
    """D7: also on what is gone, by id and by name."""
    made = verbs.create_container(spec(world, "a"))
    try:
        for _ in range(2):
            verbs.start_container(made)
        seen = verbs.inspect_container(f"{world.prefix}-a")
        assert seen is not None
        assert (seen.id, seen.state, seen.health, seen.stop_grace_seconds) == (made, "running", "", 10)
        assert verbs.list_containers({f"{world.prefix}.test": "a"}) == [seen]
        assert verbs.list_containers({f"{world.prefix}.test": "b"}) == []
        with pytest.raises(EngineConflict, match="is already in use"):
            verbs.create_container(spec(world, "a"))
        for _ in range(2):
            verbs.stop_container(made, 0)
        stopped = verbs.inspect_container(made)
        assert stopped is not None
        assert (stopped.state, stopped.exit_code) == ("exited", 137)
    finally:
        for _ in range(2):
            verbs.remove_container(made)
    verbs.stop_container(made, 0)
    assert verbs.inspect_container(made) is None
    assert verbs.last_lines(made, 5) == []
    with pytest.raises(EngineNotFound, match=made):
        verbs.start_container(made)


def test_the_last_lines_of_both_outputs(world: World, verbs: EngineVerbs) -> None:
    """D4: what a container said before it ended, in order, without the engine's frames."""
    script = "for n in 1 2 3; do echo out $n; done; echo broken >&2"
    container = world.run(command=["sh", "-c", script])
    world.client.wait(container)
    assert sorted(verbs.last_lines(container, 10)) == ["broken", "out 1", "out 2", "out 3"]
    assert len(verbs.last_lines(container, 2)) == 2


def test_two_networks_and_a_missing_one(world: World, verbs: EngineVerbs) -> None:
    """S1, D4: all are joined; where one is missing nothing is left behind."""
    networks = [f"{world.prefix}-{number}" for number in (1, 2)]
    for each in networks:
        world.client.create_network(each)
    try:
        made = verbs.create_container(spec(world, "both", networks=tuple(networks)))
        try:
            verbs.start_container(made)
            seen = verbs.inspect_container(made)
            assert seen is not None
            assert sorted(seen.addresses) == networks
            assert all(seen.addresses.values())
        finally:
            verbs.remove_container(made)
        with pytest.raises(EngineNotFound, match="nowhere"):
            verbs.create_container(spec(world, "lost", networks=(networks[0], "nowhere")))
        assert verbs.inspect_container(f"{world.prefix}-lost") is None
    finally:
        for each in networks:
            world.client.remove_network(each)


def test_a_program_that_is_not_there(world: World, verbs: EngineVerbs) -> None:
    """D4: the engine's own words."""
    made = verbs.create_container(spec(world, "nothing", command=("no-such-program",)))
    try:
        with pytest.raises((EngineActionFailed, EngineNotFound), match="no-such-program"):
            verbs.start_container(made)
    finally:
        verbs.remove_container(made)


def test_a_pull_tells_how_far_it_is(world: World, verbs: EngineVerbs, registry: PrivateRegistry) -> None:
    """D8: layer by layer; resolved and pulled, by tag and by digest, it is the same image."""
    reference, digest = registry.push(world.engine, "shop:1")
    assert verbs.resolve_image(reference) == digest
    assert verbs.find_image(reference) == ""
    told: list[str] = []
    by_digest = f"{registry.address}/shop@{digest}"
    for each in (by_digest, reference):
        verbs.pull_image(each, told=told.append)
    try:
        assert any(digest in line for line in told)
        assert verbs.find_image(by_digest) == verbs.find_image(reference) == verbs.find_image(BUSYBOX) != ""
    finally:
        world.client.remove_image(reference)


def test_no_verb_waits_longer_than_its_deadline(own_engine: PrivateEngine) -> None:
    """D4, R3: with an engine that is frozen, and with one that is gone; cancelled, none begins."""
    endpoint = endpoint_from({"DOCKER_HOST": own_engine.endpoint})
    verbs, hasty = EngineVerbs(endpoint, own=()), EngineVerbs(endpoint, timeout_seconds=1, own=())
    made = verbs.create_container(ContainerSpec("shop", BUSYBOX, command=("sleep", "1000")))
    with own_engine.paused():
        # It falls silent once the signal has reached all its threads.
        late = wait_until(lambda: _late(hasty, made), 30, "the engine is silent")
    assert "start" in str(late)
    verbs.start_container(made)
    own_engine.kill()
    with pytest.raises(EngineUnreachable, match="cannot be reached"):
        verbs.inspect_container(made)
    verbs.cancel()
    with pytest.raises(EngineCallCancelled, match="the controller stops"):
        verbs.inspect_container(made)


def _late(verbs: EngineVerbs, container_id: str) -> EngineTimeout | None:
    try:
        verbs.start_container(container_id)
    except EngineTimeout as error:
        return error
    return None
