"""Which container the controller itself runs in, if any: that one it never acts on (S5).

Nothing tells it for certain, so everything that may be its id counts: one too many refuses a container that was to be
acted on, one too few would let the controller stop itself.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Collection
from pathlib import Path

_WHOLE = re.compile(r"[0-9a-f]{64}")
_SHORT = re.compile(r"[0-9a-f]{12}")
_GIVEN_FILES = ("/etc/hostname", "/etc/hosts", "/etc/resolv.conf")


def ids_told(cgroup: str, mountinfo: str, host_name: str) -> frozenset[str]:
    """Ids, whole or shortened, that ``/proc/self/cgroup``, ``/proc/self/mountinfo`` and the host name tell.

    Of the mounts only the files count that an engine gives to a container: a machine that runs containers has mounts
    with the ids of all of them.
    """
    found = {whole for line in cgroup.splitlines() for whole in _WHOLE.findall(line)[-1:]}
    for line in mountinfo.splitlines():
        fields = line.split()
        if len(fields) > 4 and fields[4] in _GIVEN_FILES:
            found |= set(_WHOLE.findall(fields[3])[-1:])
    if _SHORT.fullmatch(host_name):
        found.add(host_name)
    return frozenset(found)


def own_ids() -> frozenset[str]:
    """What this process can find out of the container that it runs in; nothing outside of one."""
    return ids_told(_text("/proc/self/cgroup"), _text("/proc/self/mountinfo"), socket.gethostname())


def is_one_of(container_id: str, ids: Collection[str]) -> bool:
    """Whether a whole id is among ids that may be shortened."""
    return any(container_id.startswith(each) for each in ids)


def _text(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""
