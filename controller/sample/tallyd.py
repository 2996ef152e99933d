"""The controller as a child process: its declarations made beforehand, then run until it or we are told to stop."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import yaml

from controller.sample.containers import SITE, Sample
from controller.sample.terminal import SampleUnavailable, ending_with_us, run, say

WORKLOADS = {"shop": "project", "docs": "site", "blog": "stack"}


@dataclass(frozen=True, slots=True)
class Tallyd:
    """The `tallyd` command of this environment, with the settings that it runs under."""

    environment: Mapping[str, str]

    def call(self, *arguments: str) -> str:
        """Run one command to its end.

        :raises SampleUnavailable: it failed.
        """
        return run([_program(), *arguments], environment=self.environment)

    def declares_workloads(self) -> bool:
        """Whether the store has workloads.

        :raises SampleUnavailable: the store cannot be used.
        """
        self.call("migrate")
        return bool(json.loads(self.call("workload", "list", "--output", "json")))

    def run(self, arguments: Sequence[str]) -> int:
        """Run the controller in the foreground, pass signals on to it, and return its exit code."""
        exports = " ".join(f"{name}={value}" for name, value in self.environment.items())
        say(f"To look at it from another terminal: export {exports}")
        command = ending_with_us([str(_program()), "run", *arguments])
        child = subprocess.Popen(command, env={**os.environ, **self.environment})
        with _forwarded_to(child):
            code = child.wait()
        return code if code >= 0 else 128 - code


def manifest(sample: Sample) -> str:
    """What the sample declares, as YAML."""
    refs = {"docs": SITE, "blog": sample.stack}
    workloads = [
        {"id": name, "name": name.title(), "kind": kind}
        | ({"ref": refs[name]} if name in refs else {})
        | {"source": {"kind": "report", "config": {}}, "trigger": {"kind": "manual"}}
        for name, kind in WORKLOADS.items()
    ]
    return yaml.safe_dump({"workloads": workloads}, sort_keys=False)


@contextlib.contextmanager
def declared(tallyd: Tallyd, sample: Sample, project_containers: Sequence[str]) -> Iterator[None]:
    """The sample's workloads are declared inside the block, and forgotten after it.

    :raises SampleUnavailable: the controller refused them.
    """
    path = manifest_path(sample)
    path.write_text(manifest(sample))
    say(f"Declaring the sample's workloads with: tallyd workload apply -f {path}")
    tallyd.call("workload", "apply", "-f", str(path))
    try:
        for container in project_containers:
            tallyd.call("workload", "adopt", "shop", container)
        yield
    finally:
        forget(tallyd, sample)


def forget(tallyd: Tallyd, sample: Sample) -> None:
    """Take the declarations of the sample, or of a killed run of it, out of the store."""
    for workload in WORKLOADS:
        try:
            tallyd.call("workload", "delete", "--force", workload)
        except SampleUnavailable as exc:
            say(str(exc))
    manifest_path(sample).unlink(missing_ok=True)


def manifest_path(sample: Sample) -> Path:
    """Where the manifest lies while its workloads are declared."""
    return sample.folder / "sample.yaml"


def _program() -> Path:
    return Path(sysconfig.get_path("scripts")) / "tallyd"


@contextlib.contextmanager
def _forwarded_to(child: subprocess.Popen[bytes]) -> Iterator[None]:
    def forward(number: int, _frame: FrameType | None) -> None:
        # Ctrl-C went to the whole foreground group: the child has it, and a second one would hurry it.
        if number != signal.SIGINT or not _in_foreground():
            child.send_signal(number)

    previous = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _in_foreground() -> bool:
    try:
        return sys.stdin.isatty() and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except OSError:
        return False
