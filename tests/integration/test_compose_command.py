"""Compose as a command: which one is used, and that nothing of a run outlives it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from controller.engine.compose import MOST_OUTPUT_BYTES, Compose, ComposeRun
from controller.errors import EngineCallCancelled, EngineNotFound, EngineTimeout
from tests.harness import wait_until

SYSTEM = "/usr/bin:/bin"
PLUGIN = '[ "$1" = compose ] || exit 1\nshift\n'
TELL = 'case "$1" in version) echo 9.9;; *) echo "$NAME $DOCKER_HOST"; cat; echo "$@" >&2;; esac\n'


def _program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}")
    (folder / name).chmod(0o755)


def _run(argument: str, deadline_seconds: float = 20.0, **more: object) -> ComposeRun:
    return ComposeRun([argument], "shop", "/nowhere", deadline_seconds, document=b"document", **more)  # type: ignore[arg-type]


def test_the_plugin_is_preferred(tmp_path: Path) -> None:
    """S1: `docker compose`, else `docker-compose`, also where `docker` is there without the plugin; else an error."""
    path = f"{tmp_path / 'both'}:{SYSTEM}"
    _program(tmp_path / "both", "docker", PLUGIN + TELL)
    _program(tmp_path / "both", "docker-compose", TELL)
    assert Compose(path=path).describe().startswith("docker compose 9.9")
    _program(tmp_path / "one", "docker", "exit 1\n")
    _program(tmp_path / "one", "docker-compose", TELL)
    assert Compose(path=f"{tmp_path / 'one'}").find() == (str(tmp_path / "one" / "docker-compose"),)
    none = Compose(path=str(tmp_path / "none"))
    assert none.describe() == ""
    with pytest.raises(EngineNotFound, match="Compose is not installed"):
        none.run(_run("up"))


def test_values_go_in_by_the_environment_and_the_document_by_the_input(tmp_path: Path) -> None:
    """S4: neither is in the arguments; and no value leads Compose to another engine."""
    _program(tmp_path / "bin", "docker-compose", TELL)
    compose = Compose({"DOCKER_HOST": "unix:///ours"}, f"{tmp_path / 'bin'}:{SYSTEM}")
    done = compose.run(_run("up", environment={"NAME": "value", "DOCKER_HOST": "tcp://theirs"}))
    assert done.output == "value unix:///ours\ndocument"
    assert done.errors.split() == [
        "--project-name", "shop", "--project-directory", "/nowhere", "--file", "-", "up"
    ]  # fmt: skip


def test_a_run_that_does_not_end_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    """R15: at its deadline, children included, and also one that holds its output open."""
    _program(tmp_path / "bin", "docker-compose", f"sleep 1000 & echo $! > {tmp_path}/child; sleep 1000\n")
    compose = Compose(path=f"{tmp_path / 'bin'}:{SYSTEM}")
    with pytest.raises(EngineTimeout, match="compose up: no end within"):
        compose.run(_run("up", 0.5))
    _is_gone(tmp_path / "child")


def test_a_controller_that_stops_ends_its_runs(tmp_path: Path) -> None:
    """R3: those that go on, and there are no later ones."""
    _program(tmp_path / "bin", "docker-compose", f"sleep 1000 & echo $! > {tmp_path}/child; sleep 1000\n")
    compose = Compose(path=f"{tmp_path / 'bin'}:{SYSTEM}")
    raised: list[Exception] = []

    def run() -> None:
        try:
            compose.run(_run("up"))
        except EngineCallCancelled as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    wait_until((tmp_path / "child").exists, 20, "it runs")
    compose.cancel()
    thread.join(20)
    assert len(raised) == 1
    _is_gone(tmp_path / "child")
    with pytest.raises(EngineCallCancelled, match="not begun"):
        compose.run(_run("up"))


def test_output_is_bounded(tmp_path: Path) -> None:
    """R15: the rest is read, so that the program can go on, and dropped."""
    _program(tmp_path / "bin", "docker-compose", f"head -c {MOST_OUTPUT_BYTES + 1_000_000} /dev/zero\n")
    done = Compose(path=f"{tmp_path / 'bin'}:{SYSTEM}").run(_run("up", 60.0))
    assert (done.code, len(done.output)) == (0, MOST_OUTPUT_BYTES)


def _is_gone(file: Path) -> None:
    wait_until(lambda: file.exists() and file.read_text().strip() != "", 20, "the child has told its id")
    pid = int(file.read_text())
    wait_until(lambda: not _lives(pid), 20, "the child is gone")


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
