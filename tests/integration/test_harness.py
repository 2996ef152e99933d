"""The harness itself: what the other tests take for granted is true."""

from __future__ import annotations

import contextlib
import socket
import struct
import urllib.request
from pathlib import Path

import psycopg
import pytest
from docker import APIClient

from tests.harness import LABELLED, SAMPLE_STACK, Engine, PrivateEngine, PrivatePostgres, World, wait_until
from tests.harness.remains import daemons_of

LINKS = Path("/sys/class/net")


def engine_id(engine: Engine) -> str:
    with contextlib.closing(engine.client()) as client:
        return str(client.info()["ID"])


def test_two_engines_have_different_ids(engine: Engine, own_engine: PrivateEngine) -> None:
    assert engine_id(engine) != engine_id(own_engine)


def test_a_restart_keeps_id_and_containers_and_replaces_the_socket(
    own_engine: PrivateEngine, own_world: World
) -> None:
    container = own_world.run(labels={"tallyd.workload.id": "shop"})
    before = own_engine.socket_path.stat().st_ino, engine_id(own_engine)
    own_engine.restart()
    assert own_engine.socket_path.stat().st_ino != before[0]
    assert engine_id(own_engine) == before[1]
    assert own_world.state(container) == "exited"


def test_a_killed_engine_comes_back_and_a_stopped_one_leaves_nothing(
    own_engine: PrivateEngine, own_world: World
) -> None:
    container = own_world.run(published={80: None})
    own_world.pause(own_world.run())
    own_world.client.create_network("leftover")
    own_engine.kill()
    own_engine.start()
    assert own_world.state(container) == "exited"
    own_world.stick_in_removing(container)
    own_engine.pause()
    directory, bridge = own_engine.directory, LINKS / own_engine.directory.name
    assert bridge.exists()
    own_engine.stop()
    own_engine.stop()
    assert not directory.exists()
    assert not bridge.exists()
    assert daemons_of(directory) == []
    assert str(directory) not in Path("/proc/self/mountinfo").read_text()


def test_a_paused_engine_accepts_and_does_not_answer(own_engine: PrivateEngine) -> None:
    def is_silent() -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(0.3)
            connection.connect(str(own_engine.socket_path))
            connection.sendall(b"GET /_ping HTTP/1.1\r\nHost: engine\r\n\r\n")
            try:
                connection.recv(1)
            except TimeoutError:
                return True
            return False

    with own_engine.paused():
        wait_until(is_silent, 10, "the signal has reached all of its threads")
    assert engine_id(own_engine)


def test_containers_go_through_their_states(world: World) -> None:
    created = world.create(labels={"a": "b"}, exposed=[(53, "udp"), 80])
    running = world.run("harness-before", published={80: None}, command=["httpd", "-f", "-p", "80", "-h", "/www"])
    assert world.state(created) == "created"
    world.rename(running, "harness-after")
    listed = {item["Id"]: item for item in world.listing()}
    assert listed[created]["Labels"] == {"a": "b"}
    assert listed[running]["Names"] == ["/harness-after"]
    port = listed[running]["Ports"][0]["PublicPort"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
        assert answer.read() == b"busybox:local\n"
    world.pause(running)
    assert world.state(running) == "paused"
    world.unpause(running)
    world.kill(running)
    assert world.state(running) == "exited"
    world.rm(running)
    assert world.state(running) == ""


def test_health_and_restart_loop(world: World) -> None:
    healthy = world.run(healthcheck=["true"])
    looping = world.run(command=["false"], restart_policy="always")
    world.wait_health(healthy, "healthy")
    world.wait_state(looping, "restarting")


def test_image_labels_are_container_labels(world: World) -> None:
    container = world.create(image=LABELLED)
    labels = {item["Id"]: item["Labels"] for item in world.listing()}
    assert labels[container] == {"tallyd.workload.id": "from-image"}


def test_stuck_in_removing_and_cured(own_world: World) -> None:
    container = own_world.run()
    own_world.stick_in_removing(container)
    own_world.unstick()
    own_world.remove_all()
    assert own_world.state(container) == ""


def test_many_are_made_and_removed(world: World) -> None:
    made = world.many(20, lambda number: {"number": str(number)})
    labels = {item["Id"]: item["Labels"]["number"] for item in world.listing() if item["Id"] in made}
    assert [labels[container] for container in made] == [str(number) for number in range(20)]
    world.remove_all()
    assert not {item["Id"] for item in world.listing()} & set(made)


def test_compose_scales_a_service(world: World, tmp_path: Path) -> None:
    (tmp_path / "docker-compose.yml").write_text(SAMPLE_STACK)
    world.compose_up(tmp_path, "tallyd-harness", scale={"web": 2})
    labels = [item["Labels"] for item in world.listing()]
    stack = [item for item in labels if item.get("com.docker.compose.project") == "tallyd-harness"]
    numbered = {(item["com.docker.compose.service"], item["com.docker.compose.container-number"]) for item in stack}
    assert numbered == {("web", "1"), ("web", "2"), ("db", "1")}


def test_each_database_is_fresh(postgres: PrivatePostgres, postgres_url: str) -> None:
    other = postgres.fresh_database()
    for url in (postgres_url, other):
        with contextlib.closing(psycopg.connect(url.replace("+psycopg", ""))) as connection:
            assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)
            connection.execute("CREATE TABLE t (i int)")
            connection.commit()
    postgres.drop(other)


def test_a_database_server_can_hang_and_be_down_and_keeps_its_data(
    postgres: PrivatePostgres, postgres_url: str
) -> None:
    url = postgres_url.replace("+psycopg", "")
    postgres.pause()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(0.2)
        connection.connect(f"{postgres.directory}/.s.PGSQL.5432")
        connection.sendall(struct.pack("!ii", 8, 80877103))  # SSLRequest, answered with one byte
        with pytest.raises(TimeoutError):
            connection.recv(1)
        postgres.resume()
        assert connection.recv(1) == b"N"
    postgres.halt()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
    postgres.start()
    with contextlib.closing(psycopg.connect(url)) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_the_client_is_the_low_level_one(engine: Engine) -> None:
    with contextlib.closing(engine.client()) as client:
        assert isinstance(client, APIClient)
        assert client.ping()
