"""Environment variables in a source config: text, or the name of a secret. A plain value is never called a secret."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

SECRET_NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$"

_HOW = "store the value with `tallyd secrets set WORKLOAD NAME`, and write {secret: NAME} here"


class SecretRef(BaseModel):
    """A variable whose value is a secret of the workload."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    secret: str = Field(pattern=SECRET_NAME, description="name of a secret of this workload")


def _text_or_reference(value: Any) -> Any:
    if isinstance(value, str | SecretRef):
        return value
    if isinstance(value, Mapping):
        if set(value) == {"secret"} and isinstance(value["secret"], str):
            return value
        if "value" in value:
            raise ValueError(f"a secret value has no place in a manifest (it is not shown): {_HOW}")
        raise ValueError(f"allowed is text, or {{secret: NAME}}: {_HOW}")
    raise ValueError("a value is text: put it in quotes")


EnvValue = Annotated[str | SecretRef, BeforeValidator(_text_or_reference)]
"""The type of a variable in an options model; the mapping of them is to stand under the key ``env``."""
