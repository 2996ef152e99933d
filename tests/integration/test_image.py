"""The image: built by the classic builder on a real engine, and run beside that engine as an operator runs it."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from controller import __version__
from tests.chart.shipped import BASE, SECRETS, Shipped, build
from tests.harness import PrivateEngine, World, wait_until

pytest_plugins = ["tests.chart.plugin"]

USER = 65532
START_SECONDS = 60.0
# What our part may add to its base: the environment with its compiled modules.
MOST_BYTES_OF_OURS = 130_000_000
RUNNING_SITE = re.compile(
    rb'^tallyd_containers\{(?=.*workload_kind="site")(?=.*state="running").*\} 1\.0$', re.MULTILINE
)
TOKEN = "a-token-of-the-test-1234"


class Running:
    """A container of the image, and its HTTP port by the address that it has on the engine's bridge."""

    def __init__(self, shipped: Shipped, *options: str) -> None:
        self._shipped = shipped
        self.name = f"tallyd-{secrets.token_hex(4)}"
        self.started = shipped.docker("run", "--detach", "--name", self.name, *options, shipped.name)
        assert self.started.returncode == 0, self.started.stderr
        self.address = self.inspect()["NetworkSettings"]["IPAddress"]

    def close(self) -> None:
        """Remove it and its anonymous volume."""
        self._shipped.docker("rm", "--force", "--volumes", self.name)

    def docker(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The `docker` command on the engine that runs it."""
        return self._shipped.docker(*arguments)

    def inspect(self) -> dict[str, Any]:
        """What the engine knows of it."""
        (found,) = json.loads(self._shipped.docker("inspect", self.name).stdout)
        return dict(found)

    def log(self) -> str:
        """What it has logged."""
        done = self._shipped.docker("logs", self.name)
        return done.stdout + done.stderr

    def tallyd(self, *arguments: str, stdin: str = "") -> str:
        """A command within the running container; it must succeed."""
        done = self._shipped.docker("exec", "--interactive", self.name, "tallyd", *arguments, stdin=stdin)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def get(self, path: str, token: str = "") -> tuple[int, bytes]:
        """Status and body of an answer; status 0 while the port is not open."""
        request = urllib.request.Request(f"http://{self.address}:9477{path}")
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()
        except OSError:
            return 0, b""

    def wait_for(self, path: str, status: int = 200) -> None:
        """Wait until a probe answers so."""

        def answered() -> bool:
            assert self.inspect()["State"]["Running"], self.log()
            return self.get(path)[0] == status

        wait_until(answered, START_SECONDS, f"{path} answers {status}")


@pytest.fixture
def world(shipped: Shipped) -> Iterator[World]:
    """Containers on the engine that has the image."""
    made = World(shipped.engine)
    try:
        yield made
    finally:
        made.remove_all()
        made.close()


def beside(shipped: Shipped, engine: PrivateEngine, volume: str) -> list[str]:
    """Options of `docker run` as in docs/install/image.md: read-only, without rights, beside an engine's socket."""
    return [
        *("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
        *("--volume", f"{engine.directory}:/run/engine:ro"),
        *("--volume", f"{volume}:/var/lib/tallyd"),
        *("--group-add", str(engine.socket_path.stat().st_gid)),
        *("--env", "DOCKER_HOST=unix:///run/engine/docker.sock"),
        *("--env", "TALLYD_HOST=web-1", "--env", "TALLYD_INTERVAL_SECONDS=1"),
        *("--env", f"TALLYD_API_TOKEN={TOKEN}", "--env", "TALLYD_LOG_FORMAT=json"),
    ]


@pytest.fixture(scope="module")
def running(shipped: Shipped) -> Iterator[Running]:
    """The controller in its container, ready; tests of this module share it."""
    with contextlib.closing(Running(shipped, *beside(shipped, shipped.engine, "shared"))) as started:
        started.wait_for("/-/ready")
        yield started


def image(shipped: Shipped, name: str = "") -> dict[str, Any]:
    """What the engine knows of an image."""
    (found,) = json.loads(shipped.docker("image", "inspect", name or shipped.name).stdout)
    return dict(found)


def test_the_image_says_what_it_is(shipped: Shipped) -> None:
    """Issue 4.1: OCI labels, with the version of the package, which stands in one place."""
    labels = image(shipped)["Config"]["Labels"]
    assert labels == {
        "org.opencontainers.image.title": "tallyd",
        "org.opencontainers.image.description": "The reconciliation controller for plain Docker hosts",
        "org.opencontainers.image.licenses": "Apache-2.0",
        "org.opencontainers.image.version": __version__,
        "org.opencontainers.image.revision": "abc123",
    }


def test_the_image_runs_without_rights(shipped: Shipped) -> None:
    """Issue 4.1: a numeric user that is not root, no shell at the start, and our own CLI as health check."""
    config = image(shipped)["Config"]
    assert config["User"] == f"{USER}:{USER}"
    assert (config["Entrypoint"], config["Cmd"]) == (["tallyd"], ["run"])
    assert config["Healthcheck"]["Test"] == ["CMD", "tallyd", "probe", "--healthy"]
    assert list(config["Volumes"]) == ["/var/lib/tallyd"]


def test_the_image_is_small(shipped: Shipped) -> None:
    """Issue 4.1: small. No pip, no build tools, no wheel and no lock are in it: only the base and one folder."""
    assert image(shipped)["Size"] - image(shipped, BASE)["Size"] < MOST_BYTES_OF_OURS
    listed = shipped.docker(
        "run", "--rm", "--entrypoint", "find", shipped.name, "/opt/tallyd/bin", "/build", "-type", "f"
    )
    assert "/opt/tallyd/bin/tallyd" in listed.stdout
    assert "pip" not in listed.stdout
    assert "/build/" not in listed.stdout


def test_only_the_state_belongs_to_the_user(shipped: Shipped) -> None:
    """Issue 4.1: what runs cannot change what runs; nothing but its state is its own or open to everybody."""
    writable = shipped.docker(
        *("run", "--rm", "--entrypoint", "find", shipped.name, "/", "-xdev", "-writable", "-not", "-type", "l"),
        *("-not", "-path", "/proc/*", "-not", "-path", "/dev/*"),
    )
    assert set(writable.stdout.split()) - {"/tmp", "/var/tmp", "/run/lock", "/proc", "/dev"} == {"/var/lib/tallyd"}
    owned = shipped.docker(
        "run", "--rm", "--entrypoint", "stat", shipped.name, "--format", "%u:%g %a", "/var/lib/tallyd"
    )
    assert owned.stdout.strip() == f"{USER}:{USER} 750"


def test_nothing_else_of_the_checkout_reaches_the_engine(shipped: Shipped) -> None:
    """Issue 4.1: `.dockerignore` lets in what the image is made of and nothing else."""
    probe = "FROM busybox:local\nCOPY . /context\n"
    (shipped.context / "probe.Dockerfile").write_text(probe)
    done = shipped.docker(
        "build", "--file", str(shipped.context / "probe.Dockerfile"), "--tag", "probe:test", str(shipped.context)
    )
    assert done.returncode == 0, done.stderr
    listed = shipped.docker("run", "--rm", "probe:test", "find", "/context", "-type", "f").stdout.split()
    assert "/context/controller/daemon.py" in listed
    assert not [path for path in listed for secret in SECRETS if path.endswith(secret)]
    assert not [path for path in listed if "__pycache__" in path or "Dockerfile" in path]


def test_a_build_without_a_base_says_what_to_do(shipped: Shipped) -> None:
    """Issue 4.1: the base image is a build argument, and forgetting it is an error that names it."""
    done = build(shipped.engine, shipped.context)
    assert done.returncode != 0
    assert "--build-arg_BASE_IMAGE=" in done.stderr
    assert "@sha256:" in done.stderr


def test_the_container_keeps_the_index_of_its_engine(world: World, running: Running) -> None:
    """Issue 4.1, O4, O5: read-only beside the engine, probes answer, metrics are served, labelled containers are
    indexed, and what was declared within the container decides."""
    running.tallyd("workload", "apply", "-f", "-", stdin="workloads: [{id: docs, kind: site, ref: docs.example}]")
    container = world.run(labels={"tallyd.static-site": "docs.example"})

    def rows() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(running.get("/api/v1/containers", TOKEN)[1])["items"]
        return found

    def indexed() -> bool:
        return [row["state"] for row in rows()] == ["running"]

    wait_until(indexed, START_SECONDS, "the container is indexed as running")
    assert [(row["id"], row["container_id"], row["host"]) for row in rows()] == [("docs:site", container, "web-1")]
    assert json.loads(running.tallyd("ps", "--output", "json"))[0]["id"] == "docs:site"
    status, metrics = running.get("/metrics")
    assert status == 200
    assert RUNNING_SITE.search(metrics)
    assert running.get("/-/healthy")[0] == 200
    assert running.get("/api/v1/containers")[0] == 401


def test_the_health_check_works(running: Running) -> None:
    """Issue 4.1: HEALTHCHECK through our own CLI, as the engine calls it; and it can fail."""
    running.tallyd("probe", "--healthy")
    running.tallyd("probe", "--ready")
    failing = running.docker("exec", running.name, "tallyd", "probe", "--ready", "http://127.0.0.1:9")
    assert failing.returncode == 1
    (check,) = [running.inspect()["Config"]["Healthcheck"]["Test"]]
    done = running.docker("exec", running.name, *check[1:])
    assert done.returncode == 0, done.stderr


def test_nothing_but_the_state_is_written(running: Running) -> None:
    """Issue 4.1: with a read-only root file system, all that the running controller wrote lies in its volume."""
    written = running.docker("diff", running.name).stdout.split("\n")
    assert [line for line in written if line and not line.endswith(("/run", "/run/engine"))] == []
    listed = running.docker("exec", running.name, "find", "/var/lib/tallyd", "-name", "tallyd.db")
    assert listed.stdout.strip(), "the store is in the volume"


def test_the_container_stops_by_itself_and_its_state_stays(shipped: Shipped) -> None:
    """R3, issue 4.1: as process 1 it ends on SIGTERM by itself, with 0, before the engine would kill it; and a newer
    container on the same volume has the same workloads."""
    options = beside(shipped, shipped.engine, "kept")
    with contextlib.closing(Running(shipped, *options)) as first:
        first.wait_for("/-/ready")
        first.tallyd("workload", "apply", "-f", "-", stdin="workloads: [{id: kept, kind: stack}]")
        assert shipped.docker("stop", "--time", "60", first.name).returncode == 0
        state = first.inspect()["State"]
        assert (state["ExitCode"], state["OOMKilled"]) == (0, False)
        assert '"stopped"' in first.log()
    with contextlib.closing(Running(shipped, *options)) as second:
        second.wait_for("/-/ready")
        assert "kept" in second.tallyd("workload", "list")


def test_a_restarted_engine_is_found_again(shipped: Shipped, own_engine: PrivateEngine) -> None:
    """Issue 4.1, PITFALLS 10: the socket's directory is mounted, so that the new socket of an engine that was
    restarted under the running container is seen."""
    with contextlib.closing(Running(shipped, *beside(shipped, own_engine, "watching"))) as watching:
        watching.wait_for("/-/ready")
        own_engine.halt()
        watching.wait_for("/-/ready", 503)
        own_engine.start()
        watching.wait_for("/-/ready")
