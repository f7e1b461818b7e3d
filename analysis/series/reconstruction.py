"""Of several reconstructions of one acquisition one is analysed; which one, and why not the others."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType

from analysis.series.geometry import Stack, planes, slice_headers, stack
from analysis.series.series import Series
from analysis.series.verdicts import Outcome, Rule, RuleResult

_COVERAGE_TOLERANCE = 0.95
"""Reconstructions that reach this share of the longest one count as covering as much."""
_BEST_THICKNESS_MM = (1.0, 3.0)
_OVERLAP_SHARE = 0.5
_SIEMENS_SHARP_FROM = 50
_CANON_SHARP_FROM = 30
_GE_KERNELS = {
    "SOFT": "SOFT",
    "STANDARD": "SOFT",
    "STND": "SOFT",
    "DETAIL": "MEDIUM",
    "CHEST": "SHARP",
    "LUNG": "SHARP",
}
_PHILIPS_SOFT = frozenset({"A", "B", "SA", "SB", "UA", "UB", "XA", "XB"})


class Sharpness(IntEnum):
    """How a convolution kernel renders edges and noise; an unknown kernel counts as medium."""

    SOFT = 0
    MEDIUM = 1
    SHARP = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconstructionChoice:
    """The series that is analysed (its UID), why, and the rule that speaks against each of the others."""

    chosen: str
    rejected: Mapping[str, RuleResult]
    reason: str


def acquisition_key(series: Series) -> tuple[str, ...]:
    """Name the acquisition: series with equal keys, and overlapping slices, are reconstructions of one acquisition.

    Study, frame of reference, acquisition number and contrast; where a scanner gives no acquisition number, the time of
    the first slice takes its place.
    """
    header = slice_headers(series)[0]
    numbers = {one.acquisition_number for one in slice_headers(series)} - {None}
    times = sorted(one.acquisition_time for one in slice_headers(series) if one.acquisition_time)
    acquisition = str(min(number for number in numbers if number is not None)) if numbers else (times or [""])[0]
    return (
        series.study_instance_uid,
        header.frame_of_reference_uid or series.series_instance_uid,
        acquisition,
        "contrast" if header.contrast_bolus_agent else "",
    )


def group_acquisitions(series: Iterable[Series]) -> tuple[tuple[Series, ...], ...]:
    """Group series into acquisitions: an equal key, and slices that overlap by half of the shorter one or more.

    Head and chest of one examination may share a key; as they do not overlap they are not each other's reconstruction.
    """
    by_key: dict[tuple[str, ...], list[list[Series]]] = defaultdict(list)
    for one in sorted(series, key=lambda one: (-_extent_mm(one), one.series_instance_uid)):
        groups = by_key[acquisition_key(one)]
        home = next((group for group in groups if _overlap(group[0], one)), None)
        if home is None:
            groups.append([one])
        else:
            home.append(one)
    return tuple(tuple(group) for groups in by_key.values() for group in groups)


def choose_reconstruction(candidates: Sequence[Series]) -> ReconstructionChoice:
    """Choose among reconstructions of one acquisition: coverage, then soft before sharp, then 1 to 3 mm, then number.

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


def sharpness(kernel: str) -> Sharpness:
    """Rank a Convolution Kernel by the makers' names: Siemens B30f, Br40; GE STANDARD; Philips B, L; Canon FC08."""
    name = kernel.split("\\", maxsplit=1)[0].strip().upper()
    if name in _GE_KERNELS:
        return Sharpness[_GE_KERNELS[name]]
    if name.startswith(("BONE", "EDGE", "ULTRA", "YB", "YC", "YD")):
        return Sharpness.SHARP
    if canon := re.fullmatch(r"FC(\d{2,3})(-H)?", name):
        return Sharpness.SHARP if int(canon.group(1)) >= _CANON_SHARP_FROM else Sharpness.SOFT
    if siemens := re.match(r"[A-Z]{1,2}(\d{2})", name):
        return Sharpness.SHARP if int(siemens.group(1)) >= _SIEMENS_SHARP_FROM else Sharpness.SOFT
    if name in _PHILIPS_SOFT:
        return Sharpness.SOFT
    return Sharpness.SHARP if name in {"D", "E", "L"} else Sharpness.MEDIUM


def _rank(series: Series, longest_mm: float) -> tuple[bool, int, float, float, int, str]:
    header = slice_headers(series)[0]
    thickness = _thickness_mm(series)
    low, high = _BEST_THICKNESS_MM
    return (
        _extent_mm(series) < _COVERAGE_TOLERANCE * longest_mm,
        sharpness(header.convolution_kernel),
        max(0.0, low - thickness, thickness - high),
        thickness,
        header.series_number if header.series_number is not None else 2**31,
        series.series_instance_uid,
    )


def _against(series: Series, best: Series, longest_mm: float) -> str:
    """Name the first criterion by which ``series`` is worse than ``best``."""
    short, sharp, off, thickness, *_ = _rank(series, longest_mm)
    best_short, best_sharp, best_off, best_thickness, *_ = _rank(best, longest_mm)
    if short != best_short:
        return "shorter"
    if sharp != best_sharp:
        return f"of a {Sharpness(sharp).name.lower()} kernel, not a {Sharpness(best_sharp).name.lower()} one"
    if off != best_off:
        return "further from 1 to 3 mm in thickness"
    if thickness != best_thickness:
        return "thicker"
    return "of a higher series number"


def _describe(series: Series) -> str:
    kernel = slice_headers(series)[0].convolution_kernel or "unknown"
    return f"{_extent_mm(series):.0f} mm long, kernel {kernel}, {_thickness_mm(series):g} mm thick"


def _stack(series: Series) -> Stack | None:
    return stack(planes(slice_headers(series)))


def _extent_mm(series: Series) -> float:
    whole = _stack(series)
    return round(whole.extent_mm, 1) if whole else 0.0


def _thickness_mm(series: Series) -> float:
    whole = _stack(series)
    return (whole.planes[0].thickness_mm or whole.step_mm or 0.0) if whole else 0.0


def _overlap(one: Series, other: Series) -> bool:
    first, second = _stack(one), _stack(other)
    if first is None or second is None:
        return False
    shared = min(first.positions_mm[-1], second.positions_mm[-1]) - max(first.positions_mm[0], second.positions_mm[0])
    return shared >= _OVERLAP_SHARE * min(
        first.positions_mm[-1] - first.positions_mm[0], second.positions_mm[-1] - second.positions_mm[0]
    )
