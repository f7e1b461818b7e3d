"""A wall clock that a file steps, for every Python process whose path this folder is on.

The kernel's clock cannot be stepped for some processes alone; so the interpreter's is, before anything is imported:
``datetime.now`` and ``time.time`` add the seconds that the file named by LUNGSENTRY_TEST_CLOCK holds at that moment.
The monotonic clock stays what it is, as in a real step.
"""

import datetime as dt
import os
import time
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Self

_FILE = os.environ.get("LUNGSENTRY_TEST_CLOCK", "")
_system_time = time.time


def _stepped_time() -> float:
    try:
        offset_s = float(Path(_FILE).read_text(encoding="ascii") or 0)
    except OSError:
        offset_s = 0.0
    return _system_time() + offset_s


class _AnyDatetime(type(datetime)):
    """What C code makes is a datetime, too."""

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, datetime)


class _SteppedDatetime(datetime, metaclass=_AnyDatetime):
    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        """The stepped time."""
        return datetime.fromtimestamp(_stepped_time(), tz)


if _FILE:
    time.time = _stepped_time
    dt.datetime = _SteppedDatetime
