"""What stands around a flagged examination on a page."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryMark:
    """One object for one destination, or a message to it, and how far it came."""

    destination: str
    kind: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Then:
    """The latest earlier result of the patient; dates (DA) are those of the studies."""

    study_date: str
    burden_percent: float
    now_date: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Surrounding:
    """What was delivered, what was there before, and the path of the images that were kept, below the results."""

    deliveries: tuple[DeliveryMark, ...]
    then: Then | None
    view: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DayCounts:
    """What became of the series of a day."""

    series: int
    analysed: int
    excluded: int
    failed: int
    flagged: int
    taken_up: int
    last_received_at: datetime | None
