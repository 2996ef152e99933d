"""`controller.cli.rollout`: shares of traffic as people write them, in whole basis points all the way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.cli.rollout import parse_entry
from controller.errors import UsageError
from controller.rollout.rollouts import percent_of
from store.rollout_records import SplitEntry


@pytest.mark.parametrize(
    ("text", "revision_id", "weight"),
    [
        ("shop-2=10%", "shop-2", 1_000),
        ("shop-2=0.01%", "shop-2", 1),
        ("shop-2=1000bp", "shop-2", 1_000),
        ("shop-2=100%", "shop-2", 10_000),
        ("shop-2=0%", "shop-2", 0),
        ("shop-2=0bp", "shop-2", 0),
        ("shop-2=99.99%", "shop-2", 9_999),
        ("shop-2=0.1%", "shop-2", 10),
        ("shop-2=0.29%", "shop-2", 29),
        ("shop-2=1.15%", "shop-2", 115),
        ("shop-2=64.35%", "shop-2", 6_435),
        ("shop-2=12.3400%", "shop-2", 1_234),
        ("shop-2=007%", "shop-2", 700),
        ("a=b-1=5%", "a=b-1", 500),
        ("shop-2=101%", "shop-2", 10_100),
    ],
)
def test_a_share_becomes_basis_points(text: str, revision_id: str, weight: int) -> None:
    """T1: exact; 1.15 and 64.35 are among those that floats get wrong. Bounds and sums are for the store to say."""
    assert parse_entry(text) == SplitEntry(revision_id, weight)


@pytest.mark.parametrize("text", ["shop-2=0.001%", "shop-2=33.333%", "shop-2=1.005%", "shop-2=0.0000000000001%"])
def test_more_precision_than_a_basis_point(text: str) -> None:
    """T1: refused rather than rounded."""
    with pytest.raises(UsageError, match=r"more precise than a basis point \(0.01%\)"):
        parse_entry(text)


@pytest.mark.parametrize(
    "text",
    [
        *("shop-2", "shop-2=", "shop-2=%", "shop-2=bp", "shop-2=10", "=10%", "10%", ""),
        *("shop-2=-10%", "shop-2=-1bp", "shop-2=+1%", "shop-2=1e1%", "shop-2=.5%", "shop-2=5.%", "shop-2=0.5bp"),
        *("shop-2=1,5%", "shop-2= 5%", "shop-2=5 %", "shop-2=5%%", "shop-2=5%bp", "shop-2=nan%", "shop-2=inf%"),
        *("shop-2=١%", "shop-2=5%\n", "shop-2=1_0%", f"shop-2={'9' * 5_000}%", f"shop-2=1.{'0' * 5_000}%"),
    ],
)
def test_what_is_no_share(text: str) -> None:
    """T1, O1: a usage error that says what is allowed."""
    with pytest.raises(UsageError, match="is no entry of a split; allowed: REVISION=10%"):
        parse_entry(text)


@given(st.integers(0, 10_000))
def test_a_share_that_is_shown_can_be_set(weight: int) -> None:
    """T1: each basis point has its own text, which means just that."""
    assert parse_entry(f"shop-1={percent_of(weight)}") == SplitEntry("shop-1", weight)
    assert parse_entry(f"shop-1={weight}bp") == SplitEntry("shop-1", weight)


@pytest.mark.parametrize(
    ("weight", "text"), [(0, "0%"), (1, "0.01%"), (10, "0.1%"), (1_000, "10%"), (9_999, "99.99%"), (10_000, "100%")]
)
def test_a_share_is_shown_without_noughts(weight: int, text: str) -> None:
    """T1: as people write it."""
    assert percent_of(weight) == text
