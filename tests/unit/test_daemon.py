"""`controller.daemon`: a process's whole life, on a fake engine."""

from __future__ import annotations

import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from controller.daemon import Daemon
from controller.errors import SettingInvalid
from controller.loop.report import TickReport
from controller.settings_sources import load_settings
from store import hosts
from store.database import Database
from store.index import list_containers
from store.workloads import apply_workloads, list_workloads
from tests.builders import ENGINE_ID, HOST, NOW
from tests.fakes import FakeDocker, Fault
from tests.harness import wait_until
from tests.unit.passes import OF_SITE, SITE

Start = Callable[..., Daemon]


@pytest.fixture
def start(docker: FakeDocker, database_path: Path) -> Iterator[Start]:
    """Make and start a daemon on `docker` and `database`; stopped in the end."""
    daemons: list[Daemon] = []

    def started(reported: Callable[[TickReport], None] = lambda _report: None, **flags: Any) -> Daemon:
        given = {"host": HOST, "database_url": f"sqlite:///{database_path}", "listen": "127.0.0.1:0", **flags}
        settings = load_settings(given, {}).settings
        daemons.append(Daemon(settings, {"DOCKER_HOST": docker.endpoint}, reported))
        daemons[-1].start()
        # FastAPI and pytest both change the filters of warnings, which are global: not at the same time, please.
        wait_until(lambda: _answers(daemons[-1]), 30, "the port answers")
        return daemons[-1]

    yield started
    for each in daemons:
        each.stop()
    wait_until(lambda: not own_threads(), 30, "every thread ends")


def _answers(daemon: Daemon) -> bool:
    try:
        with urllib.request.urlopen(f"{daemon.address}/-/healthy", timeout=30) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def ready(daemon: Daemon) -> Daemon:
    """After the first complete pass."""
    wait_until(lambda: daemon.status.last_complete, 20, "a complete pass")
    return daemon


_THERE_BEFORE: set[threading.Thread] = set()
"""What tests before this one left behind is no thread of its daemon."""


@pytest.fixture(autouse=True)
def there_before() -> None:
    """Take note of the threads that are there already."""
    _THERE_BEFORE.clear()
    _THERE_BEFORE.update(threading.enumerate())


def own_threads() -> set[str]:
    """Names of the threads that a daemon starts, and that have not ended."""
    names = {thread.name for thread in threading.enumerate() if thread not in _THERE_BEFORE}
    ours = ("loop", "watch", "lease", "http", "reload", "watcher")
    return {name for name in names if name in ours or name.startswith("engine-")}


@pytest.mark.parametrize(("asked", "used"), [(0, 30), (-7, 30), (301, 300), (10, 10)])
def test_a_clamped_interval_is_logged_once_with_both_numbers(
    start: Start, database: Database, asked: float, used: float
) -> None:
    """R1: and only then; the store knows the one that is used, by which truth gets stale (R21)."""
    with capture_logs() as logs:
        ready(start(interval_seconds=asked))
    clamped = [entry for entry in logs if entry["event"] == "interval clamped"]
    assert [(entry["asked"], entry["used"]) for entry in clamped] == ([(asked, used)] if asked != used else [])
    assert hosts.get_host(database, HOST).interval_seconds == used


def test_what_it_works_with_is_logged_at_the_start(start: Start, docker: FakeDocker) -> None:
    """O2: endpoint, store and address, and the engine's id as soon as it is known."""
    with capture_logs() as logs:
        daemon = ready(start())
        wait_until(lambda: any(entry["event"] == "engine connected" for entry in logs), what="the engine's id")
    starting = next(entry for entry in logs if entry["event"] == "starting")
    assert (starting["endpoint"], starting["address"], starting["host"]) == (docker.endpoint, daemon.address, HOST)
    assert starting["store"].startswith("sqlite:///")
    assert next(entry for entry in logs if entry["event"] == "engine connected")["engine_id"] == ENGINE_ID


def test_events_reach_the_index_without_a_tick(start: Start, docker: FakeDocker, database: Database) -> None:
    """R20: with an interval of five minutes, what happens to a container is in the index at once."""
    reports: list[TickReport] = []
    apply_workloads(database, [SITE], NOW)
    container = docker.world.run("web", OF_SITE)
    daemon = ready(start(reports.append, interval_seconds=300))
    wait_until(lambda: daemon.metrics.registry.get_sample_value("tallyd_event_stream_connected") == 1, what="events")
    for change, state in [(docker.world.pause, "paused"), (docker.world.unpause, "running")] * 3:
        change(container)
        wait_until(lambda state=state: list_containers(database)[0].state == state, what=f"it is {state}")
    assert len([each for each in reports if each.targeted and each.change.updated]) >= 5, "one may be the boot's"


def test_stop_while_the_engine_hangs(start: Start, docker: FakeDocker) -> None:
    """R3: the whole process is down within about two seconds, and nothing of it is left."""
    daemon = ready(start())
    docker.answer_with("*", Fault.HANG)
    daemon.loop.request()
    wait_until(lambda: docker.held, what="a pass hangs")
    stopping = threading.Thread(target=daemon.stop)
    stopping.start()
    wait_until(lambda: not stopping.is_alive(), 4.0, "stop returns")
    assert "loop" not in own_threads()
    docker.answer_normally()
    wait_until(lambda: not own_threads(), what="every thread ends")


def test_start_and_stop_are_idempotent(start: Start) -> None:
    """R3: either can be repeated."""
    daemon = ready(start())
    daemon.start()
    for _ in range(3):
        daemon.stop()
    wait_until(lambda: not own_threads(), what="every thread ends")


def test_the_port_is_open_while_it_runs(start: Start) -> None:
    """O4: on the address that it tells, and closed afterwards."""
    daemon = ready(start())
    with urllib.request.urlopen(f"{daemon.address}/-/ready", timeout=30) as answer:
        assert answer.status == 200
    daemon.stop()
    with pytest.raises(OSError):
        urllib.request.urlopen(f"{daemon.address}/-/ready", timeout=5)


def test_a_port_that_is_taken_is_a_start_error(start: Start) -> None:
    """O4: told with the setting that takes another one, before anything runs."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingInvalid, match=f"127.0.0.1:{port}.*TALLYD_LISTEN"):
            start(listen=f"127.0.0.1:{port}")
    assert not own_threads()


def test_the_lease_is_given_back(start: Start) -> None:
    """R22: the next controller of this host need not wait."""
    ready(start()).stop()
    ready(start())


def test_a_listener_that_fails_does_not_end_the_loop(start: Start) -> None:
    """R2: such as a terminal that was closed."""

    def broken(_report: TickReport) -> None:
        raise BrokenPipeError

    daemon = ready(start(broken))
    assert daemon.loop.force(30).complete
    assert daemon.loop.force(30).complete


def test_a_watch_that_went_deaf_is_backed_up_by_ticks(start: Start, tmp_path: Path) -> None:
    """W6: what nobody told is found by the next complete pass."""
    daemon = ready(start())
    daemon.reloading._watcher.stop()
    (tmp_path / "config.yaml").write_text("plugin_workers: 3\n")
    daemon.loop.force(30)
    wait_until(lambda: _in_force(daemon, "plugin_workers") == 3, 20, "it is in force")
    (tmp_path / "config.yaml").write_text("plugin_workers: none\n")
    daemon.loop.force(30)
    wait_until(lambda: daemon.reloading.status.as_dict()["result"] == "error", 20, "the error is told")
    assert _in_force(daemon, "plugin_workers") == 3


def _in_force(daemon: Daemon, setting: str) -> object:
    in_force = daemon.reloading.worker.in_force
    return None if in_force is None else getattr(in_force.settings, setting)


def test_liveness_knows_how_long_plugins_may_take_now(start: Start, tmp_path: Path) -> None:
    """O4, R15: a deadline that a reload made longer is not taken for a loop that hangs."""
    (tmp_path / "config.yaml").write_text("plugin_deadline_seconds: 30\n")
    daemon = ready(start(interval_seconds=300))
    first = daemon.longest_silence_seconds
    (tmp_path / "config.yaml").write_text("plugin_deadline_seconds: 300\n")
    wait_until(lambda: _in_force(daemon, "plugin_deadline_seconds") == 300, 20, "it is in force")
    assert daemon.longest_silence_seconds == first + 270 * 1.25


def test_manifests_that_are_malformed_at_the_start(start: Start, tmp_path: Path) -> None:
    """W5, W7: it starts and observes with what the store holds; the error is told; a correction is in force."""
    folder = tmp_path / "manifests"
    folder.mkdir()
    (folder / "a.yaml").write_text("workloads: [{id: a, kind: sight}]\n")
    daemon = ready(start(manifests=folder))
    assert "a.yaml:1: " in daemon.reloading.status.as_dict()["last_error"]["detail"]
    assert daemon.reloading.worker.in_force is None
    (folder / "a.yaml").write_text("workloads: [{id: a, kind: site}]\n")
    wait_until(lambda: daemon.reloading.status.as_dict()["result"] == "activated", 20, "the correction is in force")
    assert [each.id for each in list_workloads(daemon.database)] == ["a"]
