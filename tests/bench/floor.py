"""The floor of a tick: the bare `GET /containers/json?all=1`, read to its end and not looked at.

No HTTP library: a request in one piece, on a connection that is kept, and bytes until the last chunk.
"""

from __future__ import annotations

import socket
from pathlib import Path

_RECEIVED_BYTES = 256 * 1024
_LAST_CHUNK = b"\r\n0\r\n\r\n"
_HEAD_ENDS = b"\r\n\r\n"


class Floor:
    """One kept connection to the engine's socket."""

    def __init__(self, socket_path: Path | str, target: str = "/containers/json?all=1") -> None:
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._connection.connect(str(socket_path))
        self._request = f"GET {target} HTTP/1.1\r\nHost: engine\r\n\r\n".encode()

    def get(self) -> int:
        """Ask, and read the whole answer; returns its size in bytes, head included.

        :raises ConnectionError: the answer broke off, or was not a success.
        """
        self._connection.sendall(self._request)
        answer = bytearray()
        while not _is_whole(answer):
            piece = self._connection.recv(_RECEIVED_BYTES)
            if not piece:
                raise ConnectionError("the engine's answer broke off")
            answer += piece
        if not answer.startswith(b"HTTP/1.1 200"):
            raise ConnectionError(f"the engine answered {bytes(answer[:80])!r}")
        return len(answer)

    def close(self) -> None:
        """Give the connection back."""
        self._connection.close()


def _is_whole(answer: bytearray) -> bool:
    # A raw line end cannot stand inside JSON, so the last chunk is not to be mistaken.
    if answer.endswith(_LAST_CHUNK):
        return True
    head, ends, _ = answer[:2048].partition(_HEAD_ENDS)
    if not ends:
        return False
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(answer) - len(head) - len(ends) >= int(line.partition(b":")[2])
    return False
