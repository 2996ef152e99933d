"""`controller.engine.client`: a listing is complete and from a known engine, or it is an error."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from controller.engine.client import EngineClient
from controller.engine.endpoint import Endpoint
from controller.errors import (
    EngineAnswerInvalid,
    EngineCallCancelled,
    EngineError,
    EngineTimeout,
    EngineUnreachable,
)
from tests.builders import ENGINE_ID, listed
from tests.fakes import FakeDocker, FakeWorld, Fault
from tests.harness import wait_until

LISTING = "/containers/json"

Lister = Callable[[EngineClient], object]
LISTERS: dict[str, Lister] = {
    "all": lambda client: client.list_containers(),
    "some": lambda client: client.list_containers({"a" * 64}),
    "in two steps": lambda client: client.begin_listing()(),
}


@pytest.fixture
def impatient(docker: FakeDocker) -> Iterator[EngineClient]:
    """A client that waits for 0.3 s."""
    with closing(EngineClient(Endpoint(docker.endpoint), timeout_seconds=0.3)) as each:
        yield each


def ids(client: EngineClient) -> list[object]:
    """Ids of a complete listing."""
    return [item["Id"] for item in client.list_containers().items]  # type: ignore[index]


def engine_threads() -> list[threading.Thread]:
    """Threads that make calls."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("engine-")]


def test_a_complete_listing(client: EngineClient, world: FakeWorld) -> None:
    """R5: every container in any state, with the engine's id."""
    made = [world.create(), world.run(), world.run()]
    world.kill(made[2])
    listing = client.list_containers()
    assert [item["Id"] for item in listing.items] == made[::-1]  # type: ignore[index]
    assert listing.engine_id == ENGINE_ID
    assert client.begin_listing()().items == listing.items


def test_an_empty_listing_is_a_listing(client: EngineClient) -> None:
    """R6: complete, successful and empty."""
    assert client.list_containers().items == ()


def test_ten_thousand_containers(client: EngineClient, world: FakeWorld) -> None:
    """P5: a listing of any size arrives whole."""
    made = world.many(10_000, lambda number: {"tallyd.workload.id": "shop", "number": str(number)})
    assert len(set(ids(client))) == len(made)


@pytest.mark.parametrize("lister", LISTERS.values(), ids=LISTERS)
@pytest.mark.parametrize(
    ("fault", "error", "said"),
    [
        (Fault.NULL, EngineAnswerInvalid, "no list: 'null'"),
        (Fault.HTML, EngineAnswerInvalid, "not JSON: '<html>"),
        (Fault.EMPTY, EngineAnswerInvalid, "an empty body"),
        (Fault.ERROR, EngineAnswerInvalid, "answered 500.*containerd is not running"),
        (b'{"message": "no"}', EngineAnswerInvalid, "no list"),
        (b'"[]"', EngineAnswerInvalid, "no list"),
        (b"7", EngineAnswerInvalid, "no list"),
        (b'[{"Id": "a"}', EngineAnswerInvalid, "not JSON"),
        (b'[{"Id": "a"}]]', EngineAnswerInvalid, "not JSON"),
        (b'[{"Id": "\\ud800"}]', EngineAnswerInvalid, "not JSON"),
        (b'[{"Id": "\xff"}]', EngineAnswerInvalid, "not JSON"),
        (b"[" * 100_000, EngineAnswerInvalid, "not JSON"),
        (Fault.TRUNCATED, EngineUnreachable, "broke off|cannot reach"),
        (Fault.CUT, EngineUnreachable, "broke off|cannot reach"),
        (Fault.CLOSE, EngineUnreachable, "cannot reach"),
    ],
    ids=lambda value: str(value)[:24] if isinstance(value, Fault | bytes) else "",
)
def test_what_is_no_listing_is_an_error(
    docker: FakeDocker,
    client: EngineClient,
    lister: Lister,
    fault: Fault | bytes,
    error: type[EngineError],
    said: str,
) -> None:
    """R6: never an empty or a shorter list; the same client goes on once the engine does."""
    docker.world.many(200)
    assert len(client.begin_listing()().items) == 200, "every container is known, which must not help half an answer"
    with docker.answering(LISTING, fault), pytest.raises(error, match=said) as failed:
        lister(client)
    assert len(str(failed.value)) < 400
    assert len(client.list_containers().items) == 200


@pytest.mark.parametrize("fault", [Fault.HANG, Fault.DRIP])
def test_an_answer_that_is_not_complete_in_time_is_an_error(
    docker: FakeDocker, impatient: EngineClient, fault: Fault
) -> None:
    """R6, pitfall 2: the deadline is for the whole answer; a byte now and then does not prolong it."""
    docker.world.many(10)
    slowly = docker.answering(LISTING, fault, interval_seconds=0.05)
    with slowly, pytest.raises(EngineTimeout, match=r"0\.3 s|does not answer"):
        impatient.list_containers()
    assert len(impatient.list_containers().items) == 10
    # One is kept for the next call.
    wait_until(lambda: len(engine_threads()) == 1, what="threads that were left behind end by themselves")


def test_a_hang_that_ends_in_time_is_no_error(docker: FakeDocker, client: EngineClient) -> None:
    """R6: an engine that is slow is waited for."""
    container = docker.world.run()
    docker.answer_with(LISTING, Fault.HANG)
    finish = client.begin_listing()
    wait_until(lambda: docker.held, what="the request hangs")
    docker.answer_normally()
    assert [item["Id"] for item in finish().items] == [container]  # type: ignore[index]


def test_cancel_ends_the_call_in_flight_and_refuses_later_ones(docker: FakeDocker, client: EngineClient) -> None:
    """R3: whoever waits for a hanging engine is freed at once, for good."""
    docker.answer_with(LISTING, Fault.HANG)
    errors: list[EngineError] = []

    def wait() -> None:
        try:
            client.list_containers()
        except EngineError as error:
            errors.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    wait_until(lambda: docker.held, what="the request hangs")
    client.cancel()
    waiting.join(10)
    assert [type(error) for error in errors] == [EngineCallCancelled]
    with pytest.raises(EngineCallCancelled, match="the controller stops"):
        client.list_containers()
    client.cancel()


def test_no_socket(tmp_path: Path) -> None:
    """O1: what is wrong is told by where and what."""
    said = f"there is no socket at unix://{tmp_path}.*DOCKER_HOST"
    lost = EngineClient(Endpoint(f"unix://{tmp_path}/docker.sock"))
    with closing(lost), pytest.raises(EngineUnreachable, match=said):
        lost.list_containers()


def test_a_socket_without_an_engine(tmp_path: Path) -> None:
    """O1: what a killed engine leaves behind."""
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(tmp_path / "docker.sock"))
    lost = EngineClient(Endpoint(f"unix://{tmp_path}/docker.sock"))
    with closing(lost), pytest.raises(EngineUnreachable, match="nothing listens"):
        lost.list_containers()


def test_a_forbidden_socket(docker: FakeDocker) -> None:
    """O1: what to do about it."""
    docker.socket_path.chmod(0)
    docker.directory.chmod(0o755)
    root = os.geteuid() == 0
    if root:
        os.setresuid(65534, 65534, 0)
    try:
        said = r"permission denied.*member of the socket's group"
        forbidden = EngineClient(Endpoint(docker.endpoint))
        with closing(forbidden), pytest.raises(EngineUnreachable, match=said):
            forbidden.list_containers()
    finally:
        if root:
            os.setresuid(0, 0, 0)


def test_an_engine_that_goes_and_comes_back(client: EngineClient, docker: FakeDocker) -> None:
    """R6, F: a kept connection that broke is not the end; the next call makes another."""
    container = docker.world.run()
    assert ids(client) == [container]
    docker.drop_connections()
    wait_until(lambda: _listed_or_failed(client) == [container], what="the client reconnects")


def _listed_or_failed(client: EngineClient) -> list[object]:
    try:
        return ids(client)
    except EngineUnreachable:
        return []


@pytest.mark.parametrize(("api", "path"), [("1.41", "/v1.41"), ("1.52", "/v1.52"), ("1.24", "/v1.24")])
def test_the_newest_version_that_the_engine_speaks_is_used(api: str, path: str) -> None:
    """Pitfall 5: never a version of ours: the floor of engines rises."""
    with FakeDocker(api=api, minimum_api=api) as docker, closing(EngineClient(Endpoint(docker.endpoint))) as each:
        docker.world.run()
        assert len(each.list_containers().items) == 1
        assert each.version().api == path.removeprefix("/v")


def test_the_version_is_asked_for_again_after_a_failure(docker: FakeDocker, client: EngineClient) -> None:
    """Pitfall 5: an engine may come back newer, and refuse the version that it spoke before."""
    client.list_containers()
    docker.api = docker.minimum_api = "1.52"
    with pytest.raises(EngineAnswerInvalid, match=r"1\.41 is too old"):
        client.list_containers()
    assert client.list_containers().items == ()


def test_the_list_does_not_need_the_version_page(docker: FakeDocker, client: EngineClient) -> None:
    """Pitfall 5: with containerd stopped /version hangs while listing works."""
    docker.answer_with("/version", Fault.HANG)
    assert client.list_containers().items == ()
    assert docker.requests["/version"] == 0


def test_the_engine_id_is_asked_for_once_per_connection(docker: FakeDocker, client: EngineClient) -> None:
    """R18, P1: the same open connection leads to the same engine."""
    for _ in range(5):
        assert client.list_containers().engine_id == ENGINE_ID
    assert docker.requests["/info"] == 1


@pytest.mark.parametrize("keep_alive", [True, False])
def test_another_engine_behind_the_socket_is_noticed(
    docker: FakeDocker, client: EngineClient, keep_alive: bool
) -> None:
    """R18: also where a proxy ends the connection after each answer."""
    docker.keep_alive = keep_alive
    assert client.list_containers().engine_id == ENGINE_ID
    docker.become("ANOTHER")
    wait_until(lambda: _engine_or_failed(client), what="the client reconnects")
    assert client.list_containers().engine_id == "ANOTHER"


def _engine_or_failed(client: EngineClient) -> str:
    try:
        return client.list_containers().engine_id
    except EngineUnreachable:
        return ""


def test_podman_is_known_by_where_it_keeps_its_data(docker: FakeDocker, client: EngineClient) -> None:
    """R18: Podman's API makes a new id for every answer."""
    docker.server = "Libpod/4.3.1 (linux)"
    first = client.engine_id()
    assert first == client.engine_id() == f"podman:fake:{docker.directory}"


@pytest.mark.parametrize("body", [b"{}", b'{"ID": ""}', b'{"ID": null}', b"[]", b"null", b"oops"])
def test_an_engine_without_an_id_is_an_error(docker: FakeDocker, client: EngineClient, body: bytes) -> None:
    """R18: a listing of which nobody knows whose it is is no listing."""
    with docker.answering("/info", body), pytest.raises(EngineAnswerInvalid, match="info"):
        client.list_containers()
    assert client.list_containers().engine_id == ENGINE_ID


def test_what_doctor_asks(docker: FakeDocker, client: EngineClient) -> None:
    """O1: versions, clock, and the labels baked into images."""
    docker.add_image("forged:1", {"tallyd.workload.id": "shop"})
    version = client.version()
    assert (version.server, version.api, version.minimum_api) == ("20.10.24", "1.41", "1.12")
    assert version.operating_system == "linux"
    assert abs((datetime.now(UTC) - client.time()).total_seconds()) < 60
    assert client.image_labels() == {"forged:1": {"tallyd.workload.id": "shop"}}


def test_images_without_names_go_by_their_id(docker: FakeDocker, client: EngineClient) -> None:
    """O1: dangling images are looked at too; what is no image is passed over."""
    images = [
        {"Id": "sha256:1", "RepoTags": None, "Labels": {"a": "b"}},
        {"Id": "sha256:2", "RepoTags": [], "Labels": {"c": "d"}},
        {"Id": "sha256:3", "RepoTags": ["x:1"], "Labels": None},
        None,
    ]
    with docker.answering("/images/json", orjson.dumps(images)):
        assert client.image_labels() == {"sha256:1": {"a": "b"}, "sha256:2": {"c": "d"}}


@pytest.mark.parametrize(
    ("path", "ask"),
    [
        ("/version", EngineClient.version),
        ("/images/json", EngineClient.image_labels),
        ("/info", EngineClient.engine_id),
        ("/_ping", EngineClient.time),
    ],
)
def test_every_question_may_fail_in_our_words_only(
    docker: FakeDocker, client: EngineClient, path: str, ask: Callable[[EngineClient], object]
) -> None:
    """House: no exception of docker-py, requests or urllib3 leaves the client."""
    for fault in (Fault.ERROR, Fault.CLOSE, Fault.TRUNCATED, Fault.CUT):
        with docker.answering(path, fault), pytest.raises(EngineError):
            ask(client)
    ask(client)


def test_every_request_is_observed(docker: FakeDocker) -> None:
    """O5: operation, result and seconds, of failed ones too."""
    seen: list[tuple[str, str]] = []
    clock = iter(float(number) for number in range(100))
    observer: Callable[[str, str, float], None] = lambda *args: seen.append(args[:2]) if args[2] >= 1 else None  # noqa: E731
    with closing(EngineClient(Endpoint(docker.endpoint), observer=observer, monotonic=lambda: next(clock))) as each:
        each.list_containers()
        each.list_containers({"a" * 64})
        with docker.answering(LISTING, Fault.NULL), pytest.raises(EngineAnswerInvalid):
            each.list_containers()
        with docker.answering(LISTING, Fault.ERROR), pytest.raises(EngineAnswerInvalid):
            each.begin_listing()()
    assert seen == [
        ("list", "ok"),
        ("info", "ok"),
        ("list_some", "ok"),
        ("list", "ok"),
        ("list", "EngineAnswerInvalid"),
    ]


def test_targeted_listings(client: EngineClient, world: FakeWorld) -> None:
    """R20: exactly the named containers, in any state; an unknown id is simply not there."""
    first, second, _third = world.create(), world.run(), world.run()
    listing = client.list_containers({first, second, "f" * 64})
    assert {item["Id"] for item in listing.items} == {first, second}  # type: ignore[index]
    assert listing.engine_id == ENGINE_ID


def test_hostile_containers_do_not_spoil_the_listing(client: EngineClient, world: FakeWorld) -> None:
    """R17: what is JSON is passed on as it is; judging it is not the client's business."""
    world.run()
    for item in (None, 7, [], {}, {"Id": None}, listed(Names=None), listed("deep", Labels={"a": '},{"Id":"'})):
        world.add_raw(item)
    for _ in range(2):
        assert len(client.begin_listing()().items) == 8
        assert list(client.begin_listing()().items) == world.listing()


def test_a_proxy_of_the_environment_is_not_for_the_engine(
    docker: FakeDocker, client: EngineClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """O2: `HTTP_PROXY` is set on many machines."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert client.list_containers().items == ()


def test_closing_leaves_no_thread(docker: FakeDocker) -> None:
    """R3: what hangs is let go with the engine's socket."""
    client = EngineClient(Endpoint(docker.endpoint), timeout_seconds=60)
    docker.answer_with(LISTING, Fault.HANG)
    finish = client.begin_listing()
    wait_until(lambda: docker.held, what="the request hangs")
    client.close()
    with pytest.raises(EngineCallCancelled):
        finish()
    docker.stop()
    wait_until(lambda: not engine_threads(), what="the thread ends with the connection")
