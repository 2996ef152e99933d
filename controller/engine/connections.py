"""Who is connected to a container, as the kernel counts it in the container's own network namespace.

That can be seen only where the engine is on this machine and its processes are among ours. Everywhere else the answer
is that nobody knows, never that nobody is there: a number of a process may be somebody else's here.
"""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROC = Path("/proc")
_LISTENS = 0x0A
# Established, and what still may carry something: being set up (SYN_RECV), the peer has said all (CLOSE_WAIT), or we
# have, and not all of it has arrived (FIN_WAIT1, LAST_ACK, CLOSING).
_IN_USE = (0x01, 0x03, 0x04, 0x08, 0x09, 0x0B)


@dataclass(frozen=True, slots=True)
class Socket:
    """One TCP socket; ``state`` is the kernel's number. ``peer`` is the address of the other end."""

    port: int
    peer: ipaddress.IPv4Address | ipaddress.IPv6Address
    state: int


def count_connections(said: Mapping[str, Any], proc: Path = PROC) -> int | None:
    """How many connections from outside there are to what a container listens on; ``None`` where it cannot be seen.

    Connections that it made itself, as to a database, do not count, nor do those of its health check.

    :param said: the container as the engine inspects it.
    """
    state, host, container_id = said.get("State") or {}, said.get("HostConfig") or {}, str(said.get("Id") or "")
    shared = str(host.get("NetworkMode", "")).partition(":")[0] in ("host", "container", "ns")
    pid = int(state.get("Pid") or 0)
    if shared or pid <= 0 or not container_id or not _is_of(proc / str(pid), container_id):
        return None
    try:
        sockets = [each for name in ("tcp", "tcp6") for each in _sockets(proc / str(pid) / "net" / name)]
    except OSError:
        return None
    return count_incoming(sockets)


def count_incoming(sockets: Iterable[Socket]) -> int:
    """Of the sockets of a namespace: connections in use, from elsewhere, to a port that is listened on. Pure."""
    there = list(sockets)
    listening = {each.port for each in there if each.state == _LISTENS}
    return sum(each.state in _IN_USE and each.port in listening and not _is_own(each.peer) for each in there)


def _is_of(process: Path, container_id: str) -> bool:
    """Whether a process is one of that container: engines name its control group after it."""
    try:
        return container_id in (process / "cgroup").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False


def _sockets(table: Path) -> Iterator[Socket]:
    """A table of the kernel's; a machine without IPv6 has none for it."""
    try:
        lines = table.read_text(encoding="ascii", errors="replace").splitlines()[1:]
    except FileNotFoundError:
        return
    for line in lines:
        _, local, remote, state, *_ = line.split()
        yield Socket(int(local.rpartition(":")[2], 16), _address(remote.rpartition(":")[0]), int(state, 16))


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """In hex, in words of four bytes that are in this machine's order."""
    words = [int(text[start : start + 8], 16).to_bytes(4, sys.byteorder) for start in range(0, len(text), 8)]
    packed = b"".join(words)
    return ipaddress.IPv4Address(packed) if len(packed) == 4 else ipaddress.IPv6Address(packed)


def _is_own(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
