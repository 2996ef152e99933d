"""History as a stream, from a real `tallyd run`."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.harness import World, wait_until
from tests.integration.console import Console, Controller, Tallyd, settings_of

STREAM = {"Accept": "text/event-stream"}


@contextlib.contextmanager
def stream(controller: Controller, path: str = "", **headers: str) -> Iterator[http.client.HTTPResponse]:
    """An open stream of events."""
    connection = http.client.HTTPConnection(urlsplit(controller.address).netloc, timeout=20)
    try:
        connection.request("GET", f"/api/v1/events{path}", headers=STREAM | headers)
        yield connection.getresponse()
    finally:
        connection.close()


def next_event(answer: http.client.HTTPResponse) -> tuple[int, dict[str, Any]]:
    """Id and data of the next message; comments are passed over."""
    number = 0
    while line := answer.readline():
        name, _, value = line.decode().strip().partition(": ")
        if name == "id":
            number = int(value)
        if name == "data":
            return number, json.loads(value)
    raise AssertionError("the stream ended")


def test_a_stream_tells_goes_on_and_ends_with_the_controller(world: World, sqlite_url: str, tmp_path: Path) -> None:
    """S5, R3: what happens is told as it happens; a reader goes on where it was; nobody holds up the end."""
    labels = {f"{world.prefix}.workload.id": "blog", f"{world.prefix}.role": "web"}
    with contextlib.closing(Console()) as console:
        settings = settings_of(world.engine.endpoint, sqlite_url, tmp_path, TALLYD_LABEL_PREFIX=world.prefix)
        tallyd = Tallyd(console, tmp_path, settings)
        tallyd.tick()
        tallyd.apply({"id": "blog", "kind": "stack"})
        with tallyd.running() as controller:
            controller.wait_ready().wait_for_metric("tallyd_event_stream_connected", 1)
            with stream(controller, "?workload=blog") as told:
                assert told.status == 200
                assert told.getheader("Content-Type", "").startswith("text/event-stream")
                web = world.run(labels=labels)
                first, event = next_event(told)
                assert (event["kind"], event["workload_id"], event["subject"]) == ("state", "blog", "blog:web")
            world.kill(web)
            with stream(controller, "?workload=blog&kind=cause", **{"Last-Event-ID": str(first)}) as told:
                number, event = next_event(told)
                assert number > first
                assert event["actor"] == "somebody else (engine API)"
                assert event["details"]["exit_code"] == 137
                bad = controller.request("GET", "/api/v1/events", headers=STREAM | {"Last-Event-ID": "x"})
                assert bad.status == 422
                code, seconds = controller.terminate()
                assert code == 0
                assert seconds < 3
            assert "Traceback" not in controller.text
        followed = tallyd.ok("events", "--workload", "blog", "--since", "1h", "-o", "json").json
        assert first in [each["id"] for each in followed]


def test_there_are_not_too_many_streams(world: World, sqlite_url: str, tmp_path: Path) -> None:
    """S5: sixteen, and one more when one of them ends."""
    with contextlib.closing(Console()) as console, contextlib.ExitStack() as stack:
        tallyd = Tallyd(console, tmp_path, settings_of(world.engine.endpoint, sqlite_url, tmp_path))
        controller = stack.enter_context(tallyd.running()).wait_ready()
        answers = [stack.enter_context(stream(controller)) for _ in range(15)]
        with stream(controller) as last:
            assert {each.status for each in (*answers, last)} == {200}
            with stream(controller) as refused:
                assert refused.status == 503
        wait_until(lambda: _opens(controller), 20, "there is room again")


def _opens(controller: Controller) -> bool:
    with stream(controller) as one:
        return one.status == 200
