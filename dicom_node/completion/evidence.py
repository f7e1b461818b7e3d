"""Whether a series is complete: a pure decision on evidence, since DICOM has no end-of-series message.

Evidence is what the modality lists in a performed procedure step that has ended, what the PACS has of the series, the
geometry of what is on disk, the associations that brought it, and quiet time. What a modality lists is complete at
once when all of it is here. A volume without gaps whose associations were released counts after ``quiet_s``, and so
does one with gaps of which the PACS has no more either. Where something is missing, by the list, the PACS, the
positions or because retention removed it, or an association stays open or broke off, ``incomplete_quiet_s`` is waited
and the series then taken as it is: screening will name what it lacks. Whatever comes later makes a new revision, so a
decision that was too early costs a second analysis and never a wrong result that stays.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from analysis.series import find_gaps
from db import Arrival, SeriesEvidence
from dicom_node.completion.pacs_counts import PacsAnswer
from dicom_node.settings import Completion

__all__ = ["CompletionDecision", "judge"]

PACS_PATIENCE_S = 15.0
"""Time beyond the quiet time that an answer of the PACS is waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionDecision:
    """Whether a series is complete, why in words, and, where it is not, when to look again at the latest.

    ``lacking`` says what is missing of a series that is taken as it is.
    """

    complete: bool
    why: str
    lacking: str | None = None
    wait_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Weighed:
    """The evidence in words, whether it asks for the longer wait, and what is known to be missing."""

    state: str
    waits_long: bool
    lacking: str | None = None


def judge(
    evidence: SeriesEvidence,
    arrival: Arrival,
    settings: Completion,
    now: datetime,
    pacs: PacsAnswer | None = None,
) -> CompletionDecision:
    """Decide whether the series may be screened at ``now``; ``pacs``: what the PACS says, where it is asked.

    Nothing waits for ever: past the longer of both quiet times every series is complete.
    """
    here = f"{evidence.instance_count} instances"
    if arrival.unplaced and arrival.slice_positions:
        here += f" ({arrival.unplaced} without a usable position)"
    if evidence.announced_instances is not None and not evidence.announced_missing:
        return CompletionDecision(
            complete=True, why=f"{here}, all {evidence.announced_instances} of the modality's list"
        )
    weighed = _weigh(evidence, arrival, pacs)
    state = weighed.state
    wait_s = max(settings.incomplete_quiet_s if weighed.waits_long else settings.quiet_s, settings.quiet_s)
    if not weighed.waits_long and pacs is not None and pacs.pending:
        wait_s = min(settings.quiet_s + PACS_PATIENCE_S, max(settings.incomplete_quiet_s, settings.quiet_s))
        state += ", the PACS is being asked"
    ends = evidence.last_received_at + timedelta(seconds=wait_s)
    quiet_s = max(0.0, (now - evidence.last_received_at).total_seconds())
    if now >= ends:
        taken = "; taken as it is" if weighed.lacking else ""
        why = f"{here}{state}, quiet for {quiet_s:.1f} s{taken}"
        return CompletionDecision(complete=True, why=why, lacking=weighed.lacking)
    return CompletionDecision(complete=False, why=f"{here}{state}; waits for {wait_s:g} s of quiet", wait_until=ends)


def _weigh(evidence: SeriesEvidence, arrival: Arrival, pacs: PacsAnswer | None) -> _Weighed:
    if known := _known_missing(evidence, pacs):
        return _Weighed(state=f", {known}", waits_long=True, lacking=known)
    confirmed = pacs is not None and pacs.instances is not None
    if slices := sum(gap.slices for gap in find_gaps(arrival.slice_positions)):
        gaps = f"{slices} missing by their positions"
        held_there = f", the PACS has {pacs.instances}" if pacs is not None and confirmed else ""
        waits_long = not confirmed or evidence.open_associations > 0
        return _Weighed(state=f", {gaps}{held_there}", waits_long=waits_long, lacking=gaps)
    if evidence.open_associations:
        return _Weighed(state=f" without gaps, {evidence.open_associations} open associations", waits_long=True)
    if arrival.broken_off and not confirmed:
        broken = "the association that brought it broke off"
        return _Weighed(state=f" without gaps, but {broken}", waits_long=True, lacking=broken)
    return _Weighed(state=" without gaps, associations closed", waits_long=False)


def _known_missing(evidence: SeriesEvidence, pacs: PacsAnswer | None) -> str | None:
    """What others say that is missing: the modality, retention, the PACS."""
    if evidence.announced_missing:
        return f"{evidence.announced_missing} missing of {evidence.announced_instances} of the modality's list"
    if evidence.removed_instances:
        return f"{evidence.removed_instances} removed by retention and not sent again"
    if pacs is not None and pacs.instances is not None and pacs.instances > evidence.instance_count:
        return f"the PACS has {pacs.instances}"
    return None
