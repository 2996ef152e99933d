"""Words for what strangers raise: plugins and subjects of the conformance kit."""

from __future__ import annotations


def words_of(error: BaseException) -> str:
    """Kind and message of an exception; one that cannot be printed must not hurt who reports it (R15)."""
    kind = type(error).__name__
    try:
        return f"{kind}: {error}"
    except Exception:  # noqa: BLE001  # its own code ends here; that it has no words is what is told
        return f"{kind}, which cannot be printed"
