"""Removing every trace of a private engine or database: processes, cgroups, mounts, bridges, files.

Works from the names on the machine alone, so that it also cleans up after a run that was killed.
It touches only what carries the slot's name or lies in the slot's directory.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.harness.components import program_path
from tests.harness.waiting import wait_until

DAEMONS = ("dockerd", "containerd", "postgres")
CGROUPS = Path("/sys/fs/cgroup")
LINKS = Path("/sys/class/net")


def clear(name: str, directory: Path) -> None:
    """Remove whatever is left of slot `name`; nothing happens where nothing is left."""
    if not (directory.exists() or (LINKS / name).exists() or _cgroups(name)):
        return
    _thaw(name)
    kill_all(daemons_of(directory))
    kill_all(_in_cgroups(name))
    _unmount_below(directory)
    _remove_links(name, directory)
    _remove_cgroups(name)
    _remove_tree(directory)


def daemons_of(directory: Path, program: str = "") -> list[int]:
    """Pids of daemons (dockerd, containerd and its shims, postgres) that were started on `directory`."""
    return [pid for pid in _pids() if _is_daemon_of(_command_line(pid), directory, program)]


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie that nobody has reaped yet does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"


def kill_all(pids: list[int]) -> None:
    """SIGKILL, and wait until each is gone; AssertionError when one is not within 10 s."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any(is_alive(pid) for pid in pids), 10, f"processes {pids} are gone")


def clear_immutable(directory: Path) -> None:
    """Take the immutable flag from everything below `directory`."""
    if program_path("chattr"):
        subprocess.run([program_path("chattr"), "-R", "-i", str(directory)], capture_output=True, check=False)


def _is_daemon_of(command_line: list[str], directory: Path, program: str) -> bool:
    if not command_line or not any(f"{directory}/" in f"{argument}/" for argument in command_line):
        return False
    name = Path(command_line[0]).name
    return name == program if program else name.startswith(DAEMONS)


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _command_line(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def _cgroups(name: str) -> list[Path]:
    parents = [CGROUPS, *CGROUPS.glob("*/")]
    return [parent / name for parent in parents if (parent / name).is_dir()]


def _in_cgroups(name: str) -> list[int]:
    files = [file for group in _cgroups(name) for file in group.rglob("cgroup.procs")]
    return sorted({int(pid) for file in files for pid in file.read_text().split()})


def _thaw(name: str) -> None:
    # A frozen (paused) process of a v1 cgroup does not die of SIGKILL.
    for state in (file for group in _cgroups(name) for file in group.rglob("freezer.state")):
        with contextlib.suppress(OSError):
            state.write_text("THAWED")


def _remove_cgroups(name: str) -> None:
    wait_until(lambda: all(_remove_cgroup(group) for group in _cgroups(name)), 10, f"cgroups {name} are removed")


def _remove_cgroup(group: Path) -> bool:
    directories = sorted((path for path in group.rglob("*/") if path.is_dir()), reverse=True)
    try:
        for directory in [*directories, group]:
            directory.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _unmount_below(directory: Path) -> None:
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for mount in sorted((mount for mount in mounts if f"{mount}/".startswith(f"{directory}/")), reverse=True):
        subprocess.run(["umount", "--lazy", mount], capture_output=True, check=False)


def _remove_links(name: str, directory: Path) -> None:
    for link in [*([name] if (LINKS / name).exists() else []), *_bridges_of(directory)]:
        subprocess.run([program_path("ip"), "link", "delete", link], capture_output=True, check=False)


def _bridges_of(directory: Path) -> list[str]:
    # An engine leaves the bridges of its networks behind; its own database proves that they were its own.
    database = directory / "data/network/files/local-kv.db"
    if not database.exists():
        return []
    content = database.read_bytes()
    named = [(link.name, re.fullmatch(r"br-([0-9a-f]{12})", link.name)) for link in LINKS.iterdir()]
    return [name for name, match in named if match and match[1].encode() in content]


def _remove_tree(directory: Path) -> None:
    if not directory.exists():
        return
    shutil.rmtree(directory, ignore_errors=True)
    if directory.exists():
        clear_immutable(directory)
        shutil.rmtree(directory)
