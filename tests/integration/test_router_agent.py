"""`tallyd router` and its agent: a runtime config on disk, a real nginx that follows it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from controller.rollout.followers import Followers
from controller.rollout.projection import write_runtime_config
from controller.rollout.routers.agent import InForce, RouterAgent
from controller.rollout.routers.nginx import NginxOptions
from controller.rollout.routers.nginx_process import NginxRouter
from tests.builders import HOST
from tests.harness import require, wait_until
from tests.integration.backends import Backend, Visitor, free_port
from tests.integration.console import SCRIPT
from tests.routers import block, document, workload


@dataclass
class Followed:
    """A runtime config, an agent that follows it, and one container for each name."""

    folder: Path
    port: int = field(default_factory=free_port)
    backends: dict[str, Backend] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.path = self.folder / "runtime.json"
        self.router = NginxRouter(
            self.folder / "router", NginxOptions(f"127.0.0.1:{self.port}", drain_seconds=2, workers="1"), monotonic
        )

    def shop(self, name: str) -> dict[str, Any]:
        """A document that sends everybody to that container."""
        if name not in self.backends:
            self.backends[name] = Backend(name)
        return document(workload("shop", ["shop.example/"], [block(name, 10_000, self.backends[name].port)]))

    def write(self, told: Mapping[str, Any]) -> None:
        """As the controller writes it."""
        write_runtime_config(self.path, told)

    def shows(self) -> str:
        """Who answers a new visitor, or the status where nobody does."""
        visitor = Visitor(self.port)
        try:
            told = visitor.get()
        except OSError as error:
            return type(error).__name__
        finally:
            visitor.close()
        return told.name if told.status == 200 else str(told.status)

    def wait_for(self, wanted: str) -> None:
        """Until that is so."""
        wait_until(lambda: self.shows() == wanted, 20, f"{wanted} is served")

    @contextlib.contextmanager
    def following(self) -> Iterator[RouterAgent]:
        """An agent at work; in the end nginx goes on."""
        agent = RouterAgent(self.path, HOST, self.router, self.folder / "last-good.json", check_seconds=0.2)
        thread = threading.Thread(target=agent.run, daemon=True)
        thread.start()
        try:
            yield agent
        finally:
            agent.stop()
            thread.join(20)


@pytest.fixture
def followed() -> Iterator[Followed]:
    """Nothing is declared yet."""
    require("nginx")
    folder = Path(tempfile.mkdtemp(prefix="tallyd-router-"))
    folder.chmod(0o711)
    each = Followed(folder)
    yield each
    each.router.stop()
    for backend in each.backends.values():
        backend.close()
    shutil.rmtree(folder)


def _trouble(agent: RouterAgent) -> str:
    return agent.in_force.trouble if agent.in_force is not None else ""


def test_the_router_follows_the_runtime_config(followed: Followed) -> None:
    """T2, T5: written, changed, removed; without it everything is 404."""
    with followed.following():
        followed.wait_for("404")
        followed.write(followed.shop("one"))
        followed.wait_for("one")
        followed.write(followed.shop("two"))
        followed.wait_for("two")
        followed.write(document())
        followed.wait_for("404")


@pytest.mark.parametrize("bad", ["{", "", '{"schema": 2}', "\x00"], ids=["half", "empty", "schema", "nul"])
def test_a_malformed_runtime_config_changes_nothing(followed: Followed, bad: str) -> None:
    """T3, T5: the last good one serves, the trouble is told, and the next good one is taken."""
    followed.write(followed.shop("one"))
    with followed.following() as agent:
        followed.wait_for("one")
        followed.path.write_text(bad)
        wait_until(lambda: "runtime config" in _trouble(agent), what="the trouble is told")
        assert followed.shows() == "one"
        followed.write(followed.shop("two"))
        followed.wait_for("two")
        wait_until(lambda: _trouble(agent) == "", what="the trouble is over")


def test_an_injection_changes_nothing(followed: Followed) -> None:
    """T3, T5: a runtime config that somebody forged."""
    followed.write(followed.shop("one"))
    evil = followed.shop("one")
    evil["workloads"][0]["faces"].append({"host": "x.example", "path": '/"{return 200;}location "/y'})
    with followed.following() as agent:
        followed.wait_for("one")
        before = followed.router.configuration
        followed.path.write_text(json.dumps(evil))
        wait_until(lambda: "faces.1.path" in _trouble(agent), what="the trouble is told")
        assert followed.router.configuration == before
        assert followed.shows() == "one"


def test_a_start_with_a_bad_runtime_config_serves_the_last_good_one(followed: Followed) -> None:
    """T5: also where nginx ended in the meantime."""
    followed.write(followed.shop("one"))
    with followed.following():
        followed.wait_for("one")
    followed.router.stop()
    followed.path.write_text("{")
    with followed.following() as agent:
        followed.wait_for("one")
        wait_until(lambda: _trouble(agent), what="the trouble is told")


def test_a_first_start_with_a_bad_runtime_config_serves_nothing(followed: Followed) -> None:
    """T5: there is nothing good yet."""
    followed.path.write_text("{")
    with followed.following() as agent:
        followed.wait_for("404")
        wait_until(lambda: _trouble(agent), what="the trouble is told")


def test_a_workload_in_quarantine_comes_back(followed: Followed) -> None:
    """T3: it is told, and ends with its cause."""
    shop = followed.shop("one")
    lacking = json.loads(json.dumps(shop))
    lacking["workloads"][0]["blocks"][0]["targets"] = []
    with followed.following() as agent:
        followed.write(lacking)
        followed.wait_for("503")
        assert isinstance(agent.in_force, InForce)
        wait_until(lambda: agent.in_force and agent.in_force.quarantined == {"shop": "no target of one"})
        followed.write(shop)
        followed.wait_for("one")


def test_a_proxy_that_died_is_started_again(followed: Followed) -> None:
    """T5: without a change of the runtime config."""
    followed.write(followed.shop("one"))
    with followed.following():
        followed.wait_for("one")
        pid = followed.router.pid
        assert pid is not None
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: followed.router.pid not in (None, pid), 20, "another nginx runs")
        followed.wait_for("one")


def test_the_proxy_outlives_its_agent(followed: Followed) -> None:
    """T5: visitors notice nothing of an agent that ends and comes again: it goes on with the same nginx."""
    followed.write(followed.shop("one"))
    with followed.following():
        followed.wait_for("one")
        pid = followed.router.pid
    assert followed.shows() == "one"
    followed.write(followed.shop("two"))
    with followed.following():
        followed.wait_for("two")
        assert followed.router.pid == pid


def test_the_command_serves_until_it_is_told_to_end(followed: Followed) -> None:
    """O1, T5: `tallyd router`, by SIGTERM, with exit code 0; nginx ends with it."""
    followed.write(followed.shop("one"))
    command = [SCRIPT, "--host", HOST, "router", "--file", followed.path, "--listen", f"127.0.0.1:{followed.port}"]
    command += ["--drain-seconds", "2"]
    running = subprocess.Popen(command, env={**os.environ, "HOME": str(followed.folder)})
    try:
        followed.wait_for("one")
        followed.write(followed.shop("two"))
        followed.wait_for("two")
        running.send_signal(signal.SIGTERM)
        assert running.wait(30) == 0
    finally:
        running.kill()
        running.wait(10)
    assert followed.router.pid is None
    assert followed.shows() == "ConnectionRefusedError"


def test_a_folder_has_one_agent(followed: Followed) -> None:
    """O1, T5: a second one ends with exit code 1, and disturbs nothing; a killed one leaves no lock behind."""
    followed.write(followed.shop("one"))
    command = [SCRIPT, "--host", HOST, "router", "--file", followed.path, "--listen", f"127.0.0.1:{followed.port}"]
    running = subprocess.Popen(command)
    try:
        followed.wait_for("one")
        second = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    finally:
        running.kill()
        running.wait(10)
    assert (second.returncode, "another tallyd router" in second.stderr) == (1, True)
    assert followed.shows() == "one"
    followed.write(followed.shop("two"))
    again = subprocess.Popen(command)
    try:
        followed.wait_for("two")
    finally:
        again.kill()
        again.wait(10)


def test_an_address_that_is_none_is_refused(followed: Followed) -> None:
    """O1: exit 2, before anything is started."""
    command = [SCRIPT, "--host", HOST, "router", "--file", followed.path, "--listen", "127.0.0.1:80; }"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "is no address" in done.stderr
    assert not (followed.folder / "router").exists()


def test_a_router_tells_what_it_has_in_force(followed: Followed) -> None:
    """D8, T6: when it has taken a split over, and when nobody is served by the one before any more."""
    told = Followers(followed.path)
    followed.write(followed.shop("one"))
    with followed.following():
        wait_until(lambda: not told.routed_elsewhere(), 20, "it follows")
        visitor = Visitor(followed.port)
        slow = threading.Thread(target=visitor.get, args=("/slow",), daemon=True)
        slow.start()
        assert followed.backends["one"].holding.wait(10)
        followed.write(followed.shop("two"))
        wait_until(lambda: not told.behind(), 20, "it has taken the second one over")
        assert followed.shows() == "two"
        assert "still serves requests of the split before" in told.routed_elsewhere()
        followed.backends["one"].release.set()
        slow.join(10)
        visitor.close()
        wait_until(lambda: not told.routed_elsewhere(), 20, "the request of the split before has ended")
        followed.path.write_text("{")
        wait_until(lambda: "has not taken the split over" in told.routed_elsewhere(), 20, "a bad one is not in force")
    followed.write(followed.shop("one"))
    assert len(told.behind()) == 1


def test_a_router_that_ends_takes_its_note_away(followed: Followed) -> None:
    """D8: nobody is waited for who is gone by its own will."""
    told = Followers(followed.path)
    followed.write(followed.shop("one"))
    with followed.following() as agent:
        wait_until(lambda: not told.routed_elsewhere(), 20, "it follows")
    agent.leave()
    assert told.routed_elsewhere() == "no router tells what it has in force"
