"""Whether a series is complete: a pure decision on evidence, since DICOM has no end-of-series message.

Evidence is what the modality lists in a performed procedure step that has ended, what the PACS has of the series, the
geometry of what has arrived, the associations that brought it, and quiet time. What a modality lists is complete at
once when all of it is here. A volume without gaps whose associations are closed counts after ``quiet_s``, and so does
one with gaps of which the PACS has no more either. Where something is missing, by the list, the PACS or the positions,
or an association stays open, ``incomplete_quiet_s`` is waited and the series then taken as it is: screening will name
the gap. Whatever comes later makes a new revision, so a decision that was too early costs a second analysis and never
a wrong result that stays.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median

from db import SeriesEvidence
from dicom_node.completion.pacs_counts import PacsAnswer
from dicom_node.settings import Completion

__all__ = ["CompletionDecision", "judge"]

GAP_RATIO = 1.5
"""A step between neighbouring slices this many times the usual one has lost a slice."""
SAME_POSITION_MM = 0.01
PACS_PATIENCE_S = 15.0
"""Time beyond the quiet time that an answer of the PACS is waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionDecision:
    """Whether a series is complete, why in words, and, where it is not, when to look again at the latest."""

    complete: bool
    why: str
    wait_until: datetime | None = None


def judge(
    evidence: SeriesEvidence, settings: Completion, now: datetime, pacs: PacsAnswer | None = None
) -> CompletionDecision:
    """Decide whether the series may be screened at ``now``; ``pacs``: what the PACS says, where it is asked.

    Nothing waits for ever: past the longer of both quiet times every series is complete.
    """
    here = f"{evidence.instance_count} instances"
    if evidence.announced_instances is not None and not evidence.announced_missing:
        return CompletionDecision(
            complete=True, why=f"{here}, all {evidence.announced_instances} of the modality's list"
        )
    state, waits_long, lacks = _weigh(evidence, pacs)
    wait_s = max(settings.incomplete_quiet_s if waits_long else settings.quiet_s, settings.quiet_s)
    if not waits_long and pacs is not None and pacs.pending:
        wait_s = min(settings.quiet_s + PACS_PATIENCE_S, max(settings.incomplete_quiet_s, settings.quiet_s))
        state += ", the PACS is being asked"
    ends = evidence.last_received_at + timedelta(seconds=wait_s)
    quiet_s = max(0.0, (now - evidence.last_received_at).total_seconds())
    if now >= ends:
        taken = "; taken as it is" if lacks else ""
        return CompletionDecision(complete=True, why=f"{here}{state}, quiet for {quiet_s:.1f} s{taken}")
    return CompletionDecision(complete=False, why=f"{here}{state}; waits for {wait_s:g} s of quiet", wait_until=ends)


def _weigh(evidence: SeriesEvidence, pacs: PacsAnswer | None) -> tuple[str, bool, bool]:
    """The evidence in words, whether it asks for the longer wait, and whether something is known to be missing."""
    gaps = missing_slices(evidence.slice_positions)
    held_there = pacs.instances if pacs is not None else None
    if evidence.announced_missing:
        listed = evidence.announced_instances
        return f", {evidence.announced_missing} missing of {listed} of the modality's list", True, True
    if held_there is not None and held_there > evidence.instance_count:
        return f", the PACS has {held_there}", True, True
    if gaps and held_there is None:
        return f", {gaps} missing by their positions", True, True
    if evidence.open_associations:
        return f" without gaps, {evidence.open_associations} open associations", True, False
    if gaps:
        return f", {gaps} missing by their positions, the PACS has {held_there}", False, True
    return " without gaps, associations closed", False, False


def missing_slices(positions_mm: tuple[float, ...]) -> int:
    """How many slices are missing between the given positions along the normal (mm), going by the usual step."""
    steps = [upper - lower for lower, upper in pairwise(sorted(positions_mm)) if upper - lower > SAME_POSITION_MM]
    if not steps:
        return 0
    usual = median(steps)
    return sum(max(1, round(step / usual) - 1) for step in steps if step >= GAP_RATIO * usual)
