"""The two states between which the crash suite is killed: every kind of write lies between them."""

from __future__ import annotations

from dataclasses import replace

from tests.builders import assignment

MOMENT_AFTER = 30.0

_MANY = tuple(assignment(f"blog:web:{number}", f"web-{number}") for number in range(2, 60))
_GONE = tuple(assignment(f"blog:gone:{number}", f"gone-{number}") for number in range(2, 20))
_KEPT = assignment("blog:kept", "kept")

BEFORE = (*_MANY, *_GONE, _KEPT)
"""58 rows that will change, 18 that will be missing, one that stays."""

AFTER = (
    *(replace(row, state="paused", image_ref="busybox:2") for row in _MANY),
    *(assignment(f"blog:new:{number}", f"new-{number}") for number in range(2, 40)),
    _KEPT,
)
"""The first changed, the second not listed, 38 new ones."""

FILLER = BEFORE
