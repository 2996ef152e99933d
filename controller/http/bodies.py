"""Bodies of webhooks: read up to a limit, and refused in a way that the caller hears of."""

from __future__ import annotations

from anyio import move_on_after
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_LINGER_SECONDS = 2.0
_MOST_LINGERED_BYTES = 16 * 1024 * 1024


async def read_body(request: Request, most_bytes: int) -> bytes | None:
    """The body; ``None`` for one that is too large, of which no more is read than shows that.

    :raises ClientDisconnect: the connection was closed before its end.
    """
    declared = request.headers.get("Content-Length", "")
    if declared.isdecimal() and int(declared[:20]) > most_bytes:
        return None
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most_bytes:
            return None
    return bytes(body)


class Early(Response):
    """An answer that is given before the request was read to its end.

    Some of the rest is taken, for a moment, and thrown away: a connection that is closed while its client still sends
    is reset, and the answer is lost on the way (RFC 9112, 9.6).
    """

    def __init__(self, told: Response) -> None:
        super().__init__(told.body, told.status_code, media_type=told.media_type)
        self.headers["Connection"] = "close"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, take what comes, and end."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        taken = 0
        with move_on_after(_LINGER_SECONDS):
            while taken <= _MOST_LINGERED_BYTES:
                message = await receive()
                taken += len(message.get("body", b""))
                if message["type"] != "http.request" or not message.get("more_body", False):
                    break
        await send({"type": "http.response.body", "body": b"", "more_body": False})
