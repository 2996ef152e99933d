"""Who may read and write. Bearer tokens (RFC 6750), compared in constant time on bytes."""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from fastapi import HTTPException, Request

API = "api"
"""Who acts by a request, as history names it: the token says no more."""

_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="tallyd"'}


@dataclass(frozen=True, slots=True)
class Access:
    """Writes need the token; off loopback so do reads (O4).

    ``control_token`` is this process's own: whoever may read the store finds it there, and may ask for a pass or a
    deploy.
    """

    token: str | None
    on_loopback: bool
    control_token: str = ""

    def check_read(self, request: Request) -> None:
        """Let a read pass.

        :raises HTTPException: 401 without the right token, 403 where none is configured.
        """
        if not self.on_loopback:
            self._check(request)

    def check_write(self, request: Request) -> None:
        """Let a write pass.

        :raises HTTPException: 401 without the right token, 403 where none is configured.
        """
        self._check(request)

    def check_pass(self, request: Request) -> None:
        """Let somebody ask for a pass or a deploy.

        :raises HTTPException: as :meth:`check_write`.
        """
        presented = bearer_token(request)
        if not (presented and self.control_token and _equal(presented, self.control_token)):
            self._check(request)

    def _check(self, request: Request) -> None:
        presented = bearer_token(request)
        if presented is None:
            raise HTTPException(401, "a bearer token is needed: Authorization: Bearer <token>", _CHALLENGE)
        if self.token is None:
            raise HTTPException(403, "no API token is configured: set TALLYD_API_TOKEN and restart")
        if not _equal(presented, self.token):
            raise HTTPException(401, "this bearer token is not the right one", _CHALLENGE)


def _equal(presented: str, expected: str) -> bool:
    return hmac.compare_digest(presented.encode(), expected.encode())


def bearer_token(request: Request) -> str | None:
    """The token that a request presents; ``None`` where there is none or the scheme is another."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None
