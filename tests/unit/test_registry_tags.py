"""`controller.plugins.triggers.registry_tags`: the newest tag that fits a pattern."""

from __future__ import annotations

import pytest

from controller.plugins.triggers.registry_tags import newest


@pytest.mark.parametrize(
    ("tags", "pattern", "expected"),
    [
        (["1.9", "1.10", "2.0"], "1.*", "1.10"),
        (["v1.9.0", "v1.10.0", "v1.10.0-rc1"], "v1.*", "v1.10.0"),
        (["1.10", "1.10.0"], "1.*", "1.10.0"),
        (["1.10.1", "1.10"], "1.*", "1.10.1"),
        (["1.9-alpine", "1.10-alpine", "1.11"], "*-alpine", "1.10-alpine"),
        (["1.0-rc2", "1.0-rc10", "0.9"], "*-rc*", "1.0-rc10"),
        (["1.0-rc2", "1.0"], "1.0*-*", "1.0-rc2"),
        (["1.1-alpine"], "1.*", ""),
        (["main-9", "main-10", "dev-11"], "main-*", "main-10"),
        (["latest", "1.2"], "*", "1.2"),
        (["latest"], "1.*", ""),
        ([], "*", ""),
        (["1.2", "1.3"], "1.[0-2]", "1.2"),
        (["9" * 4000, "1.2"], "*", "1.2"),
    ],
)
def test_the_newest_tag(tags: list[str], pattern: str, expected: str) -> None:
    """S1: versions by their numbers, variants only where the pattern has a dash, other names by their text."""
    assert newest(tags, pattern) == expected
    assert newest(reversed(tags), pattern) == expected
