"""Dates and times as headers hold them: DICOM's own forms, the forms of ACR-NEMA, and nothing that is impossible.

DA is YYYYMMDD and was YYYY.MM.DD; TM is HH, HHMM, HHMMSS or HHMMSS.FFFFFF and was HH:MM:SS (PS3.5 section 6.2).
"""

import re
from datetime import UTC, date, datetime, time

_DATE = re.compile(r"(\d{4})([.\-/]?)(\d{2})\2(\d{2})")
_TIME = re.compile(r"(\d{2})(?::?(\d{2})(?::?(\d{2})(?:\.(\d{1,6})\d*)?)?)?")
_FIRST_YEAR = 1971
"""The first CT of a patient; what claims to be older is a placeholder."""
OLDEST_YEARS = 122
"""The longest life on record."""


def read_date(text: str) -> date | None:
    """The day of an examination; None where the text is empty, no date of the calendar, or older than CT."""
    return _read_day(text, _FIRST_YEAR)


def read_birth_date(text: str) -> date | None:
    """The day of a patient's birth; None where the text is no date, or one of whom no CT can be."""
    return _read_day(text, _FIRST_YEAR - OLDEST_YEARS)


def _read_day(text: str, first_year: int) -> date | None:
    match = _DATE.fullmatch(text.strip().rstrip("\0"))
    if match is None:
        return None
    try:
        found = date(int(match.group(1)), int(match.group(3)), int(match.group(4)))
    except ValueError:
        return None
    return found if found.year >= first_year else None


def read_time(text: str) -> time | None:
    """The time of day; what the text leaves out is 0. None where it is empty or no time of day."""
    match = _TIME.fullmatch(text.strip().rstrip("\0"))
    if match is None:
        return None
    hours, minutes, seconds, fraction = (group or "0" for group in match.groups())
    try:
        return time(int(hours), int(minutes), 59 if seconds == "60" else int(seconds), int(fraction.ljust(6, "0")))
    except ValueError:
        return None


def read_moment(day: str, clock: str) -> datetime | None:
    """Day and time together, as the scanner's clock showed them; midnight where the time is unknown."""
    known = read_date(day)
    return None if known is None else datetime.combine(known, read_time(clock) or time(), tzinfo=UTC)


def read_datetime(text: str) -> datetime | None:
    """DT, YYYYMMDDHHMMSS.FFFFFF&ZZXX, as the scanner's clock showed it: an offset from UTC is left out."""
    plain = re.sub(r"[+-]\d{4}$", "", text.strip().rstrip("\0"))
    return read_moment(plain[:8], plain[8:])
