"""All checks of the kit, in the order in which they are run: the contract's own."""

from __future__ import annotations

from controller.errors import UsageError
from controller.rollout.conformance import effects, refusals, repeats, reports
from controller.rollout.conformance.bench import Check

_SHAPE, _REPORTS = reports.CHECKS[:2], reports.CHECKS[2:]

CHECKS: tuple[Check, ...] = (*_SHAPE, *refusals.CHECKS, *effects.CHECKS, *repeats.CHECKS, *_REPORTS)


def choose_checks(names: list[str]) -> tuple[Check, ...]:
    """The checks of these names, in their own order; all where no name is given.

    :raises UsageError: there is no check of a name.
    """
    known = {each.name for each in CHECKS}
    if lost := [name for name in names if name not in known]:
        raise UsageError(f"there is no check {lost[0]!r}; there are: {', '.join(each.name for each in CHECKS)}")
    return tuple(each for each in CHECKS if not names or each.name in names)
