"""Of several reconstructions of one acquisition one is analysed; which one, and why not the others."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from analysis.series.acquisitions import extent_mm, rank, slices_of
from analysis.series.geometry import Plane, stack
from analysis.series.kernels import Sharpness
from analysis.series.series import Series
from analysis.series.verdicts import Outcome, Rule, RuleResult

_OVERLAP_SHARE = 0.5
_SAME_ACQUISITION_S = 30.0
"""Reconstructions of one acquisition bear its time, or that of a slice of it; another breath does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconstructionChoice:
    """The series that is analysed (its UID), why, and the rule that speaks against each of the others."""

    chosen: str
    rejected: Mapping[str, RuleResult]
    reason: str


def same_acquisition(one: Series, other: Series) -> bool:
    """Whether two series of a study can be reconstructions of one acquisition, which their slices must share.

    An irradiation event that both name settles it. Else frame of reference and contrast agree, the acquisition number
    does as far as both have one, and so does the time: several makers number every acquisition 1.
    """
    first, second = slices_of(one), slices_of(other)
    if not _overlap(first.planes, second.planes):
        return False
    events = [_marked(slices.planes, "Irradiation Event UID") for slices in (first, second)]
    if all(events):
        return bool(events[0] & events[1])
    here, there = first.headers[0], second.headers[0]
    if (one.study_instance_uid, here.frame_of_reference_uid, bool(here.contrast_bolus_agent)) != (
        other.study_instance_uid,
        there.frame_of_reference_uid,
        bool(there.contrast_bolus_agent),
    ):
        return False
    if here.frame_of_reference_uid is None:
        return False
    numbers = [{plane.acquisition_number for plane in slices.planes} - {None} for slices in (first, second)]
    if all(numbers) and not numbers[0] & numbers[1]:
        return False
    times = [_times(slices.planes) for slices in (first, second)]
    return None in times or _apart_s(times[0], times[1]) <= _SAME_ACQUISITION_S


def group_acquisitions(series: Iterable[Series]) -> tuple[tuple[Series, ...], ...]:
    """Group series into acquisitions: those of :func:`same_acquisition` whose slices overlap by half or more.

    Head and chest of one examination may share all tags; as they do not overlap they are not each other's
    reconstruction.
    """
    groups: list[list[Series]] = []
    for one in sorted(series, key=lambda one: (-_extent_mm(one), one.study_instance_uid, one.series_instance_uid)):
        home = next((group for group in groups if same_acquisition(group[0], one)), None)
        if home is None:
            groups.append([one])
        else:
            home.append(one)
    return tuple(tuple(group) for group in groups)


def choose_reconstruction(candidates: Sequence[Series]) -> ReconstructionChoice:
    """Choose among reconstructions of one acquisition: coverage, width, soft before sharp, 1 to 3 mm, then number.

    The choice does not depend on the order of ``candidates``, which hold at least one series.
    """
    if not candidates:
        raise ValueError("there is nothing to choose from")
    longest = max(_extent_mm(one) for one in candidates)
    ranked = sorted(candidates, key=lambda one: _rank(one, longest))
    best = ranked[0]
    if len(ranked) == 1:
        return ReconstructionChoice(
            chosen=best.series_instance_uid, rejected=MappingProxyType({}), reason="the only reconstruction"
        )
    rejected = {
        one.series_instance_uid: RuleResult(
            rule=Rule.OTHER_RECONSTRUCTION,
            value=f"{_describe(one)}: {_against(one, best, longest)}",
            expected=f"the best of {len(ranked)}, series {best.headers[0].series_number}: {_describe(best)}",
            outcome=Outcome.EXCLUDED,
        )
        for one in ranked[1:]
    }
    return ReconstructionChoice(
        chosen=best.series_instance_uid,
        rejected=MappingProxyType(rejected),
        reason=f"{_describe(best)}: the next of {len(ranked)} is {_against(ranked[1], best, longest)}",
    )


def _rank(series: Series, longest_mm: float) -> tuple[bool, bool, Sharpness, float, float, int, str]:
    slices = slices_of(series)
    number = slices.headers[0].series_number
    return (
        *rank(slices.planes, longest_mm),
        number if number is not None else 2**31,
        series.series_instance_uid,
    )


def _against(series: Series, best: Series, longest_mm: float) -> str:
    """Name the first criterion by which ``series`` is worse than ``best``."""
    short, narrow, sharp, off, thickness, *_ = _rank(series, longest_mm)
    best_short, best_narrow, best_sharp, best_off, best_thickness, *_ = _rank(best, longest_mm)
    if short != best_short:
        return "shorter"
    if narrow != best_narrow:
        return "of a field of view that may cut the lungs off"
    if sharp != best_sharp:
        return f"of a {Sharpness(sharp).name.lower()} kernel, not a {Sharpness(best_sharp).name.lower()} one"
    if off != best_off:
        return "further from 1 to 3 mm in thickness"
    if thickness != best_thickness:
        return "thicker"
    return "of a higher series number"


def _describe(series: Series) -> str:
    members = slices_of(series).planes
    kernel = members[0].convolution_kernel if members else ""
    *_, thickness = rank(members, 0.0)
    return f"{extent_mm(members):.0f} mm long, kernel {kernel or 'unknown'}, {thickness:g} mm thick"


def _extent_mm(series: Series) -> float:
    return extent_mm(slices_of(series).planes)


def _marked(members: Sequence[Plane], name: str) -> set[str]:
    return {value for plane in members for mark, value in plane.marks if mark == name}


_Times = tuple[datetime, datetime]


def _times(members: Sequence[Plane]) -> _Times | None:
    """When the first and the last slice were taken; None where that is not known."""
    known = [plane.acquired_at for plane in members if plane.acquired_at is not None]
    return (min(known), max(known)) if known else None


def _apart_s(one: _Times | None, other: _Times | None) -> float:
    """How long lies between two spans of time; 0 where they overlap, or one is not known."""
    if one is None or other is None:
        return 0.0
    return max(0.0, (other[0] - one[1]).total_seconds(), (one[0] - other[1]).total_seconds())


def _overlap(one: Sequence[Plane], other: Sequence[Plane]) -> bool:
    first, second = stack(one), stack(other)
    if first is None or second is None:
        return False
    shared = min(first.positions_mm[-1], second.positions_mm[-1]) - max(first.positions_mm[0], second.positions_mm[0])
    return shared >= _OVERLAP_SHARE * min(
        first.positions_mm[-1] - first.positions_mm[0], second.positions_mm[-1] - second.positions_mm[0]
    )
