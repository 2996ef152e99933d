"""How the API's errors are described: which statuses an operation has, and the one shape that all of them share.

Describes only; what is answered is decided where the error is (`docs/api.md` has the table).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field

_MEANINGS: Mapping[int, str] = {
    201: "Created; the body is that of 200",
    202: "It is under way and goes on; the body is that of 200",
    400: "The body is no UTF-8",
    401: "No bearer token, or the wrong one",
    403: "No token is configured",
    404: "There is no such thing",
    409: "A conflict with what is there",
    412: "The generation is another one",
    422: "The body or a parameter is wrong",
    503: "The store is not reachable, or the controller is stopping",
    504: "The pass did not end in time; it goes on",
}


class Problem(BaseModel):
    """The body of an error."""

    detail: str = Field(description="What is wrong, for a person; a problem a line.")


class StaleGeneration(Problem):
    """The body of a 412."""

    expected: int = Field(description="The generation that the request named.")
    current: int | None = Field(description="The generation that is stored; null where there is no split yet.")


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of an operation that may answer with these statuses."""
    return {status: {"description": _MEANINGS[status]} | _body_of(status) for status in statuses}


def _body_of(status: int) -> dict[str, Any]:
    if status < 400:
        return {}
    return {"model": StaleGeneration if status == 412 else Problem}
