"""When a flagged examination should have been looked at."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from alerts.alert import UNDECIDED
from db import IMPORTED, WorklistEntry

__all__ = ["Due", "due_of"]


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
        minutes = round(self.within.total_seconds() / 60)
        return f"within {minutes} min" if minutes % 60 else f"within {minutes // 60} h"


def due_of(entry: WorklistEntry, now: datetime) -> Due:
    """When the alert is due; one of an archive that was imported waits for nobody."""
    alert = entry.alert
    waits = alert.state in UNDECIDED and entry.series.calling_ae_title != IMPORTED
    return Due(at=alert.due_at, left=alert.due_at - now, within=alert.alert.time_allowed, waits=waits)
