"""Dates and times as headers hold them."""

from datetime import UTC, date, datetime, time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.moments import read_birth_date, read_date, read_datetime, read_moment, read_time


@given(day=st.dates(date(1849, 1, 1), date(2199, 12, 31)), form=st.sampled_from(["%Y%m%d", "%Y.%m.%d", "%Y-%m-%d"]))
def test_every_day_is_read_in_every_form(day, form):
    """The form of today, that of ACR-NEMA, and the one people write; who is examined may be older than CT."""
    text = f" {day.strftime(form)}\0"
    assert read_birth_date(text) == day
    assert read_date(text) == (day if day.year >= 1971 else None)


@given(clock=st.times())
def test_every_time_is_read_in_every_form(clock):
    """With and without colons, and shortened from behind."""
    for form in ("%H%M%S.%f", "%H:%M:%S.%f"):
        assert read_time(clock.strftime(form)) == clock
    assert read_time(clock.strftime("%H%M")) == clock.replace(second=0, microsecond=0)
    assert read_time(clock.strftime("%H:%M")) == clock.replace(second=0, microsecond=0)
    assert read_time(clock.strftime("%H")) == time(clock.hour)


@pytest.mark.parametrize(
    "text",
    ["", "  ", "260302", "26.03.02", "20260230", "2026.13.01", "20260", "19000101", "00010101", "2026.0302", "x"],
)
def test_what_is_no_day_is_unknown(text):
    """Empty, of two digits, impossible, a placeholder, or no date at all."""
    assert read_date(text) is None
    assert read_moment(text, "101500") is None


@pytest.mark.parametrize("text", ["", "25", "1060", "101575", "10:1", "1", "101", "noon"])
def test_what_is_no_time_is_unknown(text):
    """A time that no clock shows."""
    assert read_time(text) is None


@given(st.text(max_size=24), st.text(max_size=24))
def test_no_text_is_an_error(day, clock):
    """Whatever stands there, it is a moment after the first CT, or none."""
    found = read_moment(day, clock)
    assert found is None or found.year >= 1971
    read_datetime(day + clock)


def test_1015_is_a_quarter_past_ten():
    """Hours and minutes are not read as hour, minute and second of one digit each."""
    assert read_moment("2026.03.02", "1015") == datetime(2026, 3, 2, 10, 15, tzinfo=UTC)
    assert read_datetime("20260302101500.5+0100") == datetime(2026, 3, 2, 10, 15, 0, 500_000, tzinfo=UTC)
