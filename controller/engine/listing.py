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


@dataclass(frozen=True, slots=True)
class ListedItem:
    """One container as the engine wrote it. ``text`` is empty where the answer could not be cut."""

    text: bytes
    decoded: object = None

    @property
    def value(self) -> Any:
        """The JSON value."""
        return self.decoded if self.decoded is not None or not self.text else orjson.loads(self.text)


class ListingDecoder:
    """Remembers the texts of the last listing, and nothing older."""

    def __init__(self) -> None:
        self._known: frozenset[bytes] = frozenset()

    def decode(self, body: bytes) -> Any:
        """An answer → its items, or whatever other JSON value it is.

        :raises orjson.JSONDecodeError: it is not JSON.
        """
        text = body.strip()
        if not (text.startswith(_OPENING) and text.endswith(_CLOSING)):
            return decode_whole(body)
        parts = [b'{"Id":"' + part + b"}" for part in text[len(_OPENING) : -len(_CLOSING)].split(_SEAM)]
        try:
            items = [ListedItem(part, None if part in self._known else orjson.loads(part)) for part in parts]
        except orjson.JSONDecodeError:
            return decode_whole(body)  # the seam was inside a container, or the answer is broken
        self._known = frozenset(parts)
        return items


def decode_whole(body: bytes) -> Any:
    """An answer → its items, or whatever other JSON value it is.

    :raises orjson.JSONDecodeError: it is not JSON.
    """
    said = orjson.loads(body)
    return [ListedItem(b"", item) for item in said] if isinstance(said, list) else said
