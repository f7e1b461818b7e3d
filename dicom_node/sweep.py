"""What the scheduler does at intervals: a sweep looks for units of work, and each unit stands for itself."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

__all__ = ["Sweep", "Unit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One thing to do; its failure does not keep the next from being done.

    ``identity`` names it among the units of its sweep, in every look, and tells nothing about a patient. Where ``run``
    answers True there is more of it to do at once. ``give_up`` gets the cause of a permanent failure, so that the next
    look does not find the same thing again.
    """

    identity: str
    run: Callable[[], object]
    give_up: Callable[[str], object] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """Something to look at every so many seconds: ``units`` names what there is to do now.

    Units are drawn one at a time, each after the one before it was done. What could fail belongs in a unit's ``run``:
    where drawing fails the look ends. ``lanes``: so many units are at work at once, each in a thread of its own that no
    other waits for; none means that they follow one another. ``at_start``: the first look is at once, and not after
    the first interval.
    """

    name: str
    every_s: float
    units: Callable[[], Iterable[Unit]]
    lanes: int = 0
    at_start: bool = False
