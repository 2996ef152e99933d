"""A running controller follows what is declared: files by hand, the API, other processes; and outlives mistakes."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness import wait_until
from tests.integration.console import Console
from tests.integration.reloading import SECONDS, Followed, following, manifest
from tests.unit.layouts import mount_config_map, point, replace
from tests.unit.passes import OF_STACK


@pytest.fixture(scope="module")
def console() -> Iterator[Console]:
    """The console script."""
    with contextlib.closing(Console()) as started:
        yield started


@pytest.fixture
def followed(console: Console, tmp_path: Path) -> Iterator[Followed]:
    """A controller with its config beside its store."""
    with following(console, tmp_path) as each:
        yield each


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Manifests: one of two stacks, and one that stays."""
    made = tmp_path / "manifests"
    made.mkdir()
    (made / "a.yaml").write_text(manifest("blog", "mail"))
    (made / "z.yaml").write_text(manifest("stays"))
    return made


def write(path: Path, text: str) -> Callable[[], object]:
    """Write a file."""
    return lambda: path.write_text(text)


def test_an_edit_by_hand_takes_effect(followed: Followed) -> None:
    """G11, W2, W4, W5: in API, metrics, log and the pace of ticks; white space does not (W7)."""
    controller = followed.controller
    assert (followed.status["generation"], followed.interval_seconds) == (1, 300)
    followed.config.write_text("interval_seconds: 0.2\n")
    followed.becomes(0.2)
    complete = 'tallyd_ticks_total{outcome="complete"}'
    controller.wait_for_metric(complete, controller.metric(complete) + 4)
    assert (controller.metric("tallyd_config_generation"), followed.status["generation"]) == (2, 2)
    told = controller.logged("activated")[-1]
    assert (told["level"], told["asked_by"], told["detail"]) == ("info", "file", "interval_seconds 300.0 -> 0.2")
    unchanged = 'tallyd_config_reloads_total{result="unchanged"}'
    before, lines = controller.metric(unchanged), len(controller.logged("activated"))
    followed.config.write_text("\n# a remark\ninterval_seconds:    0.2\n")
    controller.wait_for_metric(unchanged, before + 1)
    assert (followed.status["result"], len(controller.logged("activated"))) == ("unchanged", lines)


def test_writes_in_one_window_are_one_rebuild(followed: Followed) -> None:
    """W2: five of them, by rename as editors do it; two rebuilds are tolerated."""

    def five() -> None:
        for seconds in range(11, 16):
            replace(followed.config, f"interval_seconds: {seconds}\n")

    followed.within(2, five, 15)


def test_a_neighbour_is_no_change(followed: Followed) -> None:
    """W3: in the same folder, before and between; a real change after it is the only rebuild."""

    def decoys() -> None:
        for number in range(20):
            (followed.config.parent / f"decoy-{number}.yaml").write_text("interval_seconds: 1\n")
        followed.config.write_text("interval_seconds: 16\n")
        for number in range(20):
            (followed.config.parent / f"decoy-{number}.yaml").unlink()

    followed.within(2, decoys, 16)


def test_a_config_that_is_deleted_stays_in_force(followed: Followed) -> None:
    """W4, W7: and one that comes back is taken up."""
    followed.config.write_text("interval_seconds: 17\n")
    followed.becomes(17)
    before = followed.rebuilds
    followed.config.unlink()
    wait_until(lambda: followed.rebuilds > before, SECONDS, "the deletion is noticed")
    assert (followed.status["result"], followed.interval_seconds, followed.error) == ("unchanged", 17, "")
    followed.config.write_text("interval_seconds: 18\n")
    followed.becomes(18)


def test_malformed_then_corrected(followed: Followed) -> None:
    """W5, W7, H6, G2: the previous one serves, readiness stays, the error has file and line.

    A correction is in force, also one that says what was in force before; an error is logged once.
    """
    before = followed.interval_seconds
    for text, said in (
        ("interval_seconds: 5\nlog_level: loud\n", ":2: log_level is 'loud'"),
        ("a: [\n", ":2: not YAML"),
    ):
        followed.config.write_text(text)
        wait_until(lambda said=said: said in followed.error, SECONDS, "the status tells the error")
        assert f"{followed.config}{said}" in followed.error
        assert (followed.interval_seconds, followed.controller.ready) == (before, True)
    refused = followed.controller.logged("reload refused, the previous state serves")
    assert [each["level"] for each in refused] == ["error", "error"]
    assert followed.controller.metric('tallyd_config_reloads_total{result="error"}') >= 2
    followed.config.write_text("interval_seconds: 300\n")
    wait_until(lambda: not followed.error, SECONDS, "the same as before is well")
    assert followed.status["last_error"]["mended"] is True
    followed.config.write_text("interval_seconds: [\n")
    wait_until(lambda: followed.error, SECONDS, "it is malformed again")
    followed.config.write_text("interval_seconds: 19\n")
    followed.becomes(19)


def test_a_link_that_is_turned_elsewhere(console: Console, tmp_path: Path) -> None:
    """W3: the path goes through links; what they lead to counts, and what they led to does not any more."""
    for name, seconds in (("one", 20), ("two", 21)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(f"interval_seconds: {seconds}\n")
    point(tmp_path / "current", "one")
    with following(console, tmp_path, TALLYD_CONFIG=str(tmp_path / "current" / "config.yaml")) as followed:
        followed.becomes(20)
        point(tmp_path / "current", "two")
        followed.becomes(21)
        before = followed.rebuilds
        (tmp_path / "one" / "config.yaml").write_text("interval_seconds: 1\n")
        (tmp_path / "two" / "config.yaml").write_text("interval_seconds: 22\n")
        followed.becomes(22)
        assert followed.rebuilds - before <= 2


def test_a_config_map(console: Console, tmp_path: Path) -> None:
    """W3: config and manifests as the kubelet mounts them: one swap of `..data`, both in force."""
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    mount_config_map(mounted, {"config.yaml": "interval_seconds: 23\n"})
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    mount_config_map(manifests, {"a.yaml": manifest("blog")})
    settings = {"TALLYD_CONFIG": str(mounted / "config.yaml"), "TALLYD_MANIFESTS": str(manifests)}
    with following(console, tmp_path, **settings) as followed:
        assert (followed.interval_seconds, followed.workloads) == (23, {"blog": "blog"})
        for seconds in (24, 25):
            before = followed.rebuilds
            mount_config_map(mounted, {"config.yaml": f"interval_seconds: {seconds}\n"})
            followed.becomes(seconds)
            assert followed.rebuilds - before <= 2
        mount_config_map(manifests, {"a.yaml": manifest("blog", "mail")})
        wait_until(lambda: followed.workloads == {"blog": "blog", "mail": "mail"}, SECONDS, "the manifests")


def test_manifests_are_kept_in_force(console: Console, tmp_path: Path, folder: Path) -> None:
    """W5, W7: added, changed and gone; a prune waits for the last container, and needs no further write."""
    settings = {"TALLYD_MANIFESTS": str(folder), "TALLYD_MANIFESTS_PRUNE": "true", "TALLYD_INTERVAL_SECONDS": "0.5"}
    with following(console, tmp_path, **settings) as followed:
        assert followed.workloads == {"blog": "blog", "mail": "mail", "stays": "stays"}
        container = followed.docker.world.run("web", OF_STACK)
        wait_until(lambda: followed.controller.rows().keys() == {"blog:web"}, SECONDS, "the container's row")
        replace(folder / "b.yml", manifest("more"))
        replace(folder / "a.yaml", manifest(blog="Changed"))
        left = {"blog": "Changed", "more": "more", "stays": "stays"}
        wait_until(lambda: followed.workloads == left, SECONDS, "one is added, one changed, one gone")
        (folder / "a.yaml").unlink()
        kept = {"blog": "its manifest is gone, but it has 1 container(s)"}
        wait_until(lambda: followed.status["workloads_kept"] == kept, SECONDS, "it is kept, and told why")
        assert (followed.workloads, followed.controller.rows().keys()) == (left, {"blog:web"})
        followed.docker.world.rm(container)
        wait_until(lambda: followed.workloads == {"more": "more", "stays": "stays"}, SECONDS, "it goes by itself")
        (folder / "b.yml").write_text("workloads:\n- id: more\n  kind: stuck\n")
        wait_until(lambda: "b.yml:3: " in followed.error, SECONDS, "the status tells file and line")
        assert followed.workloads == {"more": "more", "stays": "stays"}
        followed.controller.wait_ready()
        (folder / "b.yml").unlink()
        wait_until(lambda: followed.workloads == {"stays": "stays"}, SECONDS, "the correction")
        followed.tallyd.ok("workload", "delete", "stays")
        (folder / "z.yaml").write_text(manifest("stays", "again"))
        wait_until(lambda: followed.workloads.keys() == {"stays", "again"}, SECONDS, "what was deleted is back")


def test_a_change_by_another_process_is_taken_up(followed: Followed) -> None:
    """W4, G4, G9: the console writes the file; the controller has it in force under the same generation."""
    stored = followed.tallyd.ok("config", "patch", '{"interval_seconds": 26}', "-o", "json").json
    followed.becomes(26)
    wait_until(lambda: followed.status["generation"] == stored["generation"], SECONDS, "the generation")
    (starting,) = followed.controller.logged("starting")
    assert stored["instance_id"] == followed.controller.get("/api/v1/config").json["instance_id"] != ""
    assert starting["host"] == stored["host"]


def test_what_was_put_is_in_every_read_after_the_answer(followed: Followed) -> None:
    """H7, W8, G3: four writers that count up under compare-and-swap; each sees at once what was activated for it."""
    wrong: list[object] = []

    def count(_number: int) -> None:
        for _ in range(5):
            while True:
                generation = followed.controller.get("/api/v1/config").json["generation"]
                answer = followed.put({"interval_seconds": 30 + generation}, **{"If-Match": f'"{generation}"'})
                if answer.status == 200:
                    break
                assert answer.status == 412, answer
            now = followed.controller.get("/api/v1/config/status").json["generation"]
            if now < generation + 1 or followed.interval_seconds < 30 + generation:
                wrong.append((generation, now, followed.interval_seconds))

    threads = [threading.Thread(target=count, args=(number,)) for number in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert wrong == []
    assert followed.controller.get("/api/v1/config").json["generation"] == 21
    assert "Traceback" not in followed.controller.text


def test_writers_that_are_killed_leave_a_config_that_is_whole(followed: Followed) -> None:
    """G4, G8, W4, F: SIGKILL in the middle of sets, again and again; what is left is old or new, and is in force."""
    for seconds in range(31, 39):
        before = _beside(followed.config)
        with followed.tallyd.started("config", "set", f"interval_seconds={seconds}") as pending:
            wait_until(lambda before=before: _beside(followed.config) != before, SECONDS, "it has begun to write")
            with contextlib.suppress(ProcessLookupError):
                os.kill(pending.process.pid, signal.SIGKILL)
            pending.process.wait(SECONDS)
    declared = followed.tallyd.ok("config", "show", "-o", "json").json["declared"]
    assert declared["interval_seconds"] in (300, *range(31, 39))
    followed.becomes(float(declared["interval_seconds"]))
    done = followed.tallyd.ok("config", "set", "interval_seconds=39", "-o", "json").json
    assert done["declared"] == {"interval_seconds": 39}
    followed.becomes(39)
    assert "Traceback" not in followed.controller.text


def _beside(config: Path) -> tuple[str, str, list[str]]:
    """What is written while a config is changed: its text, its generations, and what is half-written."""
    generations = config.with_name(f".{config.name}.generations")
    half = sorted(each.name for each in config.parent.iterdir() if each.name.endswith(".new"))
    return config.read_text(), generations.read_text(), half


def test_a_folder_that_is_not_there_is_a_start_error(console: Console, tmp_path: Path) -> None:
    """W1: it could never be watched; the message says which one."""
    with following(console, tmp_path) as followed:
        lost = followed.tallyd.with_settings(
            TALLYD_CONFIG=str(tmp_path / "lost" / "config.yaml"), TALLYD_HOST="another"
        )
        done = lost("run").expect(1)
        assert f"{tmp_path}/lost does not exist; create it first" in done.stderr
