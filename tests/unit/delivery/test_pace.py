"""Quiet hours, digest and the most that goes in an hour, as plain functions of the time."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.delivery.pace import HOUR, Pace, pace_of
from dicom_node.settings import MailDestination

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def _mail(**other: object) -> MailDestination:
    values = {"name": "W", "host": "mail", "sender": "a@b", "to": ("c@d",)}
    return MailDestination.model_validate(values | other)


@pytest.mark.parametrize(
    ("hours", "clock", "quiet"),
    [
        ("22:00-07:00", "21:59", False),
        ("22:00-07:00", "22:00", True),
        ("22:00-07:00", "06:59", True),
        ("22:00-07:00", "07:00", False),
        ("12:00-13:00", "12:00", True),
        ("12:00-13:00", "13:00", False),
        ("12:00-12:00", "12:00", False),
    ],
)
def test_quiet_hours_begin_and_end_in_their_zone(hours: str, clock: str, quiet: bool) -> None:
    """From the first minute until the last, over midnight too, as the clock on the wall shows."""
    pace = pace_of(_mail(quiet_hours=hours, time_zone="Europe/Berlin"))
    hour, minute = map(int, clock.split(":"))
    now = (NOON - timedelta(hours=12) + timedelta(hours=hour - 1, minutes=minute)).astimezone(UTC)  # winter: UTC+1
    assert pace.is_quiet(now) is quiet
    before = pace.told_before(now)
    assert (before is not None and before.year == 1) is quiet


def test_digest_lets_go_what_is_old_enough() -> None:
    """Without a digest everything goes; with one what has waited as long as it says."""
    assert pace_of(_mail()).told_before(NOON) is None
    assert pace_of(_mail(digest_minutes=15)).told_before(NOON) == NOON - timedelta(minutes=15)


@given(ages=st.lists(st.integers(0, 7200), max_size=20), most=st.integers(1, 10))
def test_no_hour_has_more_letters_than_are_allowed(ages: list[int], most: int) -> None:
    """What went an hour ago or earlier does not count."""
    told = [NOON - timedelta(seconds=age) for age in sorted(ages)]
    within = sum(age < HOUR.total_seconds() for age in ages)
    assert Pace(most_per_hour=most).is_spent(told, NOON) is (within >= most)


def test_why_messages_wait_is_told() -> None:
    """For a list: until when it is quiet, or that the hour's letters are sent."""
    pace = pace_of(_mail(quiet_hours="11:00-13:00", most_per_hour=1))
    assert pace.held_because([], NOON) == "quiet until 13:00"
    assert pace.held_because([NOON], NOON) == "1 in an hour are sent"
    assert pace.held_because([], NOON + HOUR) is None
