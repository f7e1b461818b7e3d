"""When a destination may be told, and how often: a threshold that is set wrongly floods nobody."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo

from dicom_node.settings import MailDestination, MessageDestination

__all__ = ["HOUR", "Pace", "pace_of"]

HOUR = timedelta(hours=1)
_NOTHING = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """The rules of one destination; ``quiet`` is from and until when, over midnight where it ends before it begins."""

    most_per_hour: int
    quiet: tuple[time, time] | None = None
    zone: tzinfo = UTC
    digest: timedelta = timedelta(0)

    def is_quiet(self, now: datetime) -> bool:
        """Whether only what presses is told now."""
        if self.quiet is None:
            return False
        begin, end = self.quiet
        clock = now.astimezone(self.zone).time()
        return begin <= clock < end if begin <= end else clock >= begin or clock < end

    def told_before(self, now: datetime) -> datetime | None:
        """Of what does not press only older messages go now; None: all of them."""
        if self.is_quiet(now):
            return _NOTHING
        return now - self.digest if self.digest else None

    def is_spent(self, told: Sequence[datetime], now: datetime) -> bool:
        """Whether as many letters went within the last hour as may; ``told`` are the newest."""
        return sum(now - one < HOUR for one in told) >= self.most_per_hour

    def held_because(self, told: Sequence[datetime], now: datetime) -> str | None:
        """Why messages wait, for a list; None: they do not."""
        if self.is_spent(told, now):
            return f"{self.most_per_hour} in an hour are sent"
        if self.is_quiet(now) and self.quiet is not None:
            return f"quiet until {self.quiet[1]:%H:%M}"
        return None


def pace_of(destination: MessageDestination) -> Pace:
    """The rules that the settings give the destination."""
    digest = destination.digest_minutes if isinstance(destination, MailDestination) else 0.0
    quiet = None
    if destination.quiet_hours:
        begin, end = destination.quiet_hours.split("-")
        quiet = time.fromisoformat(begin), time.fromisoformat(end)
    return Pace(
        most_per_hour=destination.most_per_hour,
        quiet=quiet,
        zone=ZoneInfo(destination.time_zone),
        digest=timedelta(minutes=digest),
    )
