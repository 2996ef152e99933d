"""Programs that only these tests need, and what installs each."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.harness.components import program_path

PACKAGES = {
    "debootstrap": "debootstrap",
    "nginx": "nginx-light",
    "podman": "podman runc catatonit",
    "prometheus": "prometheus",
    "setpriv": "util-linux",
    "systemd-analyze": "systemd",
}


def program(name: str) -> str:
    """The program's path; the test fails, naming the package, where it is not installed."""
    found = program_path(name)
    if not found:
        message = f"Not installed: {name}; install with: apt-get install -y {PACKAGES[name]} (or run .ci/components)"
        pytest.fail(message, pytrace=False)
    return found


def start(
    arguments: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a server that ends with the tests, however they end; its output goes to `log`."""
    with log.open("ab") as output:
        return subprocess.Popen(
            [program("setpriv"), "--pdeathsig", "KILL", program(arguments[0]), *arguments[1:]],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=dict(environment) if environment is not None else None,
        )
