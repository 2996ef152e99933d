"""compose.yaml, brought up by the real Compose: our image, Debian's nginx as socket proxy, Debian's Prometheus."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.chart.programs import import_program
from tests.chart.rendering import CHART
from tests.chart.shipped import IMAGE, ROOT, Shipped
from tests.harness import World, require, wait_until
from tests.harness.components import SEARCH_PATH, compose_command

pytest_plugins = ["tests.chart.plugin"]

FILE = ROOT / "compose.yaml"
PROFILES = ("observe", "direct", "prometheus")
UP_SECONDS = 120.0
RUNNING_SITE = re.compile(
    rb'^tallyd_containers\{(?=.*workload_kind="site")(?=.*state="running").*\} 1\.0$', re.MULTILINE
)

READS = [
    "/_ping",
    "/version",
    "/info",
    "/containers/json?all=1",
    "/images/json",
    "/v1.41/version",
    "/v1.41/containers/json",
]
REFUSED = [
    ("POST", "/containers/create"),
    ("POST", "/v1.41/images/create?fromImage=x"),
    ("POST", "/containers/json"),
    ("DELETE", "/v1.41/containers/@ID"),
    ("PUT", "/containers/@ID/archive?path=/"),
    ("GET", "/containers/@ID/json"),
    ("GET", "/containers/@ID/logs?stdout=1"),
    ("GET", "/containers/@ID/archive?path=/etc/passwd"),
    ("GET", "/v1.41/containers/json/../@ID/json"),
    ("GET", "/containers/json%2f..%2f@ID%2fjson"),
    ("GET", "/version%0a"),
    ("GET", "/v1.41/version%0d%0aX: y"),
    ("GET", "/images/@ID/get"),
    ("GET", "/secrets"),
    ("GET", "/volumes"),
    ("GET", "/"),
]


class Stack:
    """One Compose project of compose.yaml on the engine that has our image."""

    def __init__(self, shipped: Shipped, *profiles: str) -> None:
        require("compose")
        self.project = f"stack{secrets.token_hex(3)}"
        self._profiles = [argument for profile in profiles for argument in ("--profile", profile)]
        self._environment = {
            "PATH": SEARCH_PATH,
            "HOME": os.environ.get("HOME", "/"),
            "DOCKER_HOST": shipped.engine.endpoint,
            "DOCKER_GID": str(shipped.engine.socket_path.stat().st_gid),
            "DOCKER_SOCKET_DIRECTORY": str(shipped.engine.directory),
            "CONTROLLER_IMAGE": IMAGE,
            "NGINX_IMAGE": "nginx:host",
            "PROMETHEUS_IMAGE": "prometheus:host",
            "TALLYD_INTERVAL_SECONDS": "1",
            "CONTROLLER_PORT": str(_free_port()),
            "PROMETHEUS_PORT": str(_free_port()),
        }
        self.tallyd = f"http://127.0.0.1:{self._environment['CONTROLLER_PORT']}"
        self.prometheus = f"http://127.0.0.1:{self._environment['PROMETHEUS_PORT']}"

    def compose(self, *arguments: str) -> str:
        """A Compose command on the project; it must succeed."""
        done = subprocess.run(
            [*compose_command(), "--file", str(FILE), "--project-name", self.project, *self._profiles, *arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=UP_SECONDS,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(url: str, method: str = "GET") -> tuple[int, bytes]:
    """Status and body; status 0 where nothing answers."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
    except OSError:
        return 0, b""


@pytest.fixture(scope="module")
def observing(shipped: Shipped) -> Iterator[Stack]:
    """Controller behind the proxy, and Prometheus; ready."""
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(contextlib.closing(shipped.engine.client()))
        for name in ("nginx", "prometheus"):
            import_program(client, name, f"{name}:host")
        project = Stack(shipped, "observe", "prometheus")
        stack.callback(project.compose, "down", "--volumes", "--timeout", "1")
        project.compose("up", "--detach")
        wait_until(lambda: ask(f"{project.tallyd}/-/ready")[0] == 200, UP_SECONDS, "tallyd is ready behind the proxy")
        yield project


@pytest.fixture(scope="module")
def proxy(shipped: Shipped, observing: Stack) -> str:
    """The address of the socket proxy on the internal network."""
    found = shipped.docker("ps", "--quiet", "--filter", f"name={observing.project}_socket-proxy").stdout.split()
    found = (
        found or shipped.docker("ps", "--quiet", "--filter", f"name={observing.project}-socket-proxy").stdout.split()
    )
    (inspected,) = json.loads(shipped.docker("inspect", *found).stdout)
    (network,) = inspected["NetworkSettings"]["Networks"].values()
    return f"{network['IPAddress']}:2375"


@pytest.fixture
def world(shipped: Shipped) -> Iterator[World]:
    """Containers on the engine that runs the stack."""
    made = World(shipped.engine)
    try:
        yield made
    finally:
        made.remove_all()
        made.close()


def test_the_controller_observes_through_the_proxy(shipped: Shipped, observing: Stack, world: World) -> None:
    """Issue 4.2: controller, GET-only proxy and Prometheus come up from compose.yaml, and the index is kept."""
    container = shipped.docker("ps", "--quiet", "--filter", "ancestor=" + IMAGE).stdout.split()[0]
    declared = "workloads: [{id: docs, kind: site, ref: docs.example}]"
    applied = shipped.docker(
        "exec", "--interactive", container, "tallyd", "workload", "apply", "-f", "-", stdin=declared
    )
    assert applied.returncode == 0, applied.stderr
    world.run(labels={"tallyd.static-site": "docs.example"})
    metrics = f"{observing.tallyd}/metrics"
    wait_until(lambda: RUNNING_SITE.search(ask(metrics)[1]), UP_SECONDS, "the site is indexed")


def test_events_arrive_through_the_proxy(observing: Stack) -> None:
    """R20, issue 4.2: the proxy passes the event stream, unbuffered and for long."""
    connected = b"tallyd_event_stream_connected 1.0"
    wait_until(
        lambda: connected in ask(f"{observing.tallyd}/metrics")[1], UP_SECONDS, "the event stream is connected"
    )


def test_the_proxy_lets_through_what_the_controller_reads(proxy: str) -> None:
    """Issue 4.2: `_ping|version|info|events|containers/json|images/json`, with and without a version, by GET."""
    for path in READS:
        assert ask(f"http://{proxy}{path}")[0] == 200, path
    assert ask(f"http://{proxy}/_ping", "HEAD")[0] == 200


@pytest.mark.parametrize(("method", "path"), REFUSED)
def test_the_proxy_refuses_everything_else(shipped: Shipped, proxy: str, method: str, path: str) -> None:
    """Issue 4.2: nothing that writes, nothing that reads more than lists, and no other spelling of a path."""
    identifier = shipped.docker("ps", "--quiet").stdout.split()[0]
    assert _raw(proxy, method, path.replace("@ID", identifier)) in (400, 403)
    assert shipped.docker("inspect", identifier).returncode == 0


def _raw(address: str, method: str, path: str) -> int:
    """The status of a request whose path is sent as it stands."""
    host, _, port = address.partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(
            f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
        )
        return int(connection.makefile("rb").readline().split()[1])


def test_prometheus_scrapes_and_has_the_rules(observing: Stack) -> None:
    """Issue 4.2, 4.4: the Prometheus of compose.yaml scrapes the controller and has loaded the alert rules."""

    def target() -> str:
        status, body = ask(f"{observing.prometheus}/api/v1/targets")
        targets: list[dict[str, Any]] = json.loads(body)["data"]["activeTargets"] if status == 200 else []
        return "".join(each["health"] for each in targets)

    wait_until(lambda: target() == "up", UP_SECONDS, "the target is up")
    groups = json.loads(ask(f"{observing.prometheus}/api/v1/rules")[1])["data"]["groups"]
    shipped_rules = yaml.safe_load((CHART / "files/alerts.yaml").read_text())["groups"]
    assert [len(group["rules"]) for group in groups] == [len(group["rules"]) for group in shipped_rules]


def test_every_container_is_hardened(shipped: Shipped) -> None:
    """Issue 4.2: read-only, no capability, no new rights; only tallyd's own port is open, and on loopback only."""
    services = yaml.safe_load(Stack(shipped, *PROFILES).compose("config"))["services"]
    assert set(services) == {"tallyd", "tallyd-observe", "socket-proxy", "prometheus"}
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert all("127.0.0.1" in str(port) for port in service.get("ports", [])), name
    assert "ports" not in services["socket-proxy"]
    assert list(services["socket-proxy"]["networks"]) == ["engine"]
    assert not any("engine" in str(volume) for volume in services["tallyd-observe"]["volumes"])


def test_the_controller_stands_at_the_socket(shipped: Shipped) -> None:
    """Issue 4.2: the same file with the profile `direct`: beside the engine by its socket directory."""
    project = Stack(shipped, "direct")
    with contextlib.ExitStack() as stack:
        stack.callback(project.compose, "down", "--volumes", "--timeout", "1")
        project.compose("up", "--detach")
        wait_until(lambda: ask(f"{project.tallyd}/-/ready")[0] == 200, UP_SECONDS, "tallyd is ready at the socket")


def test_forgetting_the_group_says_what_to_do(shipped: Shipped) -> None:
    """Issue 4.2: without the socket's group nothing works; Compose says how to find it out."""
    project = Stack(shipped, "direct")
    del project._environment["DOCKER_GID"]
    with pytest.raises(AssertionError, match="stat -c %g"):
        project.compose("config")
