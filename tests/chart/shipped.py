"""The image, built as a user builds it on a real engine from a base that Debian's debootstrap made.

The base and the locked wheels are kept in the cache folder of the user; no image registry is asked.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from tests.chart.components import program
from tests.harness import PrivateEngine, require
from tests.harness.components import program_path

ROOT = Path(__file__).parents[2]
SUITE = "bookworm"
BASE = "python-base:local"
IMAGE = "tallyd:test"
CONTEXT = ("Dockerfile", ".dockerignore", "LICENSE", "README.md", "pyproject.toml", "controller", "store")
LOCKS = ("requirements.lock", "requirements-dev.lock")
# What the Dockerfile takes from the development lock.
BACKEND = ("hatchling", "packaging", "pathspec", "pluggy", "tomlkit", "trove-classifiers")
# Decoys: a build must send neither to the engine.
SECRETS = (".env", "charts/secret.yaml")
UNUSED = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/info",
    "var/cache/apt",
    "var/lib/apt/lists",
)
DEBOOTSTRAP_SECONDS = 600
BUILD_SECONDS = 300


@dataclass(frozen=True)
class Shipped:
    """The built image, the engine that has it, and what the build printed."""

    engine: PrivateEngine
    name: str
    output: str
    context: Path

    def docker(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """The `docker` command on that engine, whatever comes of it."""
        return docker(self.engine, *arguments, stdin=stdin)


def docker(engine: PrivateEngine, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run the `docker` command on an engine."""
    require("docker-cli")
    return subprocess.run(
        [program_path("docker"), *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=BUILD_SECONDS,
        env={
            "DOCKER_HOST": engine.endpoint,
            "DOCKER_BUILDKIT": "0",
            "DOCKER_CONFIG": "/nonexistent",
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": "/nonexistent",
        },
    )


def build(engine: PrivateEngine, context: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """`docker build` as docs/install/image.md has it for a machine without internet."""
    return docker(
        engine, "build", "--build-arg", "PIP_NO_INDEX=1", "--network", "none", *options, "--tag", IMAGE, str(context)
    )


def fill_context(context: Path) -> None:
    """Copy what a checkout has beside the Dockerfile, the wheels, and two files that are nobody's business."""
    for name in (*CONTEXT, *LOCKS):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, context / name)
        else:
            shutil.copy(source, context / name)
    for name in SECRETS:
        (context / name).parent.mkdir(exist_ok=True)
        (context / name).write_text("token: hunter2\n")
    shutil.copytree(wheels(), context / "wheels")


def cache() -> Path:
    """The folder of what is too slow to make in every run."""
    parent = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = parent / "tallyd-tests"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def base_archive() -> Path:
    """A minimal Debian with Python, as a tar file; made once."""
    path = cache() / f"base-{SUITE}-{platform.machine()}.tar"
    with FileLock(f"{path}.lock"):
        if not path.exists():
            with contextlib.ExitStack() as stack:
                work = cache() / f"work-{os.getpid()}"
                stack.callback(shutil.rmtree, work, ignore_errors=True)
                _bootstrap(work)
                _pack(work, path)
    return path


def _bootstrap(root: Path) -> None:
    require("root")
    include = "--include=python3,python3-venv,ca-certificates"
    done = subprocess.run(
        [program("debootstrap"), "--variant=minbase", include, SUITE, str(root)],
        capture_output=True,
        text=True,
        check=False,
        timeout=DEBOOTSTRAP_SECONDS,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def _pack(root: Path, path: Path) -> None:
    for name in UNUSED:
        shutil.rmtree(root / name, ignore_errors=True)
    half = path.with_suffix(".half")
    with tarfile.open(half, "w") as archive:
        archive.add(root, ".")
    half.rename(path)


def wheels() -> Path:
    """The locked wheels for the base's Python, and those of the build backend; downloaded once for each lock."""
    locked = "".join((ROOT / name).read_text() for name in LOCKS)
    folder = cache() / f"wheels-{hashlib.sha256(locked.encode()).hexdigest()[:16]}"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            for stale in cache().glob("wheels-*"):
                if stale.is_dir():
                    shutil.rmtree(stale)
            half = folder.with_name("half")
            shutil.rmtree(half, ignore_errors=True)
            half.mkdir()
            backend = half / "build.lock"
            backend.write_text(_locked((ROOT / LOCKS[1]).read_text(), BACKEND))
            _download(half, ROOT / LOCKS[0], backend)
            backend.unlink()
            half.rename(folder)
    return folder


def _locked(lock: str, packages: tuple[str, ...]) -> str:
    entries = re.findall(r"^\S.*(?:\n .*)*", lock, re.MULTILINE)
    return "\n".join(each for each in entries if each.partition("==")[0] in packages) + "\n"


def _download(folder: Path, *locks: Path) -> None:
    machine = platform.machine()
    platforms = (f"manylinux2014_{machine}", f"manylinux_2_17_{machine}", f"manylinux_2_28_{machine}")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes", "--only-binary=:all:"),
            *("--python-version=3.11", "--implementation=cp", *(f"--platform={each}" for each in platforms)),
            *(argument for lock in locks for argument in ("--requirement", str(lock))),
            f"--dest={folder}",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=BUILD_SECONDS,
    )
    assert done.returncode == 0, done.stderr[-4000:]
