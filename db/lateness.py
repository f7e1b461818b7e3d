"""How late results are: from the last image of a series to the receipt of its result by a PACS."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

__all__ = ["Lateness", "lateness_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lateness:
    """Of so many results that a PACS confirmed, after how many seconds half and 95 % had arrived."""

    count: int
    p50_s: float
    p95_s: float


def lateness_of(seconds: Sequence[float]) -> Lateness | None:
    """The percentiles by nearest rank: times that were really seen. None where there are none."""
    if not seconds:
        return None
    ordered = sorted(seconds)
    p50, p95 = (ordered[ceil(share * len(ordered)) - 1] for share in (0.5, 0.95))
    return Lateness(count=len(ordered), p50_s=p50, p95_s=p95)
