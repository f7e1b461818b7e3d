"""When a flagged examination should have been looked at."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from alerts.alert import AlertState, Category

__all__ = ["Due", "due_of"]

WITHIN: dict[Category, timedelta] = {
    Category.CATEGORY_1: timedelta(minutes=60),
    Category.CATEGORY_2: timedelta(hours=4),
    Category.CATEGORY_3: timedelta(hours=72),
}
"""Time from the alert on. The American College of Radiology speaks of minutes, hours and days; these are ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """When, how long that is from now (negative: overdue), and what the category allows."""

    at: datetime
    left: timedelta
    within: timedelta
    waits: bool

    @property
    def overdue(self) -> bool:
        """Whether it still waits, and longer than it should."""
        return self.waits and self.left < timedelta(0)

    @property
    def words(self) -> str:
        """What the category allows."""
        hours = int(self.within.total_seconds() // 3600)
        return f"within {hours} h"


def due_of(category: Category, state: AlertState, raised_at: datetime, now: datetime) -> Due:
    """When an alert of this category is due."""
    at = raised_at + WITHIN[category]
    return Due(at=at, left=at - now, within=WITHIN[category], waits=state is AlertState.OPEN)
