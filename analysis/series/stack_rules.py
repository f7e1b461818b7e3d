"""The rules that look at where the slices lie: alike, in line, at one step, and over enough of the chest."""

import math
from collections.abc import Sequence

from analysis.series.acquisitions import MINIMUM_SLICES, WHOLE_CHEST_FIELD_OF_VIEW_MM
from analysis.series.geometry import SAME_POSITION_MM, Plane, Stack
from analysis.series.verdicts import Rule, RuleResult, judged, noted

MINIMUM_NORMAL_COSINE = 0.99
"""The slice normal lies along the body axis within 0.01, so under a tilt of up to 8.1 degrees."""
NOTED_TILT_DEG = 0.5
MAXIMUM_STEP_MM = 12.5
MINIMUM_EXTENT_MM = 60.0
WHOLE_CHEST_EXTENT_MM = 200.0
REGULAR_STEP_SHARE = 0.01
"""Steps that differ from the usual one by less than this share count as equal."""
CONTACT_RATIO = 1.1
"""Slices further apart than this many thicknesses leave tissue between them that nobody has imaged."""
MAXIMUM_DRIFT_SHARE = 0.1
MINIMUM_FIELD_OF_VIEW_MM = 120.0
_NAMED_POSITIONS = 6
_BELIEVABLE_SHARE = 2
"""More missing slices than this many times those that are there are no gap."""


def check_orientation(whole: Stack) -> RuleResult:
    """Slices are axial, and all of them lie alike."""
    first = whole.planes[0]
    value = "slice normal ({:.3f}, {:.3f}, {:.3f})".format(*first.normal)
    expected = "axial, normal along z within 0.01, the same in all slices"
    if not _alike(whole.planes):
        return judged(Rule.ORIENTATION, f"{value}, not the same in all slices", expected, passed=False)
    # a gantry tilt turns the normal about the patient's left-right axis alone, and the table still moves along z
    tilted = _gantry_tilt_deg(whole) is not None
    return judged(Rule.ORIENTATION, value, expected, passed=first.normal[2] >= MINIMUM_NORMAL_COSINE or tilted)


def check_tilt(whole: Stack) -> RuleResult:
    """The gantry was tilted by no more than 8 degrees; volumes stay exact then, as steps are measured across slices."""
    header = whole.planes[0].header
    expected = f"at most {math.degrees(math.acos(MINIMUM_NORMAL_COSINE)):.1f} degrees"
    tilt = _angle_deg(whole.planes[0])
    value = f"{tilt:.1f} degrees"
    stated = header.gantry_detector_tilt_deg
    if stated is not None and abs(abs(stated) - tilt) > 1.0:
        value += f" by the slices' orientation, {stated:.1f} by Gantry/Detector Tilt"
        return (
            judged(Rule.GANTRY_TILT, value, expected, passed=False)
            if _too_tilted(tilt)
            else noted(Rule.GANTRY_TILT, value, expected)
        )
    if _too_tilted(tilt):
        return judged(Rule.GANTRY_TILT, value, expected, passed=False)
    return (
        noted(Rule.GANTRY_TILT, value, expected)
        if tilt > NOTED_TILT_DEG
        else judged(Rule.GANTRY_TILT, value, expected, passed=True)
    )


def check_distinct_positions(whole: Stack) -> RuleResult:
    """No two slices lie in the same place or a hair apart, as those of two phases or two reconstructions would."""
    repeated, close = whole.repeated_positions, whole.close_positions
    count = len(whole.planes)
    value = f"{count} slices, {count - repeated} positions"
    if close > repeated:
        apart = min(step for step in whole.steps_mm if step > SAME_POSITION_MM)
        value = f"{count} slices, {close} of them a hair ({apart:.2f} mm) from another: two acquisitions in one series"
    elif repeated:
        value += ": slices of different pixels in the same place, which no tag tells apart"
    return judged(Rule.SLICE_POSITIONS, value, "one slice a position", passed=not repeated and not close)


def check_alignment(whole: Stack) -> RuleResult:
    """Slices lie above one another: none is shifted sideways (more than a tilted table's feed explains)."""
    drift = whole.in_plane_drift_mm
    tilt = math.radians(_angle_deg(whole.planes[0]))
    step = whole.step_mm or 0.0
    allowed = step * (math.tan(tilt) + MAXIMUM_DRIFT_SHARE) + 1.0
    value = f"largest sideways step {drift:.2f} mm"
    return judged(Rule.ALIGNMENT, value, f"at most {allowed:.2f} mm", passed=drift <= allowed)


def check_steps(whole: Stack) -> RuleResult:
    """Slices follow each other at one step; where one is missing the series is left out, with its position."""
    step = whole.step_mm
    expected = f"a uniform step of at most {MAXIMUM_STEP_MM:g} mm, none missing"
    if step is None:
        return judged(Rule.SLICE_STEP, "a single slice", expected, passed=False)
    gaps = whole.gaps
    missing = sum(gap.slices for gap in gaps)
    if missing > _BELIEVABLE_SHARE * len(whole.planes):
        value = f"{min(whole.steps_mm):.2f} to {max(whole.steps_mm):.2f} mm: the positions are those of no stack"
        return judged(Rule.SLICE_STEP, value, expected, passed=False)
    if gaps:
        places = [position for gap in gaps for position in gap.positions_mm()]
        named = ", ".join(f"{position:.1f}" for position in places[:_NAMED_POSITIONS])
        more = f" and {missing - _NAMED_POSITIONS} more" if missing > _NAMED_POSITIONS else ""
        value = f"gap: {missing} slice(s) missing at {named}{more} mm (step {step:.2f} mm)"
        return judged(Rule.SLICE_STEP, value, expected, passed=False)
    if step > MAXIMUM_STEP_MM:
        return judged(Rule.SLICE_STEP, f"{step:.2f} mm", expected, passed=False)
    steps = whole.steps_mm
    if max(abs(one - step) for one in steps) > REGULAR_STEP_SHARE * step:
        value = f"{min(steps):.2f} to {max(steps):.2f} mm; each slice is weighed by the space it stands for"
        return noted(Rule.SLICE_STEP, value, expected)
    return judged(Rule.SLICE_STEP, f"{step:.2f} mm", expected, passed=True)


def check_contact(whole: Stack) -> RuleResult:
    """Slices touch or overlap; where they do not, lesions between them go unseen, which is noted."""
    thickness, step = whole.planes[0].thickness_mm, whole.step_mm
    expected = "slices as thick as their step, or thicker"
    if thickness is None or step is None:
        return noted(Rule.SLICE_CONTACT, "slice thickness absent", expected)
    value = f"{thickness:g} mm thick, {step:.2f} mm apart"
    if step > CONTACT_RATIO * thickness:
        return noted(Rule.SLICE_CONTACT, f"slices do not touch: {value}", expected)
    return judged(Rule.SLICE_CONTACT, value, expected, passed=True)


def check_extent(whole: Stack) -> RuleResult:
    """The slices reach far enough to hold a good part of the lungs, as a cardiac CTAC does (in mm, not slices)."""
    count, extent = len(whole.planes), whole.extent_mm
    value = f"{count} slices over {extent:.0f} mm"
    expected = f"at least {MINIMUM_SLICES} slices over {MINIMUM_EXTENT_MM:g} mm"
    if count < MINIMUM_SLICES or extent < MINIMUM_EXTENT_MM:
        return judged(Rule.EXTENT, f"too short: {value}", expected, passed=False)
    if extent < WHOLE_CHEST_EXTENT_MM:
        return noted(Rule.EXTENT, f"{value}, so part of the lungs at best", expected)
    return judged(Rule.EXTENT, value, expected, passed=True)


def check_field_of_view(whole: Stack) -> RuleResult:
    """The field of view is wide enough to hold the lungs."""
    plane = whole.planes[0]
    sides = ((plane.header.rows or 0) * plane.spacing_mm[0], (plane.header.columns or 0) * plane.spacing_mm[1])
    value = f"{sides[0]:.0f} x {sides[1]:.0f} mm"
    expected = f"at least {MINIMUM_FIELD_OF_VIEW_MM:g} mm"
    if min(sides) < MINIMUM_FIELD_OF_VIEW_MM:
        return judged(Rule.FIELD_OF_VIEW, value, expected, passed=False)
    if max(sides) < WHOLE_CHEST_FIELD_OF_VIEW_MM:
        return noted(Rule.FIELD_OF_VIEW, f"{value}, so the lungs may be cut off at the sides", expected)
    return judged(Rule.FIELD_OF_VIEW, value, expected, passed=True)


def _alike(members: Sequence[Plane]) -> bool:
    first = members[0]
    same = 1e-3
    return all(
        max(abs(one - other) for one, other in zip(plane.row_cosines, first.row_cosines, strict=True)) < same
        and max(abs(one - other) for one, other in zip(plane.column_cosines, first.column_cosines, strict=True)) < same
        for plane in members
    )


def _angle_deg(plane: Plane) -> float:
    return math.degrees(math.acos(min(1.0, plane.normal[2])))


def _too_tilted(tilt_deg: float) -> bool:
    return math.cos(math.radians(tilt_deg)) < MINIMUM_NORMAL_COSINE


def _gantry_tilt_deg(whole: Stack) -> float | None:
    """Tilt in degrees when the slices are leaning but the table moved along z; None for straight or oblique slices."""
    plane, largest_gantry_tilt_deg = whole.planes[0], 31.0
    tilt = _angle_deg(plane)
    lean_about_x = abs(plane.normal[0]) < math.sqrt(1 - MINIMUM_NORMAL_COSINE**2) / 5
    travels_along_z = whole.in_plane_drift_mm > 0.5 * (whole.step_mm or 0.0) * math.tan(math.radians(tilt))
    stated = plane.header.gantry_detector_tilt_deg
    agrees = stated is not None and abs(abs(stated) - tilt) < 1.0
    return tilt if tilt <= largest_gantry_tilt_deg and lean_about_x and (travels_along_z or agrees) else None
