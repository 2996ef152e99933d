"""When a cron expression is due. Pure; the only module besides the loop's timer that knows APScheduler.

The expression means what it means to cron, which is not what APScheduler makes of it: weekday 0 and 7 are Sunday, and
where both day of month and weekday are given, either will do. A local time that does not exist on a day (a clock put
forward) comes as much later as the clock was put forward; one that comes twice (put back) counts once, at its first,
unless the hour is left open.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Literal
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from apscheduler.triggers.cron import CronTrigger

_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_LOOKING_BACK = tuple(timedelta(days=days) for days in (1 / 24, 1, 8, 32, 367, 5 * 366))
_STEPPED_BACK = timedelta(days=1)
_LONGEST_CHANGE = timedelta(hours=2)

Misfire = Literal["fire_once", "skip"]


@dataclass(frozen=True, slots=True)
class Cron:
    """A parsed expression; made by :func:`parse_cron`. Due is whatever one of ``triggers`` says.

    They tell the times of a clock on a wall that is never put forward or back: in a time zone, APScheduler loses the
    midnight after some of the days on which clocks are. What such a time is in the zone is worked out here.
    """

    triggers: tuple[CronTrigger, ...]
    zone: ZoneInfo
    every_hour: bool

    def after(self, moment: datetime) -> datetime | None:
        """The first time after a moment, in UTC; ``None`` where there is none in sight."""
        wall = self._wall(moment)
        on_wall = self._next(wall)
        if on_wall is None:
            return None
        first = self._moments(on_wall)[0]
        if self._steady(moment) and self._steady(first):
            return first
        # Near a change of clocks, times on the wall are not in the order in which they come.
        last, found = on_wall + _LONGEST_CHANGE, [first] if first > moment else []
        candidate = self._next(wall - _LONGEST_CHANGE)
        while candidate is not None and (candidate <= last or not found):
            found += [each for each in self._moments(candidate) if each > moment]
            candidate = self._next(candidate)
        return min(found, default=None)

    def _next(self, wall: datetime) -> datetime | None:
        asked = wall + timedelta(microseconds=1)
        found: list[datetime | None] = [each.get_next_fire_time(None, asked) for each in self.triggers]
        return min((each for each in found if each is not None), default=None)

    def _wall(self, moment: datetime) -> datetime:
        return moment.astimezone(self.zone).replace(tzinfo=UTC, fold=0)

    def _moments(self, wall: datetime) -> list[datetime]:
        """When the clock shows that: once, or twice in an hour that comes twice, if both count."""
        first, second = (wall.replace(tzinfo=self.zone, fold=fold).astimezone(UTC) for fold in (0, 1))
        return [first, second] if self.every_hour and second > first else [first]

    def _steady(self, moment: datetime) -> bool:
        before, after = (each.astimezone(self.zone) for each in (moment - _LONGEST_CHANGE, moment + _LONGEST_CHANGE))
        return before.utcoffset() == after.utcoffset()


@dataclass(frozen=True, slots=True)
class Due:
    """What is to be done about a schedule now. ``mark`` is to be remembered; ``fire`` is the time that is due."""

    mark: datetime
    fire: datetime | None
    next_at: datetime | None


@lru_cache(maxsize=256)
def parse_cron(expression: str, time_zone: str) -> Cron:
    """A cron expression of five fields, or one of the words that begin with ``@``.

    :raises ValueError: it is none, names no time that ever comes, or the time zone is unknown.
    """
    from apscheduler.triggers.cron import CronTrigger

    fields = _MACROS.get(expression.strip(), expression).split()
    if len(fields) != 5:
        words = ", ".join(sorted(_MACROS))
        raise ValueError(f"{expression!r} is not five fields (minute hour day month weekday), nor one of {words}")
    minute, hour, day, month, weekday = fields
    zone = _zone(time_zone)
    days = _weekdays(weekday)
    either = not day.startswith("*") and not weekday.startswith("*")
    pairs = [(day, "*"), ("*", days)] if either else [(day, days)]
    triggers = tuple(
        CronTrigger(minute=minute, hour=hour, day=one, month=month, day_of_week=other, timezone=UTC)
        for one, other in pairs
    )
    made = Cron(triggers, zone, hour.startswith("*"))
    if made.after(datetime(2000, 1, 1, tzinfo=UTC)) is None:
        raise ValueError(f"{expression!r} never comes")
    return made


def due(cron: Cron, mark: datetime | None, now: datetime, misfire: Misfire, grace_seconds: float) -> Due:
    """Whether a schedule is due. Of several times that were missed only the last counts.

    A time that is more than the grace late was missed: then ``misfire`` decides. A first look fires nothing. Where
    the clock went back by more than a day, what was remembered is of no use, and begins anew.

    :param mark: up to when all is settled; ``None`` at first.
    """
    if mark is None or mark - now > _STEPPED_BACK:
        return Due(now, None, cron.after(now))
    following = cron.after(mark)
    if following is None or following > now:
        return Due(mark, None, following)
    last = _last_up_to(cron, mark, now) or following
    late = (now - last).total_seconds() > grace_seconds
    return Due(last, None if late and misfire == "skip" else last, cron.after(max(now, last)))


def _last_up_to(cron: Cron, mark: datetime, now: datetime) -> datetime | None:
    """The last time in (mark, now], without going through years of minutes."""
    for back in _LOOKING_BACK:
        begins = max(mark, now - back)
        last = None
        for last in _times(cron, begins, now):  # noqa: B007  # the last one is wanted
            pass
        if last is not None or begins == mark:
            return last
    return None


def _times(cron: Cron, begins: datetime, ends: datetime) -> Iterator[datetime]:
    at = cron.after(begins)
    while at is not None and at <= ends:
        yield at
        at = cron.after(at)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"time zone {name!r} is not known here; write for example Europe/Berlin or UTC") from error


def _weekdays(field: str) -> str:
    """Cron's weekdays as the names of days, since numbers mean other days to APScheduler."""
    if field == "*":
        return "*"
    found: set[int] = set()
    for part in field.lower().split(","):
        span, _, step = part.partition("/")
        first, dash, last = span.partition("-")
        begins = 0 if span == "*" else _weekday(first, field)
        ends = 6 if span == "*" or (step and not dash) else _weekday(last, field) if dash else begins
        if ends < begins:
            ends += 7
        if step and not (step.isdecimal() and int(step) > 0):
            raise ValueError(f"weekday {field!r}: {step!r} is no step")
        found |= {each % 7 for each in range(begins, ends + 1, int(step or 1))}
    return ",".join(_WEEKDAYS[each] for each in sorted(found))


def _weekday(text: str, field: str) -> int:
    if text in _WEEKDAYS:
        return _WEEKDAYS.index(text)
    if text.isdecimal() and int(text) <= 7:
        return int(text)
    raise ValueError(f"weekday {field!r}: {text!r} is no weekday; allowed: 0 to 7 (0 and 7 are Sunday), sun to sat")
