"""README's quick start and first workload, run just as they stand there."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from tests.harness import BUSYBOX, PrivateEngine, World, require, wait_until
from tests.integration.backends import free_port
from tests.integration.console import settings_of

README = Path(__file__).parents[2] / "README.md"
SCRIPTS = sysconfig.get_path("scripts")
WORKLOADS = ("shop", "docs", "blog")


def fenced_blocks(heading: str) -> list[str]:
    """The fenced blocks of one section."""
    section = README.read_text(encoding="utf-8").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    assert section, heading
    return re.findall(r"^```\w*\n(.*?)^```$", section, flags=re.M | re.S)


def environment(engine: PrivateEngine, folder: Path) -> dict[str, str]:
    """A new user's: nothing but a path and an engine."""
    settings = settings_of(engine.endpoint, f"sqlite:///{folder / 'tallyd.db'}", folder)
    return settings | {"PATH": f"{SCRIPTS}{os.pathsep}{settings['PATH']}"}


def test_the_first_workload_of_the_readme(own_engine: PrivateEngine, own_world: World, tmp_path: Path) -> None:
    """O1, O7, issue 4: the five commands print what the page says they print."""
    repository, _, _tag = BUSYBOX.partition(":")
    own_world.client.tag(BUSYBOX, repository, "latest")
    commands, printed = fenced_blocks("Your first workload")[:2]
    said: list[str] = []
    for line in commands.strip().splitlines():
        done = subprocess.run(
            ["bash", "-c", line],
            env=environment(own_engine, tmp_path),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == (3 if line == "tallyd plan" else 0), (line, done.stderr)
        if "tallyd " in line:
            said += (done.stdout + done.stderr).splitlines()
    assert [without_seconds(line) for line in said] == [without_seconds(line) for line in printed.splitlines()]


def test_the_first_deploy_of_the_readme(own_engine: PrivateEngine, own_world: World) -> None:
    """T6, L2, issue 6: one version, the next by a canary, and back; a router shows each."""
    require("nginx")
    repository, _, _tag = BUSYBOX.partition(":")
    own_world.client.tag(BUSYBOX, repository, "latest")
    port = str(free_port())
    first, router, then, printed = (block.replace("8080", port) for block in fenced_blocks("Your first deploy"))
    # Not below pytest's folder, which nginx's workers may not enter.
    with tempfile.TemporaryDirectory(prefix="tallyd-readme-") as place:
        folder = Path(place)
        folder.chmod(0o711)
        surroundings = environment(own_engine, folder)

        def bash(commands: str) -> str:
            done = subprocess.run(
                ["bash", "-e", "-c", commands],
                env=surroundings,
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                timeout=120,
            )
            assert done.returncode == 0, done.stdout
            return done.stdout

        told = bash(first)
        routing = subprocess.Popen(["bash", "-c", f"exec {router}"], env=surroundings, cwd=folder)
        try:
            wait_until(lambda: answers(int(port)), 30, "the router listens")
            export = next(line for line in first.splitlines() if line.startswith("export "))
            told += bash(f"{export}\n{then}")
        finally:
            routing.terminate()
            routing.wait(30)
        assert [line.rstrip() for line in told.splitlines()] == printed.splitlines()


def answers(port: int) -> bool:
    """Whether somebody listens on this port of loopback."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def without_seconds(line: str) -> str:
    return re.sub(r"\(\d+\.\d+ s\)", "(… s)", line).rstrip()


def test_make_run_shows_three_kinds_and_leaves_nothing(
    own_engine: PrivateEngine, own_world: World, tmp_path: Path
) -> None:
    """Issue 2: what `make run` starts: a sample, its table, its address; Ctrl-C removes the sample."""
    stranger = own_world.run("stranger")
    with tempfile.TemporaryFile(dir=tmp_path) as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "controller.sample", "--table", "--listen", "127.0.0.1:0"],
            env={
                name: value
                for name, value in environment(own_engine, tmp_path).items()
                if name not in ("TALLYD_DATABASE_URL", "TALLYD_LISTEN")
            },
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

        def said() -> str:
            return os.pread(output.fileno(), os.fstat(output.fileno()).st_size, 0).decode()

        try:
            wait_until(lambda: "seen" in said() and "http://127.0.0.1:" in said(), 90, "the table and the address")
            wait_until(
                lambda: all(re.search(rf"^{each} ", said(), re.M) for each in WORKLOADS), 30, "all three kinds"
            )
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0, said()
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(10)
        assert [container["Id"] for container in own_world.listing()] == [stranger], said()
