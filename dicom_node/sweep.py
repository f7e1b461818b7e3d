"""What the scheduler does at intervals: a sweep looks for units of work, and each unit stands for itself."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

__all__ = ["Sweep", "Unit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One thing to do; its failure does not keep the next from being done.

    ``give_up`` gets the cause of a permanent failure, so that the next look does not find the same thing again.
    """

    run: Callable[[], object]
    give_up: Callable[[str], object] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """Something to look at every so many seconds: ``units`` names what there is to do now.

    ``at_start``: the first look is at once, and not after the first interval.
    """

    name: str
    every_s: float
    units: Callable[[], Iterable[Unit]]
    at_start: bool = False
