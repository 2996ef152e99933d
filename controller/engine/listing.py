"""Decoding a listing at the price of what changed in it.

The engine sends every container anew at each listing, and nearly all of them unchanged to the byte. Each one's
text is looked up before it is decoded; the same text yields the same object, so what was worked out from it
can be kept too. All that is saved is time: an answer that cannot be taken apart is decoded as a whole.
"""

from __future__ import annotations

from typing import Any

import orjson

# Inside a JSON string the quotes would be escaped, so this can only stand between objects.
_SEAM = b'},{"Id":"'
_OPENING, _CLOSING = b'[{"Id":"', b"}]"


class ListingDecoder:
    """Remembers the texts and objects of the last listing, and nothing older."""

    def __init__(self) -> None:
        self._known: dict[bytes, object] = {}

    def decode(self, body: bytes) -> Any:
        """The JSON value of an answer.

        :raises orjson.JSONDecodeError: it is not JSON.
        """
        text = body.strip()
        if not (text.startswith(_OPENING) and text.endswith(_CLOSING)):
            return orjson.loads(body)
        parts = text[len(_OPENING) : -len(_CLOSING)].split(_SEAM)
        known = self._known
        try:
            decoded = {part: known[part] if part in known else _decode(part) for part in parts}
        except orjson.JSONDecodeError:
            return orjson.loads(body)  # the seam was inside a container, or the answer is broken
        self._known = decoded
        return [decoded[part] for part in parts]

    def forget(self) -> None:
        """Decode everything anew next time."""
        self._known = {}


def _decode(part: bytes) -> object:
    return orjson.loads(b'{"Id":"' + part + b"}")
