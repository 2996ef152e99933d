"""Installing Debian packages, where we are allowed to and after saying so."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from controller.sample.terminal import run, say

POLICY = Path("/usr/sbin/policy-rc.d")
QUIET = {"DEBIAN_FRONTEND": "noninteractive"}
OPTIONS = ("-q", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3")


def can_install() -> bool:
    """Whether we are root on a Debian-like system."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def install(*packages: str) -> None:
    """Install packages without starting their services.

    :raises SampleUnavailable: apt-get failed.
    """
    say(f"Installing with apt-get: {' '.join(packages)}")
    _refresh()
    with _services_stay_down():
        run(
            ["apt-get", "install", "-y", "--no-install-recommends", *OPTIONS, *packages],
            environment=QUIET,
            timeout_seconds=1800,
        )


def unpack(package: str, into: Path) -> None:
    """Download a package and unpack it into a folder, leaving the system as it is.

    :raises SampleUnavailable: it cannot be downloaded.
    """
    say(f"Downloading with apt-get, only into {into}: {package}")
    into.mkdir(parents=True, exist_ok=True)
    if can_install():
        _refresh()
    run(["apt-get", "download", *OPTIONS, package], cwd=into)
    for archive in into.glob("*.deb"):
        run(["dpkg-deb", "--extract", archive, into])


def _refresh() -> None:
    run(["apt-get", "update", *OPTIONS], environment=QUIET, timeout_seconds=900)


@contextlib.contextmanager
def _services_stay_down() -> Iterator[None]:
    if POLICY.exists():
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink(missing_ok=True)
