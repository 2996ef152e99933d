"""`controller.plugins.triggers.cron`: when an expression is due, on days that have other hours too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from controller.plugins.triggers.cron import Due, Misfire, due, parse_cron

BERLIN = "Europe/Berlin"


def at(text: str, zone: str = "UTC") -> datetime:
    """A moment, in UTC; ``text`` is local to the zone."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def times(expression: str, zone: str, after: datetime, count: int) -> list[str]:
    """The next times, as a clock on the wall shows them."""
    cron, found = parse_cron(expression, zone), []
    for _ in range(count):
        following = cron.after(after)
        assert following is not None
        after = following
        found.append(f"{after.astimezone(ZoneInfo(zone)):%m-%d %H:%M %Z}")
    return found


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("30 4 * * *", ["01-01 04:30", "01-02 04:30"]),
        ("@hourly", ["01-01 01:00", "01-01 02:00"]),
        ("@weekly", ["01-04 00:00", "01-11 00:00"]),
        ("0 0 * * 0", ["01-04 00:00", "01-11 00:00"]),
        ("0 0 * * 7", ["01-04 00:00", "01-11 00:00"]),
        ("0 0 * * sun", ["01-04 00:00", "01-11 00:00"]),
        ("0 0 * * 1-5", ["01-02 00:00", "01-05 00:00"]),
        ("0 0 * * fri-mon", ["01-02 00:00", "01-03 00:00"]),
        ("0 0 * * */3", ["01-03 00:00", "01-04 00:00"]),
        ("0 0 13 * 5", ["01-02 00:00", "01-09 00:00"]),
        ("0 0 5 * 0", ["01-04 00:00", "01-05 00:00"]),
    ],
)
def test_an_expression_means_what_it_means_to_cron(expression: str, expected: list[str]) -> None:
    """S1: 0 and 7 are Sunday, and of day of month and weekday either will do. The first of January is a Thursday."""
    assert times(expression, "UTC", at("2026-01-01T00:00"), 2) == [f"{each} UTC" for each in expected]


def test_a_time_that_does_not_exist_comes_an_hour_later() -> None:
    """S1: on the day on which clocks are put forward, and not twice on that day."""
    found = times("30 2 * * *", BERLIN, at("2026-03-28T12:00"), 2)
    assert found == ["03-29 03:30 CEST", "03-30 02:30 CEST"]


def test_a_time_that_comes_twice_counts_once() -> None:
    """S1: on the day on which clocks are put back, at its first."""
    found = times("30 2 * * *", BERLIN, at("2026-10-24T12:00"), 2)
    assert found == ["10-25 02:30 CEST", "10-26 02:30 CET"]


def test_an_open_hour_goes_on_through_the_hour_that_comes_twice() -> None:
    """S1: every half hour stays every half hour."""
    found = times("*/30 * * * *", BERLIN, at("2026-10-25T01:45", BERLIN), 5)
    assert found == ["10-25 02:00 CEST", "10-25 02:30 CEST", "10-25 02:00 CET", "10-25 02:30 CET", "10-25 03:00 CET"]


@pytest.mark.parametrize(
    ("expression", "zone", "said"),
    [
        ("* * * *", "UTC", "not five fields"),
        ("@reboot", "UTC", "not five fields"),
        ("61 * * * *", "UTC", "61"),
        ("0 0 30 2 *", "UTC", "never comes"),
        ("0 0 * * 8", "UTC", "no weekday"),
        ("0 0 * * 1/x", "UTC", "no step"),
        ("0 0 * * *", "Mars/Olympus", "not known here"),
        ("0 0 * * *", "", "not known here"),
    ],
)
def test_what_is_no_expression_is_refused(expression: str, zone: str, said: str) -> None:
    """S2: with a sentence that names what is wrong."""
    with pytest.raises(ValueError, match=said):
        parse_cron(expression, zone)


NOON = at("2026-06-01T12:00")
DAILY = parse_cron("0 12 * * *", "UTC")


@pytest.mark.parametrize(
    ("mark", "now", "misfire", "expected"),
    [
        pytest.param(None, NOON, "fire_once", Due(NOON, None, NOON + timedelta(days=1)), id="first look"),
        pytest.param(
            NOON - timedelta(hours=1), NOON, "skip", Due(NOON, NOON, NOON + timedelta(days=1)), id="on the second"
        ),
        pytest.param(
            NOON, NOON + timedelta(seconds=1), "skip", Due(NOON, None, NOON + timedelta(days=1)), id="already fired"
        ),
        pytest.param(
            NOON - timedelta(days=9),
            NOON + timedelta(seconds=59),
            "skip",
            Due(NOON, NOON, NOON + timedelta(days=1)),
            id="the last of many is not late",
        ),
        pytest.param(
            NOON - timedelta(days=400),
            NOON + timedelta(hours=3),
            "skip",
            Due(NOON, None, NOON + timedelta(days=1)),
            id="missed and skipped",
        ),
        pytest.param(
            NOON - timedelta(days=400),
            NOON + timedelta(hours=3),
            "fire_once",
            Due(NOON, NOON, NOON + timedelta(days=1)),
            id="missed and fired once",
        ),
        pytest.param(
            NOON, NOON - timedelta(hours=1), "fire_once", Due(NOON, None, NOON + timedelta(days=1)), id="stepped back"
        ),
        pytest.param(
            NOON + timedelta(days=365),
            NOON + timedelta(hours=1),
            "fire_once",
            Due(NOON + timedelta(hours=1), None, NOON + timedelta(days=1)),
            id="stepped back by a year",
        ),
    ],
)
def test_what_is_due(mark: datetime | None, now: datetime, misfire: Misfire, expected: Due) -> None:
    """S1: the misfire policy, and steps of the clock; what fired once never fires again for the same time."""
    assert due(DAILY, mark, now, misfire, 60) == expected


def test_years_of_minutes_are_not_gone_through() -> None:
    """S1: a controller that was off for years finds the last minute at once."""
    now = at("2026-06-01T12:00:30")
    found = due(parse_cron("* * * * *", "UTC"), at("2011-01-01T00:00"), now, "fire_once", 60)
    assert found.fire == NOON


@pytest.mark.parametrize("zone", [BERLIN, "America/New_York", "Australia/Lord_Howe", "UTC"])
def test_no_day_of_a_year_is_lost(zone: str) -> None:
    """S1: each midnight once, also after the days on which clocks change."""
    cron, moment, days = parse_cron("0 0 * * *", zone), at("2026-01-01T00:00", zone), []
    while moment < at("2026-12-31T00:00", zone):
        following = cron.after(moment)
        assert following is not None
        moment = following
        days.append(moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None))
    assert days == [datetime(2026, 1, 1) + timedelta(days=number) for number in range(1, 365)]  # noqa: DTZ001
