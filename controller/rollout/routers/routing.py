"""What routing means, whichever proxy does it: host and path to workload, hash to revision, cookie to session (T4).

Pure, and the arithmetic is nginx's own, to the single hash point, so that a test can hold one against the other.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from controller.rollout.faces import normal_host, normal_path
from controller.rollout.routers.document import Block, Face, RoutedWorkload, RouterDocument
from store.rollout_records import BASIS_POINTS

HASH_SPACE = 2**32
_LARGEST_HASH = HASH_SPACE - 1
_MULTIPLIER = 0x5BD1E995


@dataclass(frozen=True, slots=True)
class Share:
    """A block that takes new sessions, and its part of them in basis points, never 0."""

    block: Block
    weight: int


@dataclass(frozen=True, slots=True)
class Routed:
    """Where a request goes, and the cookie that its answer sets: empty where the one it came with holds."""

    workload: RoutedWorkload
    block: Block
    cookie: str


def match(document: RouterDocument, host: str, path: str) -> RoutedWorkload | None:
    """The workload of a request, or none: 404.

    The host decides first: its own name, else the longest ``*.name`` above it. Of that host's faces the longest one
    wins that is the path or a whole number of its segments.
    """
    name, way = normal_host(host), path if path.startswith("/") else f"/{path}"
    faces = [(face, each) for each in document.workloads for face in each.faces]
    known = {face.host for face, _ in faces}
    chosen = next((each for each in _names(name) if each in known), None)
    fitting = [(face, each) for face, each in faces if face.host == chosen and _covers(face, way)]
    return max(fitting, key=lambda each: len(normal_path(each[0].path)))[1] if fitting else None


def _names(host: str) -> Iterator[str]:
    yield host
    labels = host.split(".")
    yield from (f"*.{'.'.join(labels[start:])}" for start in range(1, len(labels)))


def _covers(face: Face, path: str) -> bool:
    prefix = normal_path(face.path)
    return path == prefix or path.startswith(f"{prefix}/")


def routable(block: Block) -> bool:
    """Whether a session that is on this revision may stay: it answers somewhere, whatever its weight."""
    return bool(block.targets)


def shares(workload: RoutedWorkload) -> Sequence[Share]:
    """Who takes new sessions: weight and no draining. What a draining one had goes to the others in proportion.

    The parts are whole basis points and sum up to 10,000: each is rounded down, then the largest remainders get what
    is left, the first of equal ones first. No block's part is off by as much as one basis point.
    """
    takers = [each for each in workload.blocks if each.weight and not each.draining and each.targets]
    total = sum(each.weight for each in takers)
    if not total:
        return ()
    parts = [divmod(each.weight * BASIS_POINTS, total) for each in takers]
    missing = BASIS_POINTS - sum(whole for whole, _ in parts)
    luckiest = sorted(range(len(parts)), key=lambda index: -parts[index][1])[:missing]
    whole = [part + (index in luckiest) for index, (part, _) in enumerate(parts)]
    return [Share(block, part) for block, part in zip(takers, whole, strict=True)]


def bounds(weights: Sequence[int]) -> Sequence[int]:
    """Upper ends (exclusive) of the parts of the hash space, in order; the last one is its end.

    nginx adds up ``floor(weight * (2**32 - 1) / 10000)`` and takes the first bound above the hash; its last bucket,
    ``*``, takes the rest. Each bound is so less than two points per entry below its ideal place, out of 429,497
    points that a basis point has: parts are exact to far less than one basis point.
    """
    inner = accumulate(weight * _LARGEST_HASH // BASIS_POINTS for weight in weights[:-1])
    return [*inner, HASH_SPACE]


def choose(parts: Sequence[Share], point: int) -> Block | None:
    """The block of a point of the hash space; none where nobody takes new sessions."""
    if not parts:
        return None
    return parts[bisect_right(bounds([each.weight for each in parts]), point)].block


def hash_point(key: bytes) -> int:
    """MurmurHash2 with 32 bits and seed 0, as nginx's ``split_clients`` uses it."""
    value, end = len(key), len(key) & ~3
    for start in range(0, end, 4):
        word = int.from_bytes(key[start : start + 4], "little") * _MULTIPLIER & _LARGEST_HASH
        word = (word ^ word >> 24) * _MULTIPLIER & _LARGEST_HASH
        value = value * _MULTIPLIER & _LARGEST_HASH ^ word
    if rest := key[end:]:
        value = (value ^ int.from_bytes(rest, "little")) * _MULTIPLIER & _LARGEST_HASH
    value = (value ^ value >> 13) * _MULTIPLIER & _LARGEST_HASH
    return value ^ value >> 15


def short_name(workload_id: str) -> str:
    """The workload's name where only letters, digits and ``_`` are allowed: readable, and no two are the same."""
    digest = hashlib.sha256(workload_id.encode()).hexdigest()[:8]
    return f"{re.sub('[^a-z0-9]', '_', workload_id.lower())[:40]}_{digest}"


def cookie_name(workload_id: str) -> str:
    """The session cookie; one a workload, since workloads may share a host."""
    return f"tallyd_{short_name(workload_id)}"


def cookie_value(workload: RoutedWorkload, block: Block) -> str:
    """What the cookie says: the epoch, then the revision."""
    return f"{workload.stickiness_epoch}.{block.revision_id}"


def held(workload: RoutedWorkload, cookie: str) -> Block | None:
    """The block that a cookie holds on to; none where it is of another epoch, or its revision is not routable."""
    for block in workload.blocks:
        if routable(block) and cookie_value(workload, block).lower() == cookie.lower():
            return block
    return None


def route(workload: RoutedWorkload, cookies: Mapping[str, str], point: int) -> Routed | None:
    """Where a request to this workload goes; none where nobody takes it: 503."""
    block = held(workload, cookies.get(cookie_name(workload.id), ""))
    if block is not None:
        return Routed(workload, block, "")
    block = choose(shares(workload), point)
    return None if block is None else Routed(workload, block, cookie_value(workload, block))
