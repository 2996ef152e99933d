"""Sizes as they are declared: a number and a unit, as in Compose. Pure."""

from __future__ import annotations

import re

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)b?", re.IGNORECASE)
_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}


def bytes_of(text: str) -> int:
    """A size such as ``64m`` in bytes.

    :raises ValueError: it is none.
    """
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no size; write for example 64m or 1.5g")
    return int(float(found[1]) * _UNITS[found[2].lower()])
