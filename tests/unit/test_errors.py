"""`controller.errors`: one tree, and the drawing of it."""

from __future__ import annotations

import re

import pytest

from controller import errors
from store.errors import TallydError

CLASSES = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, TallydError)]


def test_every_error_is_drawn() -> None:
    """House: one tree, drawn; nothing is missing, nothing is left over."""
    assert errors.__doc__ is not None
    tree = errors.__doc__.partition("::")[2].partition("A plugin's")[0]
    drawn = set(re.findall(r"[├└─,]+ +([A-Z]\w+)|^ +([A-Z]\w+)", tree, re.MULTILINE))
    assert {name for pair in drawn for name in pair if name} == {each.__name__ for each in CLASSES}


def test_every_error_is_exported() -> None:
    """House: the store's as well, since the layers above may not know where it comes from."""
    names = {each.__name__ for each in CLASSES}
    assert names <= set(errors.__all__) | {"NotFound"}
    assert set(errors.__all__) == names


@pytest.mark.parametrize("error", CLASSES)
def test_every_error_says_what_it_means(error: type[TallydError]) -> None:
    """House: a docstring each."""
    assert error.__doc__
