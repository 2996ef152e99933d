"""`tallyd deploy` on a real engine, behind a real nginx: who serves, and what happens when something is wrong."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import BUSYBOX, World, wait_until
from tests.integration.backends import Load, Visitor, free_port
from tests.integration.console import Console, Tallyd, settings_of

FACES = [{"host": "shop.example"}]


class Shop:
    """A workload of source `image` that tells its version, and a router before it."""

    def __init__(self, tallyd: Tallyd, world: World, runtime: Path) -> None:
        self.tallyd = tallyd
        self.port = free_port()
        self.runtime = runtime
        self._world = world

    def declare(self, version: str, command: str | None = None, **options: Any) -> None:
        """Declare a version: an image that serves its name, unless another command is given."""
        page = json.dumps({"name": version})
        serve = f"mkdir -p /site && echo '{page}' > /site/index.html && exec httpd -f -p 8080 -h /site"
        config = {
            "image": BUSYBOX,
            "command": ["sh", "-c", command or serve],
            "port": 8080,
            "drain_seconds": 2,
            "stop_grace_seconds": 1,
            "start_timeout_seconds": 20,
            **options,
        }
        source = {"kind": "image", "config": config}
        self.tallyd.apply(
            {"id": "shop", "kind": "project", "source": source, "trigger": {"kind": "manual"}, "public_faces": FACES}
        )

    def deploy(self, *arguments: str, exit_code: int = 0) -> dict[str, Any]:
        """Deploy what is declared; the answer as JSON."""
        answer: dict[str, Any] = self.tallyd("deploy", "shop", "-o", "json", *arguments).expect(exit_code).json
        return answer

    def states(self) -> dict[str, str]:
        """Revision → state."""
        return {each["id"]: each["state"] for each in self.tallyd.ok("revision", "list", "shop", "-o", "json").json}

    def shown(self) -> str:
        """Which version a new visitor gets, or the status where none does."""
        visitor = Visitor(self.port)
        try:
            told = visitor.get()
            return told.name if told.status == 200 else str(told.status)
        except OSError:
            return "nobody"
        finally:
            visitor.close()

    @contextlib.contextmanager
    def routed(self) -> Iterator[None]:
        """With a router that follows. Its folder is one that nginx's workers, who are another user, may enter."""
        with tempfile.TemporaryDirectory(prefix="router-") as folder:
            Path(folder).chmod(0o755)
            arguments = ("--file", str(self.runtime), "--listen", f"127.0.0.1:{self.port}", "--folder", folder)
            with self.tallyd.started("router", *arguments, "--drain-seconds", "2", executed=True) as router:
                try:
                    yield
                finally:
                    os.kill(router.process.pid, signal.SIGTERM)
                    router().expect(0)

    def remove(self) -> None:
        """Take every container away."""
        client = self._world.engine.client()
        label = f"{self._world.prefix}.workload.id=shop"
        for each in client.containers(all=True, filters={"label": label}):
            client.remove_container(each["Id"], force=True, v=True)
        client.close()


@pytest.fixture
def shop(world: World, sqlite_url: str, tmp_path: Path) -> Iterator[Shop]:
    """A shop that nobody has deployed yet."""
    with contextlib.closing(Console()) as console:
        runtime = tmp_path / "runtime" / "runtime.json"
        runtime.parent.mkdir()
        settings = settings_of(
            world.engine.endpoint,
            sqlite_url,
            tmp_path,
            TALLYD_LABEL_PREFIX=world.prefix,
            TALLYD_RUNTIME_CONFIG=str(runtime),
        )
        made = Shop(Tallyd(console, tmp_path, settings), world, runtime)
        made.tallyd.tick()
        try:
            yield made
        finally:
            made.remove()


def test_deploys_one_after_the_other_drop_no_request(shop: Shop) -> None:
    """T6, L2: blue-green under a steady load, through a real router; each version serves, and nothing is lost."""
    shop.declare("v1")
    assert [step.split()[0] for step in shop.deploy()["steps"]] == ["stage", "warm", "shift"]
    with shop.routed():
        wait_until(lambda: shop.shown() == "v1", 30, "the first version is served")
        load = Load(shop.port, kept_alive=3, fresh=0)
        for version in ("v2", "v3"):
            shop.declare(version)
            answer = shop.deploy()
            assert answer["arrived"]
            assert [step.split()[0] for step in answer["steps"]][:4] == ["stage", "warm", "shift", "drain"]
            wait_until(lambda version=version: shop.shown() == version, 30, f"{version} is served")
        load.stop()
        assert load.trouble == []
        assert {"v1", "v2", "v3"} <= load.answered.keys()
    assert shop.states() == {"shop-1": "archived", "shop-2": "inactive", "shop-3": "ready"}
    again = shop.deploy()
    assert (again["arrived"], again["steps"], again["revision_id"]) == (True, [], "shop-3")


@pytest.mark.parametrize(
    ("command", "said"), [("echo out of stock; exit 3", "out of stock"), ("exec sleep 1000", "8080")]
)
def test_a_version_that_does_not_come_up(shop: Shop, command: str, said: str) -> None:
    """L2, D8: the old one goes on serving, and the revision is failed with what was seen, its last words too."""
    shop.declare("v1")
    shop.deploy()
    before = shop.runtime.read_text()
    shop.declare("v2", command, start_timeout_seconds=3)
    answer = shop.deploy(exit_code=1)
    assert not answer["arrived"]
    assert said in json.dumps(answer)
    assert shop.states() == {"shop-1": "ready", "shop-2": "failed"}
    assert shop.runtime.read_text() == before
    assert shop.tallyd.ok("split", "show", "shop", "-o", "json").json["entries"] == [
        {"revision_id": "shop-1", "weight": 10_000}
    ]


def test_traefik_is_told_the_same(shop: Shop) -> None:
    """T5, O5: by the controller that runs beside it, as its HTTP provider asks; revisions are counted there."""
    shop.declare("v1")
    shop.deploy()
    address = json.loads(shop.runtime.read_text())["workloads"][0]["blocks"][0]["targets"][0]["address"]
    with shop.tallyd.running() as controller:
        told = controller.wait_ready().get("/api/v1/routers/traefik").json
        controller.wait_for_metric('tallyd_revisions{state="ready"}', 1)
    (router,) = told["http"]["routers"].values()
    assert router["rule"] == "Host(`shop.example`)"
    servers = [
        each["url"]
        for service in told["http"]["services"].values()
        for each in service.get("loadBalancer", {}).get("servers", [])
    ]
    assert servers == [f"http://{address}:8080"]


def test_a_canary_whose_probe_fails_goes_back(shop: Shop) -> None:
    """L2, T1: at the first step, and all traffic is where it was."""
    shop.declare("v1")
    shop.deploy()
    shop.declare("v2")
    answer = shop.deploy("--canary", "1%,50%", "--probe", "http://127.0.0.1:1/health", exit_code=1)
    assert "http://127.0.0.1:1/health" in answer["checks"]["http"]
    assert answer["steps"][-1] == "shift traffic: shop-1 99%, shop-2 1%"
    assert shop.states() == {"shop-1": "ready", "shop-2": "failed"}
    assert [each["weight"] for each in json.loads(shop.runtime.read_text())["workloads"][0]["blocks"]] == [10_000]


def test_going_back_to_the_one_before(shop: Shop) -> None:
    """L2: a revision that was kept is deployed again, by its id."""
    for version in ("v1", "v2"):
        shop.declare(version)
        shop.deploy()
    assert shop.deploy("--revision", "shop-1")["arrived"]
    assert shop.states() == {"shop-1": "ready", "shop-2": "inactive"}


def test_a_deploy_that_is_killed_is_resumed(shop: Shop) -> None:
    """L2: with SIGKILL while it warms, and by the same command."""
    shop.declare("v1")
    shop.deploy()
    shop.declare("v2", "sleep 2; mkdir /site; exec httpd -f -p 8080 -h /site")
    with shop.tallyd.started("deploy", "shop") as deploying:
        wait_until(lambda: shop.states().get("shop-2") == "warming", 30, "the second version warms")
        deploying.kill()
    assert shop.states() == {"shop-1": "ready", "shop-2": "warming"}
    answer = shop.deploy()
    assert (answer["arrived"], answer["revision_id"]) == (True, "shop-2")
    assert shop.states() == {"shop-1": "inactive", "shop-2": "ready"}


@pytest.mark.parametrize(
    ("arguments", "exit_code", "said"),
    [
        (("--canary", "50%,10%"), 2, "have to rise"),
        (("--canary", "half"), 2, "no entry of a split"),
        (("--query", "up"), 2, "belong together"),
        (("--revision", "shop-9"), 1, "no revision 'shop-9' to deploy; there are: none"),
    ],
)
def test_what_cannot_be_deployed(shop: Shop, arguments: tuple[str, ...], exit_code: int, said: str) -> None:
    """O1: what was given, and what is allowed."""
    shop.declare("v1")
    told = shop.tallyd("deploy", "shop", *arguments).expect(exit_code)
    assert said in told.stderr
    assert shop.states() == {}


def test_an_image_that_nobody_has(shop: Shop) -> None:
    """D4: no revision is made of it."""
    shop.declare("v1", image="nobody/has:this")
    told = shop.tallyd("deploy", "shop").expect(1)
    assert "nobody/has:this" in told.stderr
    assert shop.states() == {}


def test_a_source_that_only_reports(shop: Shop) -> None:
    """O1: it is named, with those that deploy."""
    shop.tallyd.apply({"id": "shop", "kind": "project", "source": {"kind": "report"}, "trigger": {"kind": "manual"}})
    told = shop.tallyd("deploy", "shop").expect(1)
    assert "source 'report' does not deploy; those that do: compose, image, static" in told.stderr
