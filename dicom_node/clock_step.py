"""Notices when the wall clock is stepped: by an administrator, by NTP at start-up, or while the machine slept."""

import time
from collections.abc import Callable

__all__ = ["TOLERANCE_S", "StepWatch"]

TOLERANCE_S = 2.0
"""NTP slews by half a millisecond a second at most; what is more than this, between two looks, is a step."""


class StepWatch:
    """Compares the wall clock with the monotonic one, from look to look."""

    def __init__(
        self, *, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._difference_s = wall() - monotonic()

    def look(self) -> float:
        """By how many seconds the wall clock was stepped since the last look; 0 where it only ran."""
        difference_s = self._wall() - self._monotonic()
        step_s = difference_s - self._difference_s
        self._difference_s = difference_s
        return step_s if abs(step_s) > TOLERANCE_S else 0.0
