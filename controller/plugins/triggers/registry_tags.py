"""Which of a repository's tags is the newest that fits a pattern. Pure.

Tags that are versions go by their numbers, `1.10` after `1.9`, with or without a `v`; what follows a `-` makes it a
variant or pre-release, which counts only where the pattern has a `-` too. Only where no tag that fits is a version do
all go by their text, with numbers in it as numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

_VERSION = re.compile(r"v?(\d+(?:\.\d+)*)(?:-([0-9A-Za-z.-]+))?")
_NUMBER = re.compile(r"(\d+)")
_MOST_DIGITS = 30

_Natural = tuple[tuple[int, int, str], ...]


def newest(tags: Iterable[str], pattern: str) -> str:
    """The newest tag that fits; empty where none does."""
    fitting = sorted(each for each in set(tags) if fnmatchcase(each, pattern))
    versions = {each: found for each in fitting if (found := _version(each)) is not None}
    if not versions:
        return max(fitting, key=_natural, default="")
    counting = [each for each, (_, variant) in versions.items() if not variant or "-" in pattern]
    return max(counting, key=lambda each: _rank(*versions[each]), default="")


def _version(tag: str) -> tuple[tuple[int, ...], str] | None:
    found = _VERSION.fullmatch(tag)
    if found is None or len(tag) > _MOST_DIGITS * 4:
        return None
    return tuple(int(each) for each in found[1].split(".")), found[2] or ""


def _rank(numbers: tuple[int, ...], variant: str) -> tuple[tuple[int, ...], bool, _Natural, int]:
    """`1.4` and `1.4.0` are the same version, and the more exact of two such tags counts."""
    bare = numbers
    while len(bare) > 1 and bare[-1] == 0:
        bare = bare[:-1]
    return bare, not variant, _natural(variant), len(numbers)


def _natural(text: str) -> _Natural:
    parts = (each for each in _NUMBER.split(text) if each)
    return tuple((0, int(each), "") if each.isdecimal() else (1, 0, each) for each in parts)
