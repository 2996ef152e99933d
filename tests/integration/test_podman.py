"""Podman: its Docker-compatible API as an engine of `tallyd`, and as the kubelet that runs the chart's pod."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from docker import APIClient

from tests.chart.components import program, start
from tests.chart.rendering import controller, documents, of_kind, template, workload
from tests.chart.shipped import Shipped
from tests.harness import BUSYBOX, World, require, wait_until
from tests.harness.images import import_images
from tests.integration.console import Console, Tallyd, settings_of

pytest_plugins = ["tests.chart.plugin"]

PODMAN_SECONDS = 240.0
READY_SECONDS = 90.0
# crun, Podman's default, refuses machines whose cgroups are of both kinds; Podman's own limits need systemd.
CONFIGURATION = """\
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
"""
IMAGE = "localhost/tallyd:test"
NODE = "node-1"


class Podman:
    """A private Podman: its own storage, and its API on a socket of its own."""

    def __init__(self) -> None:
        require("root")
        for name in ("podman", "runc", "catatonit"):
            program(name)
        # Short, as sockets lie below it; on a disk, as containers do.
        self.directory = Path(tempfile.mkdtemp(prefix="tdm", dir="/var/tmp"))
        (self.directory / "containers.conf").write_text(CONFIGURATION)
        self.endpoint = f"unix://{self.directory}/podman.sock"
        self._service: subprocess.Popen[bytes] | None = None

    @property
    def _environment(self) -> dict[str, str]:
        return {
            "CONTAINERS_CONF": str(self.directory / "containers.conf"),
            "HOME": str(self.directory),
            # Where its API leaves what it was sent.
            "TMPDIR": str(self.directory),
            "PATH": os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin",
        }

    @property
    def _command(self) -> list[str]:
        folders = {name: str(self.directory / name) for name in ("root", "runroot", "tmpdir")}
        return ["podman", *(f"--{name}={folder}" for name, folder in folders.items())]

    def serve(self) -> None:
        """Start its API."""
        command = [*self._command, "system", "service", "--time", "0", self.endpoint]
        self._service = start(command, self.directory / "service.log", self._environment)
        wait_until(self._answers, READY_SECONDS, "Podman's API answers")

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(READY_SECONDS)
            try:
                connection.connect(f"{self.directory}/podman.sock")
                connection.sendall(b"GET /_ping HTTP/1.1\r\nHost: podman\r\n\r\n")
                return connection.recv(64).startswith(b"HTTP/1.1 200")
            except OSError:
                return False

    def __call__(self, *arguments: str) -> str:
        """One `podman` command, which must succeed."""
        done = subprocess.run(
            [program("podman"), *self._command[1:], *arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=PODMAN_SECONDS,
        )
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def close(self) -> None:
        """Remove every trace."""
        try:
            self("pod", "rm", "--all", "--force", "--time", "0")
            self("rm", "--all", "--force", "--time", "0")
        finally:
            if self._service is not None:
                self._service.send_signal(signal.SIGKILL)
                self._service.wait(10)
            mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
            for mount in sorted((each for each in mounts if each.startswith(f"{self.directory}/")), reverse=True):
                subprocess.run(["umount", "--lazy", mount], capture_output=True, check=False)
            shutil.rmtree(self.directory, ignore_errors=True)


@pytest.fixture(scope="module")
def podman() -> Iterator[Podman]:
    """The Podman of this module, with its API."""
    started = Podman()
    try:
        started.serve()
        yield started
    finally:
        started.close()


@pytest.fixture
def client(podman: Podman) -> Iterator[APIClient]:
    """A Docker client on Podman's API."""
    with contextlib.closing(APIClient(base_url=podman.endpoint, timeout=60)) as opened:
        import_images(opened, [BUSYBOX])
        # Podman's import takes no notice of the tag.
        opened.tag("busybox:latest", *BUSYBOX.split(":"))
        yield opened


@pytest.fixture
def tallyd(podman: Podman, client: APIClient, tmp_path: Path) -> Iterator[Tallyd]:
    """`tallyd` with Podman for its engine."""
    with contextlib.closing(Console()) as console:
        url = f"sqlite:///{tmp_path}/tallyd.db"
        settings = settings_of(podman.endpoint, url, tmp_path, TALLYD_INTERVAL_SECONDS="1")
        made = Tallyd(console, tmp_path, settings)
        made.apply({"id": "docs", "kind": "site", "ref": "docs.example"}, {"id": "blog", "kind": "stack"})
        yield made


def run(client: APIClient, name: str, **labels: str) -> str:
    """A container without a network, which Podman would need more programs for."""
    host = client.create_host_config(network_mode="none")
    made = client.create_container(
        BUSYBOX, ["sleep", "600"], name=name, labels=labels, host_config=host, stop_signal="SIGKILL"
    )
    client.start(made["Id"])
    return str(made["Id"])


def states(tallyd: Tallyd) -> dict[str, str]:
    """State of each row."""
    return {row["id"]: row["state"] for row in tallyd.ps()}


def test_the_tick_on_podman(client: APIClient, tallyd: Tallyd) -> None:
    """Issue 4.2, R5, R10, R13, R14: a tick against real Podman by its API socket: found, stopped, gone, back."""
    site = run(client, "site", **{"tallyd.static-site": "docs.example"})
    web = run(client, "web", **{"tallyd.workload.id": "blog", "tallyd.role": "web"})
    report = tallyd.tick()
    assert (report["outcome"], report["listed"], report["inserted"]) == ("complete", 2, 2)
    assert states(tallyd) == {"docs:site": "running", "blog:web": "running"}
    assert {row["container_id"] for row in tallyd.ps()} == {site, web}
    client.stop(site, timeout=0)
    client.remove_container(web, force=True)
    assert tallyd.tick()["missing"] == 1
    assert states(tallyd) == {"docs:site": "stopped", "blog:web": "missing"}
    client.start(site)
    again = run(client, "web", **{"tallyd.workload.id": "blog", "tallyd.role": "web"})
    assert tallyd.tick()["recovered"] == 1
    assert states(tallyd) == {"docs:site": "running", "blog:web": "running"}
    for container in (site, again):
        client.remove_container(container, force=True)


def test_the_controller_on_podman(client: APIClient, tallyd: Tallyd) -> None:
    """Issue 4.2, R20: `tallyd run` on Podman's socket is ready, hears its events, and keeps the index."""
    with tallyd.running() as daemon:
        daemon.wait_ready()
        daemon.wait_for_metric("tallyd_event_stream_connected", 1)
        container = run(client, "site", **{"tallyd.static-site": "docs.example"})
        wait_until(lambda: states(tallyd) == {"docs:site": "running"}, READY_SECONDS, "the site is indexed")
        client.remove_container(container, force=True)
        wait_until(lambda: states(tallyd) == {"docs:site": "missing"}, READY_SECONDS, "the site is missing")


@pytest.fixture(scope="module")
def pod(podman: Podman, shipped: Shipped, image_archive: Path) -> Iterator[str]:
    """The chart's pod, run by Podman beside the engine of the test; the address of its HTTP port."""
    podman("load", "--input", str(image_archive))
    listed = json.loads(
        podman("images", "--format", "json", "--filter", "label=org.opencontainers.image.title=tallyd")
    )
    podman("tag", listed[0]["Id"], IMAGE)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    manifest = podman.directory / "pod.yaml"
    manifest.write_text(yaml.safe_dump_all(_manifests(shipped, podman.directory / "state", port)))
    podman("play", "kube", str(manifest))
    yield f"http://127.0.0.1:{port}"
    podman("play", "kube", "--down", str(manifest))


def _manifests(shipped: Shipped, state: Path, port: int) -> list[dict[str, Any]]:
    engine = shipped.engine
    values = {
        "mode": "daemonset",
        "daemonset": {
            "socketDirectory": str(engine.directory),
            "socketName": engine.socket_path.name,
            "socketGroup": engine.socket_path.stat().st_gid,
        },
        "store": {"sqlite": {"hostDirectory": str(state)}},
        "config": {"interval_seconds": 1},
        "image": {"repository": IMAGE.partition(":")[0], "tag": IMAGE.partition(":")[2], "pullPolicy": "Never"},
        "port": port,
    }
    rendered = template("--values", "-", stdin=yaml.safe_dump(values))
    assert rendered.returncode == 0, rendered.stderr
    resources = documents(rendered.stdout)
    return [*of_kind(resources, "ConfigMap"), _as_the_kubelet_sees_it(workload(resources)["spec"]["template"])]


def _as_the_kubelet_sees_it(pod_template: dict[str, Any]) -> dict[str, Any]:
    """A pod of the DaemonSet, with what only a cluster does done here: the node's name, probes, network."""
    spec = dict(pod_template["spec"], hostNetwork=True)
    container = controller(spec)
    for name in ("startupProbe", "livenessProbe", "readinessProbe", "ports"):
        del container[name]
    for variable in container["env"]:
        if variable.get("valueFrom") == {"fieldRef": {"fieldPath": "spec.nodeName"}}:
            del variable["valueFrom"]
            variable["value"] = NODE
    spec["containers"] = [container]
    # Podman would remove an init container as soon as it has ended, and fails where it takes it for running still.
    keep = {"io.podman.annotations.init.container.type": "always"}
    metadata = {"name": "chart", "labels": pod_template["metadata"]["labels"], "annotations": keep}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def ask(url: str) -> tuple[int, str]:
    """Status and body; status 0 where nothing answers."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return 0, ""


def test_the_charts_pod_really_runs(podman: Podman, pod: str) -> None:
    """Issue 4.3: the rendered pod, run by `podman play kube`: probes answered, metrics scraped, hardened."""
    container = "chart-tallyd"
    wait_until(lambda: ask(f"{pod}/-/ready")[0] == 200, READY_SECONDS, "the pod is ready")
    assert ask(f"{pod}/-/healthy")[0] == 200
    assert "tallyd_build_info{" in ask(f"{pod}/metrics")[1]
    (inspected,) = json.loads(podman("inspect", container))
    assert inspected["HostConfig"]["ReadonlyRootfs"] is True
    assert inspected["Config"]["User"] == "65532:65532"
    assert inspected["EffectiveCaps"] in (None, [])
    podman("exec", container, "tallyd", "probe", "--ready")


def test_the_charts_pod_keeps_the_index(podman: Podman, shipped: Shipped, pod: str) -> None:
    """Issue 4.3: in mode daemonset the pod has the node's name for its host, and indexes the node's engine."""
    wait_until(lambda: ask(f"{pod}/-/ready")[0] == 200, READY_SECONDS, "the pod is ready")
    manifest = podman.directory / "state/workloads.yaml"
    manifest.write_text("workloads: [{id: pods, kind: site, ref: pods.example}]")
    podman("exec", "chart-tallyd", "tallyd", "workload", "apply", "-f", "/var/lib/tallyd/workloads.yaml")
    world = World(shipped.engine)
    try:
        world.run(labels={"tallyd.static-site": "pods.example"})

        def rows() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = json.loads(podman("exec", "chart-tallyd", "tallyd", "ps", "-o", "json"))
            return [row for row in found if row["state"] == "running"]

        (row,) = wait_until(rows, READY_SECONDS, "the site is indexed")
        assert (row["id"], row["host"]) == ("pods:site", NODE)
    finally:
        world.remove_all()
        world.close()


def test_the_charts_config_is_read(podman: Podman, pod: str) -> None:
    """Issue 4.3: the ConfigMap is a folder in the container, and the controller has read what is in it."""
    wait_until(lambda: ask(f"{pod}/-/healthy")[0] == 200, READY_SECONDS, "the pod answers")
    assert "interval_seconds: 1" in podman("exec", "chart-tallyd", "cat", "/etc/tallyd/tallyd.yaml")
    hosts = json.loads(podman("exec", "chart-tallyd", "tallyd", "host", "list", "-o", "json"))
    assert [(host["id"], host["interval_seconds"]) for host in hosts] == [(NODE, 1)]
