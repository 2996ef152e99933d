"""Decoding a listing at the price of what changed in it.

The engine sends every container anew at each listing, nearly all of them unchanged to the byte. So the answer is
cut into one text a container, and a text that was well-formed in the last listing is not decoded again. What
this saves is time only: an answer that cannot be cut is decoded as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

# Inside a JSON string the quotes would be escaped, so this can only stand between objects.
_SEAM = b'},{"Id":"'
_OPENING, _CLOSING = b'[{"Id":"', b"}]"
_ENDS = (_CLOSING, _CLOSING + b"\n")


@dataclass(frozen=True, slots=True)
class ListedItem:
    """One container as the engine wrote it, without what stands between two: its text begins in its id, and lacks the
    last brace. ``text`` is empty where the answer could not be cut.
    """

    text: bytes
    decoded: object = None

    @property
    def value(self) -> Any:
        """The JSON value."""
        return self.decoded if self.decoded is not None or not self.text else _load(self.text)


class ListingDecoder:
    """Remembers the texts of the last listing, and nothing older."""

    def __init__(self) -> None:
        self._known: frozenset[bytes] = frozenset()

    def decode(self, body: bytes) -> Any:
        """An answer → its items, or whatever other JSON value it is.

        :raises orjson.JSONDecodeError: it is not JSON.
        """
        if not (body.startswith(_OPENING) and body.endswith(_ENDS)):
            return decode_whole(body)
        # Only the first and the last text are copied once more: an answer may have many megabytes.
        parts = body.split(_SEAM)
        parts[0] = parts[0].removeprefix(_OPENING)
        parts[-1] = parts[-1].removesuffix(b"\n").removesuffix(_CLOSING)
        try:
            items = [ListedItem(part, None if part in self._known else _load(part)) for part in parts]
        except orjson.JSONDecodeError:
            return decode_whole(body)  # the seam was inside a container, or the answer is broken
        self._known = frozenset(parts)
        return items


def _load(text: bytes) -> Any:
    return orjson.loads(b'{"Id":"' + text + b"}")


def decode_whole(body: bytes) -> Any:
    """An answer → its items, or whatever other JSON value it is.

    :raises orjson.JSONDecodeError: it is not JSON.
    """
    said = orjson.loads(body)
    return [ListedItem(b"", item) for item in said] if isinstance(said, list) else said
