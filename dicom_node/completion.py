"""Whether a series is complete: a pure decision on evidence, since DICOM has no end-of-series message.

Evidence is the geometry of what has arrived, the associations that brought it, and quiet time. A volume without
gaps whose associations are closed counts after ``quiet_s``. A volume with gaps, or whose association stays open, is
given ``incomplete_quiet_s`` and then taken as it is: screening will name the gap. Whatever comes later makes a new
revision, so a decision that was too early costs a second analysis and never a wrong result that stays.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median

from db import SeriesEvidence
from dicom_node.settings import Completion

__all__ = ["CompletionDecision", "judge"]

GAP_RATIO = 1.5
"""A step between neighbouring slices this many times the usual one has lost a slice."""
SAME_POSITION_MM = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionDecision:
    """Whether a series is complete, why in words, and, where it is not, when to look again at the latest."""

    complete: bool
    why: str
    wait_until: datetime | None = None


def judge(evidence: SeriesEvidence, settings: Completion, now: datetime) -> CompletionDecision:
    """Decide whether the series may be screened at ``now``.

    Nothing waits for ever: past the longer of both quiet times every series is complete.
    """
    gaps = missing_slices(evidence.slice_positions)
    if gaps:
        waited_for = settings.incomplete_quiet_s
        state = f"{evidence.instance_count} instances, {gaps} missing by their positions"
    elif evidence.open_associations:
        waited_for = settings.incomplete_quiet_s
        state = f"{evidence.instance_count} instances without gaps, {evidence.open_associations} open associations"
    else:
        waited_for = settings.quiet_s
        state = f"{evidence.instance_count} instances without gaps, associations closed"
    wait_s = max(waited_for, settings.quiet_s)
    ends = evidence.last_received_at + timedelta(seconds=wait_s)
    quiet_s = max(0.0, (now - evidence.last_received_at).total_seconds())
    if now >= ends:
        taken = "; taken as it is" if gaps else ""
        return CompletionDecision(complete=True, why=f"{state}, quiet for {quiet_s:.1f} s{taken}")
    return CompletionDecision(complete=False, why=f"{state}; waits for {wait_s:g} s of quiet", wait_until=ends)


def missing_slices(positions_mm: tuple[float, ...]) -> int:
    """How many slices are missing between the given positions along the normal (mm), going by the usual step."""
    steps = [upper - lower for lower, upper in pairwise(sorted(positions_mm)) if upper - lower > SAME_POSITION_MM]
    if not steps:
        return 0
    usual = median(steps)
    return sum(max(1, round(step / usual) - 1) for step in steps if step >= GAP_RATIO * usual)
