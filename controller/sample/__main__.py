"""The order of things: engine, sample, declarations, controller; and the reverse of it at the end."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from controller.sample import containers
from controller.sample.client import Docker, label_prefix
from controller.sample.containers import Sample
from controller.sample.engine import engine
from controller.sample.tallyd import Tallyd, declared, forget, manifest_path
from controller.sample.terminal import SampleUnavailable, Stopped, finish_in_peace, say, stop_on_signals

FOLDER = Path(".run")


def main(arguments: Sequence[str]) -> int:
    """Run tallyd here with `arguments` for `tallyd run`; the exit code is its own."""
    stop_on_signals()
    folder = FOLDER.absolute()
    folder.mkdir(exist_ok=True)
    try:
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(_alone_in(folder))
                endpoint = stack.enter_context(engine(folder))
                return _prepare(stack, Docker(endpoint), folder).run(arguments)
            finally:
                finish_in_peace()
    except SampleUnavailable as exc:
        say(str(exc))
        return 1
    except Stopped as stopped:
        return stopped.code


def _prepare(stack: contextlib.ExitStack, docker: Docker, folder: Path) -> Tallyd:
    if shutil.which("docker") is None:
        say("No docker command here, so there is no sample; install docker-cli to see it")
        return _tallyd(docker, folder / "tallyd.db")
    sample = Sample(docker, folder, label_prefix())
    containers.remove(sample)
    if docker.has_workloads(sample.prefix):
        return _tallyd(docker, folder / f"tallyd-{docker.engine_key()}.db")
    tallyd = _tallyd(docker, folder / "sample.db")
    _forget_killed_run(tallyd, sample)
    if not _own_database() and tallyd.declares_workloads():
        say("The store already declares workloads, so there is no sample")
        return tallyd
    project = stack.enter_context(containers.running(sample))
    stack.enter_context(declared(tallyd, sample, project))
    return tallyd


def _forget_killed_run(tallyd: Tallyd, sample: Sample) -> None:
    if _own_database():
        for path in sample.folder.glob("sample.db*"):
            path.unlink()
    elif manifest_path(sample).exists():
        forget(tallyd, sample)


def _own_database() -> bool:
    return not {"TALLYD_DATABASE_URL", "TALLYD_DATABASE_URL_FILE"} & os.environ.keys()


def _tallyd(docker: Docker, database: Path) -> Tallyd:
    environment = {"DOCKER_HOST": docker.endpoint}
    if _own_database():
        environment["TALLYD_DATABASE_URL"] = f"sqlite:///{database}"
    return Tallyd(environment)


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise SampleUnavailable(f"Another `make run` is running in {folder.parent}") from exc
        yield


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
