"""One numbered place on the machine for each private engine or database, and its cleaning.

A slot is locked by an abstract Unix socket: the kernel frees it when its owner dies, however it dies,
and a later run that gets the lock knows that whatever still lies in the slot is dead and clears it.
"""

from __future__ import annotations

import ipaddress
import json
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.harness import remains
from tests.harness.components import program_path

SLOTS_PER_KIND = 16
# Outside the pools that a default Docker engine takes its networks from.
ENGINE_RANGES = tuple(ipaddress.IPv4Network("10.213.0.0/16").subnets(new_prefix=20))
# A disk, unlike /tmp on some machines, and short: a Unix socket's path has at most 107 bytes.
PARENT = Path("/var/tmp")


@dataclass(frozen=True, slots=True)
class Slot:
    """A locked slot: its name (also of bridge and cgroup), directory and lock."""

    name: str
    directory: Path
    network: ipaddress.IPv4Network
    lock: socket.socket

    def release(self) -> None:
        """Clear what is left in the slot and unlock it. Idempotent."""
        if self.lock.fileno() != -1:
            remains.clear(self.name, self.directory)
            self.lock.close()


def claim(kind: str) -> Slot:
    """A free, cleared slot of `kind` ('tdt' or 'tdp'), its directory made; RuntimeError when all are taken.

    Slots that a killed run left dirty are cleared on the way, also those that are not needed.
    """
    mine: Slot | None = None
    for number in range(SLOTS_PER_KIND):
        slot = _try_lock(kind, number)
        if slot is None:
            continue
        if _cleared(slot) and mine is None and (kind != "tdt" or _is_free(slot.network)):
            mine = slot
        else:
            slot.lock.close()
    if mine is None:
        raise RuntimeError(
            f"no free slot of kind {kind}: {SLOTS_PER_KIND} are in use or overlap this machine's routes"
        )
    mine.directory.mkdir(mode=0o755)
    return mine


def _try_lock(kind: str, number: int) -> Slot | None:
    name = f"{kind}{number}"
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        lock.bind(f"\0tallyd-tests-{name}-0")
    except OSError:
        lock.close()
        return None
    return Slot(name=name, directory=PARENT / name, network=ENGINE_RANGES[number], lock=lock)


def _cleared(slot: Slot) -> bool:
    try:
        remains.clear(slot.name, slot.directory)
    except PermissionError:  # another user's remains
        return False
    return True


def _is_free(network: ipaddress.IPv4Network) -> bool:
    return not any(network.overlaps(used) for used in _networks_in_use())


def _networks_in_use() -> Iterator[ipaddress.IPv4Network]:
    routes = subprocess.run([program_path("ip"), "-j", "-4", "route"], capture_output=True, check=True).stdout
    for route in json.loads(routes or "[]"):
        if route["dst"] != "default":
            yield ipaddress.IPv4Network(route["dst"], strict=False)
