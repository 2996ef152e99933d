"""Small worlds for property tests: few names, so that everything collides.

A scene is drawn as bytes, some for each container and row: many times as fast as drawing records, and
hypothesis still shrinks it, as zero bytes mean "absent".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from store.records import MISSING, Assignment, Container, Snapshot
from tests.builders import assignment, container, snapshot, workload

WORKLOADS = (
    workload("shop", "project"),
    workload("www", "site", ref="site-1"),
    workload("blog", "stack"),
    workload("mail", "stack"),
)
MOST = 7

_CONTAINER: dict[str, tuple[Any, ...]] = {
    "state": ("running", "stopped", "paused", "removing"),
    "created": (1, 2, 3),
    "workload_id": ("", "", "blog", "shop", "www", "forged"),
    "workload_kind": ("", "stack", "project"),
    "role": ("web", "", "db"),
    "static_site": ("", "", "site-1", "lost"),
    "compose_project": ("tallyd-blog", "", "tallyd-mail", "tallyd-lost"),
    "compose_service": ("web", "", "db"),
    "compose_number": (1, 1, 2),
    "oneoff": (False, False, True),
    "health": ("none", "healthy"),
}
_ROW: dict[str, tuple[Any, ...]] = {
    "id": ("blog:web", "blog:db", "blog:web:2", "mail:web", "www:site", "shop:one", "shop:two", "blog:named"),
    "container": (*range(MOST), None, "gone", "gone too"),
    "state": ("running", MISSING, "stopped", ""),
}
_KIND = {each.id: str(each.kind) for each in WORKLOADS}


def _decoded(pools: dict[str, tuple[Any, ...]], code: int) -> dict[str, Any]:
    fields = {}
    for name, pool in pools.items():
        code, chosen = divmod(code, len(pool))
        fields[name] = pool[chosen]
    return fields


def _containers(codes: Sequence[int]) -> tuple[Container, ...]:
    return tuple(container(str(number), **_decoded(_CONTAINER, code)) for number, code in enumerate(codes))


def _snapshot(codes: Sequence[int]) -> Snapshot:
    rows: dict[str, Assignment] = {}
    taken: set[str | None] = set()
    for code in codes:
        fields = _decoded(_ROW, code)
        name = None if fields["container"] is None else str(fields["container"])
        if fields["id"] in rows or (name in taken and name is not None):
            continue
        taken.add(name)
        kind = _KIND[fields["id"].partition(":")[0]]
        rows[fields["id"]] = assignment(fields["id"], name, state=fields["state"], workload_kind=kind)
    return snapshot(rows.values(), WORKLOADS)


@dataclass(frozen=True, slots=True)
class Scene:
    """What is listed, and what the index held before."""

    containers: tuple[Container, ...]
    unreadable: frozenset[str]
    snapshot: Snapshot

    @property
    def listed(self) -> frozenset[str]:
        """The ids of all containers listed."""
        return frozenset(each.id for each in self.containers) | self.unreadable


def _codes(data: bytes, width: int, *, absent_below: int) -> list[int]:
    pieces = [data[begin : begin + width] for begin in range(0, len(data), width)]
    return [int.from_bytes(piece[1:], "little") for piece in pieces if piece[0] >= absent_below]


def _scene(containers: bytes, rows: bytes) -> Scene:
    # One of the containers may be listed and illegible.
    all_of_them = _containers(_codes(containers[1:], 4, absent_below=100))
    hidden = containers[0] - 1
    illegible = frozenset({all_of_them[hidden].id}) if 0 <= hidden < len(all_of_them) else frozenset()
    readable = tuple(each for each in all_of_them if each.id not in illegible)
    return Scene(readable, illegible, _snapshot(_codes(rows, 3, absent_below=100)))


SCENES: st.SearchStrategy[Scene] = st.builds(
    _scene, st.binary(min_size=1 + 4 * MOST, max_size=1 + 4 * MOST), st.binary(min_size=3 * 6, max_size=3 * 6)
)
