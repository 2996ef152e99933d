"""What the tests need on the machine, how to see that it is there, and what installs it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])

PROGRAMS: dict[str, tuple[tuple[str, ...], str]] = {
    "docker": (("dockerd", "containerd", "runc", "iptables"), "docker.io iptables"),
    "docker-cli": (("docker",), "docker.io"),
    "iproute2": (("ip",), "iproute2"),
    "busybox": (("busybox",), "busybox-static"),
    "promtool": (("promtool",), "prometheus"),
    "chattr": (("chattr",), "e2fsprogs"),
    "faketime": (("faketime",), "faketime"),
    "git": (("git",), "git"),
    "registry": (("docker-registry",), "docker-registry"),
    "nginx": (("nginx",), "nginx-light"),
    "wrk": (("wrk",), "wrk"),
}


ROOT_NEEDED = "The tests' own engine needs root; or offer them an engine in TALLYD_TEST_DOCKER_HOST"


def require(component: str) -> None:
    """Fail the test with one sentence, naming the package, unless `component` is installed."""
    complaint = complaint_about(component)
    if complaint:
        pytest.fail(complaint, pytrace=False)


def complaint_about(component: str) -> str:
    """One sentence on what is missing for `component`, or nothing."""
    if component == "postgres":
        return "" if postgres_programs() else _sentence("PostgreSQL's initdb", "postgresql")
    if component == "compose":
        return "" if compose_command() else _sentence("Compose", "docker-compose")
    if component == "root":
        return "" if os.geteuid() == 0 else ROOT_NEEDED
    programs, packages = PROGRAMS[component]
    missing = [program for program in programs if not program_path(program)]
    if missing:
        return _sentence(" and ".join(missing), packages)
    if component == "busybox" and not _is_static(program_path("busybox")):
        return _sentence("a statically linked busybox", packages)
    return ""


def program_path(program: str) -> str:
    """The program's absolute path, or nothing; looks in the sbin directories too."""
    return shutil.which(program, path=SEARCH_PATH) or ""


def postgres_programs() -> Path | None:
    """The directory of the newest installed `initdb` and `postgres`."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    on_path = program_path("initdb")
    candidates = [*reversed(debian), *([Path(on_path).resolve().parent] if on_path else [])]
    return next((path for path in candidates if (path / "initdb").exists() and (path / "postgres").exists()), None)


def compose_command() -> tuple[str, ...]:
    """`docker compose` where its plugin is installed, else `docker-compose`, else nothing."""
    docker = program_path("docker")
    if docker and subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode == 0:
        return (docker, "compose")
    standalone = program_path("docker-compose")
    return (standalone,) if standalone else ()


def _sentence(what: str, packages: str) -> str:
    return f"Not installed: {what}; run .ci/components, or: apt-get install -y {packages}"


def _is_static(binary: str) -> bool:
    return subprocess.run(["ldd", binary], capture_output=True, check=False).returncode != 0
