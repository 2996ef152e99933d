"""Runtime configs for tests of routers, and keys that nginx hashes to a wanted point."""

from __future__ import annotations

import itertools
import json
import string
from collections.abc import Mapping, Sequence
from typing import Any

from controller.rollout.routers.document import RouterDocument, load_document
from controller.rollout.routers.routing import hash_point
from tests.builders import HOST

_INVERSE = pow(0x5BD1E995, -1, 2**32)
_MASK = 2**32 - 1
_SAFE = frozenset((string.ascii_letters + string.digits).encode())


def block(revision: str, weight: int, *ports: int, draining: bool = False) -> dict[str, Any]:
    """A block with targets on loopback."""
    targets = [{"address": "127.0.0.1", "port": port} for port in ports]
    return {"revision_id": revision, "weight": weight, "targets": targets, "draining": draining}


def workload(
    name: str, faces: Sequence[str], blocks: Sequence[Mapping[str, Any]], *, epoch: int = 0, generation: int = 0
) -> dict[str, Any]:
    """A workload; a face is ``host/path``."""
    split = [each.partition("/") for each in faces]
    return {
        "id": name,
        "split_generation": generation,
        "stickiness_epoch": epoch,
        "faces": [{"host": host, "path": f"/{path}"} for host, _, path in split],
        "blocks": list(blocks),
    }


def document(*workloads: Mapping[str, Any], host: str = HOST) -> dict[str, Any]:
    """A runtime config."""
    return {"schema": 1, "host": host, "workloads": list(workloads)}


def loaded(*workloads: Mapping[str, Any]) -> RouterDocument:
    """The same, as a router sees it."""
    return load_document(json.dumps(document(*workloads)), HOST)[0]


def key_with_hash(point: int) -> str:
    """Letters and digits that hash to `point`: MurmurHash2 is run backwards from it to the last four bytes."""
    for number in itertools.count():
        prefix = f"{number:08}"
        last = _word_before(_unfinished(point), _state_after(prefix.encode()))
        tail = last.to_bytes(4, "little")
        if _SAFE.issuperset(tail):
            key = prefix + tail.decode()
            assert hash_point(key.encode()) == point
            return key
    raise AssertionError


def _unfinished(point: int) -> int:
    value = point ^ point >> 15 ^ point >> 30
    value = value * _INVERSE & _MASK
    return value ^ value >> 13 ^ value >> 26


def _state_after(prefix: bytes) -> int:
    """The hash's state when all but the last four bytes of the key are in it."""
    value = len(prefix) + 4
    for start in range(0, len(prefix), 4):
        word = int.from_bytes(prefix[start : start + 4], "little") * 0x5BD1E995 & _MASK
        word = (word ^ word >> 24) * 0x5BD1E995 & _MASK
        value = value * 0x5BD1E995 & _MASK ^ word
    return value


def _word_before(after: int, before: int) -> int:
    mixed = after ^ before * 0x5BD1E995 & _MASK
    mixed = mixed * _INVERSE & _MASK
    return (mixed ^ mixed >> 24) * _INVERSE & _MASK
