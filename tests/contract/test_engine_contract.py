"""Everything that tallyd believes of an engine, asked of the fake and of a real one.

Without this suite a test that passes against the fake would prove nothing.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from controller.labels import LabelNames
from controller.loop.observe import observe
from store.records import Container
from tests.builders import IMAGE, listed
from tests.contract.conftest import Engine, opened
from tests.fakes import FakeDocker
from tests.harness import PrivateEngine, World, wait_until

LABELS = {"tallyd.workload.id": "shop", "tallyd.role": "web", "emoji": "🐋", "newline": "a\nb", "empty": ""}


def observed(engine: Engine, container: str) -> Container:
    """One container as tallyd sees it."""
    seen = observe(engine.client.list_containers().items, LabelNames())
    return next(each for each in seen.containers if each.id == container)


def test_a_created_container_is_listed_with_every_field_that_is_read(any_engine: Engine) -> None:
    """R5: the listing is all that the loop reads, so these fields must be there and of this shape."""
    container = any_engine.world.create("contract-created", LABELS, exposed=[80])
    item = any_engine.item(container)
    assert len(container) == 64
    assert item["Names"] == ["/contract-created"]
    assert item["Image"] == IMAGE
    assert item["ImageID"].startswith("sha256:")
    assert item["Labels"] == LABELS
    assert item["State"] == "created"
    assert item["Status"] == "Created"
    assert item["Ports"] == []
    assert isinstance(item["Created"], int)


def test_items_of_the_fake_have_the_keys_and_types_of_real_ones(real: Engine) -> None:
    """R17: what counts as readable is decided on real shapes; a newer engine may add keys."""
    container = real.world.run(labels=LABELS, published={80: None})
    theirs = real.item(container)
    ours = listed(labels=LABELS, ports=theirs["Ports"])
    assert ours.keys() <= theirs.keys()
    assert {key: type(value) for key, value in ours.items()} == {key: type(theirs[key]) for key in ours}


def test_a_running_container_tells_its_ports(any_engine: Engine) -> None:
    """R13: ports come in no certain order and are the lowest private one first, UDP and unpublished ones too."""
    container = any_engine.world.run(exposed=[9000, (53, "udp")], published={8080: None})
    public = next(port["PublicPort"] for port in any_engine.item(container)["Ports"] if "PublicPort" in port)
    seen = observed(any_engine, container)
    assert seen.port == 53
    assert seen.ports == (
        '[{"private":53,"type":"udp","ip":"","public":0},'
        f'{{"private":8080,"type":"tcp","ip":"127.0.0.1","public":{public}}},'
        '{"private":9000,"type":"tcp","ip":"","public":0}]'
    )


def test_states_follow_the_life_of_a_container(any_engine: Engine) -> None:
    """R13: the words that the listing has for the states, and ours."""
    world = any_engine.world
    container = world.create()
    steps: list[tuple[Any, str, str]] = [
        (world.start, "running", "running"),
        (world.pause, "paused", "paused"),
        (world.unpause, "running", "running"),
        (world.kill, "exited", "stopped"),
        (world.start, "running", "running"),
        (world.stop, "exited", "stopped"),
        (world.restart, "running", "running"),
    ]
    for change, theirs, ours in steps:
        change(container)
        assert any_engine.item(container)["State"] == theirs
        assert observed(any_engine, container).state == ours


def test_a_removed_container_is_not_listed(any_engine: Engine) -> None:
    """R6, R14: absence from a complete listing means that the container is gone."""
    kept, removed = any_engine.world.run(), any_engine.world.run()
    any_engine.world.rm(removed)
    ids = {item["Id"] for item in any_engine.client.list_containers().items}  # type: ignore[index]
    assert kept in ids
    assert removed not in ids


def test_a_renamed_container_keeps_its_id(any_engine: Engine) -> None:
    """R9: rows are found by container id, which a rename leaves alone."""
    container = any_engine.world.run("contract-before", LABELS)
    any_engine.world.rename(container, "contract-after")
    item = any_engine.item(container)
    assert item["Names"] == ["/contract-after"]
    assert item["Labels"] == LABELS


def test_without_a_health_check_there_is_no_health(any_engine: Engine) -> None:
    """R13: health comes from the listing, and a running container without a check has none."""
    container = any_engine.world.run()
    assert any_engine.item(container)["Status"].startswith("Up ")
    assert observed(any_engine, container).health == "none"


@pytest.mark.parametrize(("command", "health"), [("true", "healthy"), ("false", "unhealthy")])
def test_health_is_told_by_the_status(real: Engine, fake: Engine, command: str, health: str) -> None:
    """R13: below API 1.52 the status text is the only place of the listing that tells health."""
    theirs = real.world.run(healthcheck=[command])
    real.world.wait_health(theirs, health)
    ours = fake.world.run()
    fake.world.set_health(ours, health)
    for engine, container in ((real, theirs), (fake, ours)):
        assert engine.item(container)["Status"].endswith(f"({health})")
        assert observed(engine, container).health == health


def test_the_newest_container_is_listed_first(any_engine: Engine) -> None:
    """R16: the order is no promise of Docker's, but the fake must not hide a dependence on it."""
    made = [any_engine.world.create() for _ in range(3)]
    items = any_engine.client.list_containers().items
    assert [item["Id"] for item in items if item["Id"] in made] == made[::-1]  # type: ignore[index]


def test_only_running_ones_without_all(any_engine: Engine) -> None:
    """R5: a listing without `all=1` is not complete; tallyd must ask for it."""
    stopped, running = any_engine.world.create(), any_engine.world.run()
    ids = {item["Id"] for item in any_engine.get("/containers/json").json()}
    assert running in ids
    assert stopped not in ids


@pytest.fixture(params=["fake", "real"])
def empty_engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Both engines, without a container."""
    if request.param == "fake":
        yield request.getfixturevalue("fake")
        return
    own: PrivateEngine = request.getfixturevalue("own_engine")
    with opened(own.endpoint, request.getfixturevalue("own_world")) as each:
        yield each


def test_no_container_is_an_empty_list(empty_engine: Engine) -> None:
    """R6: "there is none" is `[]`, so `null` can be taken for a failure."""
    assert empty_engine.get("/containers/json", all="1").content.strip() == b"[]"
    assert empty_engine.client.list_containers().items == ()


def test_the_engine_id_is_stable(any_engine: Engine) -> None:
    """R18: an engine is known by an id that does not change from call to call or client to client."""
    first = any_engine.client.engine_id()
    assert first
    assert any_engine.client.list_containers().engine_id == first
    assert any_engine.docker.info()["ID"] == first


def test_listing_by_id(any_engine: Engine) -> None:
    """R20: a targeted pass lists the named containers, stopped ones too, by ids whole or shortened."""
    world = any_engine.world
    first, second, third = world.create(labels=LABELS), world.run(), world.run()
    wanted = any_engine.docker.containers(all=True, filters={"id": [first, second[:16]]})
    assert {item["Id"] for item in wanted} == {first, second}
    assert third not in {item["Id"] for item in wanted}
    assert next(item for item in wanted if item["Id"] == first)["Labels"] == LABELS
    assert any_engine.docker.containers(all=True, filters={"id": ["f" * 64]}) == []


def test_an_unknown_filter_is_refused(any_engine: Engine) -> None:
    """R6: an engine that does not know a filter says so and lists nothing."""
    refused = any_engine.get("/containers/json", all="1", filters='{"nonsense":["1"]}')
    assert refused.status_code == 400
    assert "nonsense" in refused.json()["message"]


def test_versioned_and_plain_paths(any_engine: Engine) -> None:
    """Pitfall 5: the path may carry any version between the oldest and the newest that the engine speaks."""
    api = any_engine.docker.version()["ApiVersion"]
    assert any_engine.get(f"/v{api}/containers/json", all="1").status_code == 200
    too_new = any_engine.get("/v1.999/containers/json", all="1")
    assert too_new.status_code == 400
    assert too_new.json()["message"] == (f"client version 1.999 is too new. Maximum supported API version is {api}")
    assert any_engine.get("/v1.1/containers/json", all="1").status_code == 400
    lost = any_engine.get("/nowhere")
    assert (lost.status_code, lost.json()) == (404, {"message": "page not found"})


def test_a_ping_tells_api_version_and_time(any_engine: Engine) -> None:
    """O1: `doctor` compares versions and clocks by the headers of a ping."""
    ping = any_engine.get("/_ping")
    assert ping.content == b"OK"
    assert ping.headers["Api-Version"] == any_engine.client.version().api
    assert ping.headers["Server"].startswith("Docker/")
    assert abs((datetime.now(UTC) - any_engine.client.time()).total_seconds()) < 60


def test_a_version_tells_what_doctor_shows(any_engine: Engine) -> None:
    """O1: `doctor` names the engine's version, its newest and oldest API and its system."""
    said = any_engine.client.version()
    assert (said.server.split(".")[0].isdigit(), said.operating_system) == (True, "linux")
    assert said.minimum_api < said.api


def test_labels_of_images(fake: Engine, fake_docker: FakeDocker, real: Engine) -> None:
    """O1: `doctor` finds labels of ours baked into images; images without labels have `null`."""
    real.world.create(image="labelled:local")
    fake_docker.add_image("labelled:local", {"tallyd.workload.id": "from-image"})
    for engine in (fake, real):
        assert engine.client.image_labels()["labelled:local"] == {"tallyd.workload.id": "from-image"}
        bare = next(image for image in engine.docker.images() if image["RepoTags"] == [IMAGE])
        assert bare["Labels"] is None


@contextlib.contextmanager
def watched(engine: Engine) -> Iterator[list[dict[str, Any]]]:
    """Container events, collected by a thread from the moment of the subscription on."""
    events: list[dict[str, Any]] = []
    stream = engine.docker.events(decode=True, filters={"type": "container"})
    reader = threading.Thread(target=events.extend, args=(stream,), daemon=True)
    reader.start()
    try:
        yield events
    finally:
        stream.close()
        reader.join(5)
        assert not reader.is_alive()


def test_events_name_action_and_container(any_engine: Engine) -> None:
    """R20: `Action` and `Actor.ID` of every event that a targeted pass starts from, in order."""
    world = any_engine.world
    with watched(any_engine) as events:
        container = world.run("contract-events", LABELS)
        world.rename(container, "contract-renamed")
        for change in (world.pause, world.unpause, world.kill, world.start, world.stop, world.rm):
            change(container)
        wait_until(lambda: any(event["Action"] == "destroy" for event in events), what="a destroy event")
    ours = [event for event in events if event["Actor"]["ID"] == container]
    assert [event["Action"] for event in ours] == [
        *("create", "start", "rename", "pause", "unpause"),
        *("kill", "die", "start", "kill", "die", "stop", "destroy"),
    ]
    renamed = next(event for event in ours if event["Action"] == "rename")
    assert renamed["Actor"]["Attributes"]["oldName"] == "/contract-events"
    assert renamed["Actor"]["Attributes"]["name"] == "contract-renamed"
    assert {event["Type"] for event in ours} == {"container"}
    assert ours[0]["Actor"]["Attributes"].items() >= {"name": "contract-events", **LABELS}.items()


def test_past_events_are_replayed_between_two_times(any_engine: Engine) -> None:
    """R20: `since` replays what is kept, `until` ends the stream without an error."""
    before = int(time.time())
    container = any_engine.world.run()
    any_engine.world.rm(container)
    past = any_engine.docker.events(
        decode=True, since=before, until=int(time.time()) + 1, filters={"type": "container"}
    )
    actions = [event["Action"] for event in past if event["Actor"]["ID"] == container]
    assert actions == ["create", "start", "kill", "die", "destroy"]


def test_events_of_health_are_found_by_their_first_word(real: Engine, fake: Engine) -> None:
    """R20: the filter `health_status` lets "health_status: healthy" through, and no exec events."""
    for engine in (real, fake):
        before = int(time.time())
        if engine is real:
            container = engine.world.run(healthcheck=["true"])
            engine.world.wait_health(container, "healthy")
        else:
            container = engine.world.run()
            engine.world.set_health(container, "healthy")
        wanted = {"type": "container", "event": ["health_status"]}
        past = engine.docker.events(decode=True, since=before, until=int(time.time()) + 1, filters=wanted)
        assert [each["Action"] for each in past if each["Actor"]["ID"] == container] == ["health_status: healthy"]


def test_a_killed_engine_ends_its_event_stream_without_an_error(
    fake: Engine, fake_docker: FakeDocker, own_engine: PrivateEngine, own_world: World
) -> None:
    """R20: the end of the stream is the only sign of an engine that was killed."""
    with opened(own_engine.endpoint, own_world) as real:
        for engine, kill in ((fake, fake_docker.world.end_event_streams), (real, own_engine.kill)):
            stream = engine.docker.events(decode=True)
            kill()
            assert list(stream) == []
