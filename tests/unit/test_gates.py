"""`controller.rollout.gates`: what is looked at between two shifts of traffic, over real sockets."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from controller.rollout.deployer import Deployment
from controller.rollout.gates import Gates, HttpProbe, PrometheusQuery, all_of, gate_of, held_for
from controller.rollout.walker import Verdict
from tests.builders import HOST
from tests.unit.rollouts import SHOP

DEPLOYMENT = Deployment(SHOP, {}, None, HOST)
VECTOR = '{"status":"success","data":{"resultType":"vector","result":[%s]}}'


@contextmanager
def answering(*answers: tuple[int, str]) -> Iterator[tuple[str, list[str]]]:
    """A server that gives these answers, the last one for ever; its URL, and the paths it was asked for."""
    left, asked = list(answers), []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            status, body = left.pop(0) if len(left) > 1 else left[0]
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            """Nothing on stderr."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


def test_a_probe_wants_good_answers_in_a_row() -> None:
    """L2: and asks for the revision by its id."""
    with answering((200, ""), (204, ""), (399, "")) as (url, asked):
        verdict = HttpProbe(f"{url}/health/{{revision}}")(DEPLOYMENT, "shop-2")
    assert verdict == Verdict(passed=True, checks={"http": f"{url}/health/shop-2: 3 good answers"})
    assert asked == ["/health/shop-2"] * 3


@pytest.mark.parametrize("status", [400, 404, 500, 503])
def test_a_bad_answer_closes_the_gate(status: int) -> None:
    """L2: the first one is told, and nothing more is asked."""
    with answering((200, ""), (status, "")) as (url, asked):
        verdict = HttpProbe(url)(DEPLOYMENT, "shop-2")
    assert not verdict.passed
    assert verdict.checks == {"http": f"{url}: status {status} (request 2 of 3)"}
    assert len(asked) == 2


def test_nobody_there_closes_the_gate() -> None:
    """L2: a gate that cannot look is not passed."""
    with answering((200, "")) as (url, _):
        pass
    for gate in (HttpProbe(url), HttpProbe("no url"), PrometheusQuery(url, "up")):
        verdict = gate(DEPLOYMENT, "shop-2")
        assert not verdict.passed
        assert len(verdict.checks) == 1


@pytest.mark.parametrize(
    ("status", "body", "passed", "said"),
    [
        (200, VECTOR % '{"metric":{},"value":[1,"0.5"]}', True, "0.5"),
        (200, VECTOR % '{"metric":{},"value":[1,"2"]},{"metric":{},"value":[1,"3"]}', True, "2, 3"),
        (200, VECTOR % '{"metric":{},"value":[1,"2"]},{"metric":{},"value":[1,"0"]}', False, "2, 0"),
        (200, VECTOR % "", False, "no sample"),
        (200, '{"status":"success","data":{"resultType":"scalar","result":[1,"1"]}}', True, "1"),
        (400, '{"status":"error","errorType":"bad_data","error":"parse error"}', False, "parse error"),
        (502, "<html>", False, "status 502"),
        (200, "<html>", False, "does not answer as Prometheus does"),
        (200, '{"data": {}}', False, "does not answer as Prometheus does"),
        (200, '{"data": {"resultType": "string", "result": [1, "x"]}}', False, "does not answer as Prometheus does"),
        (200, "[]", False, "does not answer as Prometheus does"),
    ],
)
def test_a_condition_of_prometheus(status: int, body: str, passed: bool, said: str) -> None:
    """L2: holds when there is a sample and none is 0."""
    with answering((status, body)) as (url, asked):
        verdict = PrometheusQuery(url + "/", 'up{revision="{revision}",workload="{workload}"}')(DEPLOYMENT, "shop-2")
    assert verdict.passed is passed
    assert said in verdict.checks["prometheus"]
    assert asked == ["/api/v1/query?query=up%7Brevision%3D%22shop-2%22%2Cworkload%3D%22shop%22%7D"]


def opened(name: str) -> Verdict:
    """What an open gate says."""
    return Verdict(passed=True, checks={name: "good"})


def test_all_gates_up_to_the_first_closed_one() -> None:
    """L2: the checks of those that were asked are told."""
    gates = [
        lambda _deployment, _id: opened("a"),
        lambda _deployment, _id: Verdict(passed=False, checks={"b": "bad"}),
        lambda _deployment, _id: opened("c"),
    ]
    assert all_of(gates)(DEPLOYMENT, "shop-2") == Verdict(passed=False, checks={"a": "good", "b": "bad"})
    assert all_of(gates[:1])(DEPLOYMENT, "shop-2") == opened("a")
    assert all_of([])(DEPLOYMENT, "shop-2") == Verdict(passed=True)


def test_what_is_asked_for_is_what_is_looked_at() -> None:
    """L2: nothing, or all of it in order."""
    assert gate_of(Gates(), threading.Event().wait) is None
    prometheus = '{"data": {"resultType": "scalar", "result": [0, "1"]}}'
    with answering((200, prometheus)) as (url, asked):
        paused: list[float] = []
        gate = gate_of(Gates(url, url, "up == 1", 30.0), lambda seconds: bool(paused.append(seconds)))
        assert gate is not None
        verdict = gate(DEPLOYMENT, "shop-2")
    assert (verdict.passed, list(verdict.checks), paused) == (True, ["http", "prometheus"], [30.0])
    assert len(asked) == 2 * (3 + 1)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"probe": "file:///etc/passwd"}, "probe 'file:///etc/passwd' is no URL"),
        ({"prometheus": "127.0.0.1:9090", "query": "up"}, "prometheus '127.0.0.1:9090' is no URL"),
        ({"prometheus": "http://127.0.0.1:9090"}, "give both or none"),
        ({"query": "up"}, "give both or none"),
    ],
)
def test_what_cannot_be_looked_at_is_refused(given: dict[str, str], told: str) -> None:
    """L2: before anything is deployed."""
    with pytest.raises(ValueError, match=re.escape(told)):
        Gates(**given)  # type: ignore[arg-type]


def test_a_gate_that_has_to_hold() -> None:
    """L2: it is asked again after the time; a stop in between closes it."""
    verdicts = [opened("a"), Verdict(passed=False, checks={"a": "bad"})]
    paused: list[float] = []

    def pause(seconds: float) -> bool:
        paused.append(seconds)
        return False

    assert held_for(lambda _deployment, _id: verdicts.pop(0), 30.0, pause)(DEPLOYMENT, "shop-2").checks == {
        "a": "bad"
    }
    assert paused == [30.0]
    stopped = held_for(lambda _deployment, _id: opened("a"), 30.0, lambda _seconds: True)(DEPLOYMENT, "shop-2")
    assert stopped == Verdict(passed=False, checks={"a": "good", "stopped": "the controller stops"})
    closed = Verdict(passed=False)
    assert held_for(lambda _deployment, _id: closed, 30.0, pause)(DEPLOYMENT, "shop-2") is closed
