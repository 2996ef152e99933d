"""What routes of the API share: the caller is checked before anything is read, and ETags are generations."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Header, Request, Response
from fastapi.routing import APIRoute

from controller.errors import UsageError

IfMatch = Annotated[str | None, Header(alias="If-Match", description='The generation that is replaced, as `"3"`.')]
_ETAG = re.compile(r'^"([0-9]{1,18})"$')


def guarded_by(check: Callable[[Request], None]) -> type[APIRoute]:
    """Routes that check the caller before FastAPI reads the body: it would answer to a malformed one itself."""

    class Guarded(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def checked(request: Request) -> Response:
                check(request)
                return await handle(request)

            return checked

    return Guarded


def generation_of(if_match: str | None) -> int | None:
    """The generation that a request expects; ``None`` where it expects none.

    :raises UsageError: the header is not an ETag of ours.
    """
    if if_match is None or if_match.strip() == "*":
        return None
    found = _ETAG.match(if_match.strip())
    if found is None:
        raise UsageError(f'If-Match is {if_match!r}; allowed: "N" with N the generation, or *')
    return int(found.group(1))
