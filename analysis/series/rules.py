"""The rules that look at headers. Each gives the value it saw, what it wanted and what came of it."""

import math
import re
from collections import Counter
from collections.abc import Sequence

from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedCTImageStorage,
    EnhancedPETImageStorage,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
    LegacyConvertedEnhancedCTImageStorage,
    LegacyConvertedEnhancedPETImageStorage,
    NuclearMedicineImageStorage,
    PositronEmissionTomographyImageStorage,
)

from analysis.series.acquisitions import MINIMUM_SLICES, Slices
from analysis.series.geometry import LEFT_OUT_IMAGE_TYPES, SAME_POSITION_MM, Plane, Stack, slice_headers
from analysis.series.series import InstanceHeader, Series
from analysis.series.verdicts import Outcome, Rule, RuleResult

ANALYSED_SOP_CLASSES = frozenset({CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage})
CONTEXT_SOP_CLASSES = frozenset(
    {
        PositronEmissionTomographyImageStorage,
        EnhancedPETImageStorage,
        LegacyConvertedEnhancedPETImageStorage,
        NuclearMedicineImageStorage,
    }
)

_LOSSY_SYNTAXES = frozenset(
    {JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless}  # JPEG 2000 and HTJ2K may be either: the header tells
)

LEFT_OUT_DESCRIPTION = re.compile(
    r"(?<![a-z0-9])"
    r"(topogram|scout|locali[sz]er|surview|scanogram|dose report|patient protocol|screen ?save|mip|minip|mpr|vrt)"
    r"(?![a-z0-9])",
    re.IGNORECASE,
)
"""Whole words of a series description: "Compressed" contains "mpr" and is not a reformat."""

CHEST_BODY_PARTS = frozenset(
    {"CHEST", "THORAX", "LUNG", "HEART", "CHESTABDOMEN", "CHESTABDPELVIS", "WHOLEBODY", "BODY"}
)

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
MINIMUM_MATRIX = 64
MINIMUM_FIELD_OF_VIEW_MM = 120.0
WHOLE_CHEST_FIELD_OF_VIEW_MM = 280.0
LARGEST_MATRIX = 4096
"""Rows and columns beyond these are of no CT, and ask for more memory than a node has."""
_NAMED_POSITIONS = 6
_NAMED_PARTS = 4
_BELIEVABLE_SHARE = 2
"""More missing slices than this many times those that are there are no gap."""
_GREY = ("", "MONOCHROME1", "MONOCHROME2")
_MOST_BITS = 32
_LEAST_BITS = 10


def check_sop_class(series: Series) -> RuleResult:
    """CT, Enhanced CT and Legacy Converted Enhanced CT are analysed; PT and NM are kept as context."""
    classes = {header.sop_class_uid for header in series.headers}
    names = ", ".join(sorted(UID(uid).name for uid in classes))
    passed = classes <= ANALYSED_SOP_CLASSES
    if classes <= CONTEXT_SOP_CLASSES:
        names += ", kept as context"
    return _result(Rule.SOP_CLASS, names, "CT Image or Enhanced CT", passed=passed)


def check_modality(series: Series) -> RuleResult:
    """The modality is CT."""
    modalities = sorted({header.modality or "absent" for header in series.headers})
    return _result(Rule.MODALITY, ", ".join(modalities), "CT", passed=modalities == ["CT"])


def check_image_type(series: Series) -> RuleResult:
    """No word of Image Type, in any position, marks a localizer, a reformat or a projection; DERIVED is fine."""
    kept = slice_headers(series)
    words = sorted({word for header in kept for word in header.image_type} & LEFT_OUT_IMAGE_TYPES)
    expected = "none of " + ", ".join(sorted(LEFT_OUT_IMAGE_TYPES))
    if words:
        return _result(Rule.IMAGE_TYPE, ", ".join(words), expected, passed=False)
    value = "\\".join(kept[0].image_type) or "absent"
    dropped = len(series.headers) - len(kept)
    if dropped:
        return _noted(Rule.IMAGE_TYPE, f"{value}; {dropped} other image(s) in the series left out", expected)
    return _result(Rule.IMAGE_TYPE, value, expected, passed=True)


def check_description(series: Series) -> RuleResult:
    """No whole word of the series description marks a localizer, a reformat or a report."""
    description = series.headers[0].series_description
    found = LEFT_OUT_DESCRIPTION.search(description)
    value = f'"{found.group(0)}" in "{description}"' if found else description or "absent"
    return _result(Rule.DESCRIPTION, value, "no word for a localizer, reformat or report", passed=not found)


def check_body_part(series: Series) -> RuleResult:
    """Body Part Examined is a hint only: it is wrong too often to exclude anything."""
    part = series.headers[0].body_part_examined
    expected = "the chest (a hint only)"
    if part.replace(" ", "") in CHEST_BODY_PARTS:
        return _result(Rule.BODY_PART, part, expected, passed=True)
    return _noted(Rule.BODY_PART, part or "absent", expected)


def check_matrix(slices: Slices) -> RuleResult:
    """All slices have the same, sensible matrix and pixel spacing."""
    expected = (
        f"one matrix between {MINIMUM_MATRIX} x {MINIMUM_MATRIX} and {LARGEST_MATRIX} x {LARGEST_MATRIX}, "
        "one pixel spacing"
    )
    matrices = sorted({(header.rows or 0, header.columns or 0) for header in slices.headers})
    spacings = sorted({_rounded(plane.spacing_mm) for plane in slices.planes})
    value = "; ".join(f"{rows} x {columns}" for rows, columns in matrices[:4])
    value += " of " + "; ".join(f"{row:g} x {column:g} mm" for row, column in spacings[:4]) if spacings else ""
    sides = matrices[0]
    passed = len(matrices) == 1 and len(spacings) <= 1 and min(sides) >= MINIMUM_MATRIX and max(sides) <= LARGEST_MATRIX
    return _result(Rule.MATRIX, value, expected, passed=passed)


def check_frames(headers: Sequence[InstanceHeader]) -> RuleResult:
    """A multi-frame instance has as many frames as it describes."""
    expected = "as many per-frame functional groups as Number of Frames"
    for header in headers:
        if header.frame_groups and header.frame_groups != header.number_of_frames:
            value = f"Number of Frames is {header.number_of_frames}, functional groups: {header.frame_groups}"
            return _result(Rule.FRAMES, value, expected, passed=False)
    total = sum(header.number_of_frames for header in headers)
    return _result(Rule.FRAMES, f"{total} in {len(headers)} instances", expected, passed=total > 0)


def check_plane_attributes(headers: Sequence[InstanceHeader]) -> RuleResult:
    """Every slice has a position, an orientation and a pixel spacing."""
    expected = "position, orientation and pixel spacing in every slice"
    bare = [header for header in headers if not header.frames and header.number_of_frames > 1]
    plain = [header for header in headers if not header.frames and header.number_of_frames == 1]
    lacking = {
        "Image Position (Patient)": sum(header.image_position_patient_mm is None for header in plain),
        "Image Orientation (Patient)": sum(header.image_orientation_patient is None for header in plain),
        "Pixel Spacing": sum(header.pixel_spacing_mm is None for header in plain),
        "functional groups with all three": len(bare),
    }
    named = "; ".join(f"{name} absent or senseless in {count}" for name, count in lacking.items() if count)
    total = sum(header.number_of_frames for header in headers)
    value = f"{named} of {len(headers)} instances" if named else f"all {total} slices have them"
    return _result(Rule.PLANE_ATTRIBUTES, value, expected, passed=not named and total > 0)


def check_acquisition(slices: Slices) -> RuleResult:
    """The volume is made of one acquisition, reconstructed once; what else shares the series is named."""
    expected = "slices of one acquisition and one reconstruction"
    if slices.entangled:
        value = f"slices lie among one another and differ in {slices.entangled}"
        return _result(Rule.ACQUISITION, value, expected, passed=False)
    if not slices.others:
        return _result(Rule.ACQUISITION, "one", expected, passed=True)
    others = "; ".join(f"{part} ({len(part.planes)} slices)" for part in slices.others[:_NAMED_PARTS])
    more = f" and {len(slices.others) - _NAMED_PARTS} more" if len(slices.others) > _NAMED_PARTS else ""
    value = f"{len(slices.others) + 1} under one series UID; analysed: {slices.part} ({len(slices.planes)} slices)"
    return _noted(Rule.ACQUISITION, f"{value}; left out: {others}{more}", expected)


def check_repeats(series: Series) -> RuleResult:
    """A slice that was sent again under another SOP Instance UID counts once."""
    expected = "every slice once"
    if series.repeats:
        return _noted(Rule.REPEATS, f"{len(series.repeats)} left out: the same pixels in the same place", expected)
    return _result(Rule.REPEATS, "none", expected, passed=True)


def check_identifiers(series: Series) -> RuleResult:
    """Identifiers that the files lack were derived from their content; the results carry those."""
    expected = "UIDs in every file"
    derived = sorted({keyword for header in series.headers for keyword in header.derived})
    if derived:
        return _noted(Rule.IDENTIFIERS, f"derived from the content: {', '.join(derived)}", expected)
    return _result(Rule.IDENTIFIERS, "all there", expected, passed=True)


def check_pixel_format(headers: Sequence[InstanceHeader]) -> RuleResult:
    """Pixels are grey, and the bits that hold them lie inside what is allocated."""
    expected = "grey, Bits Stored within Bits Allocated, High Bit within Bits Allocated and not under Bits Stored - 1"
    for header in headers:
        stored = header.pixels
        if stored.samples_per_pixel not in (None, 1) or stored.photometric_interpretation not in _GREY:
            value = f"Samples per Pixel {stored.samples_per_pixel}, {stored.photometric_interpretation}"
            return _result(Rule.PIXEL_FORMAT, value, expected, passed=False)
        allocated, bits, high = stored.bits_allocated, stored.bits_stored, stored.high_bit
        wrong = bits is not None and not 1 <= bits <= (allocated or _MOST_BITS)
        wrong |= high is not None and not (bits or 1) - 1 <= high < (allocated or _MOST_BITS)
        if wrong or allocated not in (None, 8, 16, 32):
            value = f"Bits Allocated {allocated}, Bits Stored {bits}, High Bit {high}"
            return _result(Rule.PIXEL_FORMAT, value, expected, passed=False)
    stored = headers[0].pixels
    if stored.bits_stored is None:
        return _result(Rule.PIXEL_FORMAT, "not told", expected, passed=True)
    value = f"{stored.bits_stored} of {stored.bits_allocated} bits, High Bit {stored.high_bit}"
    if stored.high_bit not in (None, stored.bits_stored - 1):
        return _noted(Rule.PIXEL_FORMAT, f"{value}, not {stored.bits_stored - 1}: read by High Bit", expected)
    return _result(Rule.PIXEL_FORMAT, value, expected, passed=True)


def check_compression(headers: Sequence[InstanceHeader]) -> RuleResult:
    """Attenuation was not thrown away: neither lossy compression nor 8 bits, which are noted where they are."""
    expected = "lossless, at least 10 bits"
    lossy = [header for header in headers if header.pixels.lossy or _lossy(header.transfer_syntax_uid)]
    bits = min((header.pixels.bits_stored or _MOST_BITS for header in headers), default=_MOST_BITS)
    told: list[str] = []
    if lossy:
        ratio = lossy[0].pixels.lossy_ratio
        told.append("lossy compression" + (f", ratio {ratio:g}" if ratio else ""))
    if bits < _LEAST_BITS:
        told.append(f"{bits} bits a pixel")
    if told:
        return _noted(Rule.COMPRESSION, "; ".join(told), expected)
    return _result(Rule.COMPRESSION, "none", expected, passed=True)


def check_orientation(whole: Stack) -> RuleResult:
    """Slices are axial, and all of them lie alike."""
    first = whole.planes[0]
    value = "slice normal ({:.3f}, {:.3f}, {:.3f})".format(*first.normal)
    expected = "axial, normal along z within 0.01, the same in all slices"
    if not _alike(whole.planes):
        return _result(Rule.ORIENTATION, f"{value}, not the same in all slices", expected, passed=False)
    # a gantry tilt turns the normal about the patient's left-right axis alone, and the table still moves along z
    tilted = _gantry_tilt_deg(whole) is not None
    return _result(Rule.ORIENTATION, value, expected, passed=first.normal[2] >= MINIMUM_NORMAL_COSINE or tilted)


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
            _result(Rule.GANTRY_TILT, value, expected, passed=False)
            if _too_tilted(tilt)
            else _noted(Rule.GANTRY_TILT, value, expected)
        )
    if _too_tilted(tilt):
        return _result(Rule.GANTRY_TILT, value, expected, passed=False)
    return (
        _noted(Rule.GANTRY_TILT, value, expected)
        if tilt > NOTED_TILT_DEG
        else _result(Rule.GANTRY_TILT, value, expected, passed=True)
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
    return _result(Rule.SLICE_POSITIONS, value, "one slice a position", passed=not repeated and not close)


def check_alignment(whole: Stack) -> RuleResult:
    """Slices lie above one another: none is shifted sideways (more than a tilted table's feed explains)."""
    drift = whole.in_plane_drift_mm
    tilt = math.radians(_angle_deg(whole.planes[0]))
    step = whole.step_mm or 0.0
    allowed = step * (math.tan(tilt) + MAXIMUM_DRIFT_SHARE) + 1.0
    value = f"largest sideways step {drift:.2f} mm"
    return _result(Rule.ALIGNMENT, value, f"at most {allowed:.2f} mm", passed=drift <= allowed)


def check_steps(whole: Stack) -> RuleResult:
    """Slices follow each other at one step; where one is missing the series is left out, with its position."""
    step = whole.step_mm
    expected = f"a uniform step of at most {MAXIMUM_STEP_MM:g} mm, none missing"
    if step is None:
        return _result(Rule.SLICE_STEP, "a single slice", expected, passed=False)
    gaps = whole.gaps
    missing = sum(gap.slices for gap in gaps)
    if missing > _BELIEVABLE_SHARE * len(whole.planes):
        value = f"{min(whole.steps_mm):.2f} to {max(whole.steps_mm):.2f} mm: the positions are those of no stack"
        return _result(Rule.SLICE_STEP, value, expected, passed=False)
    if gaps:
        places = [position for gap in gaps for position in gap.positions_mm()]
        named = ", ".join(f"{position:.1f}" for position in places[:_NAMED_POSITIONS])
        more = f" and {missing - _NAMED_POSITIONS} more" if missing > _NAMED_POSITIONS else ""
        value = f"gap: {missing} slice(s) missing at {named}{more} mm (step {step:.2f} mm)"
        return _result(Rule.SLICE_STEP, value, expected, passed=False)
    if step > MAXIMUM_STEP_MM:
        return _result(Rule.SLICE_STEP, f"{step:.2f} mm", expected, passed=False)
    steps = whole.steps_mm
    if max(abs(one - step) for one in steps) > REGULAR_STEP_SHARE * step:
        value = f"{min(steps):.2f} to {max(steps):.2f} mm; each slice is weighed by the space it stands for"
        return _noted(Rule.SLICE_STEP, value, expected)
    return _result(Rule.SLICE_STEP, f"{step:.2f} mm", expected, passed=True)


def check_contact(whole: Stack) -> RuleResult:
    """Slices touch or overlap; where they do not, lesions between them go unseen, which is noted."""
    thickness, step = whole.planes[0].thickness_mm, whole.step_mm
    expected = "slices as thick as their step, or thicker"
    if thickness is None or step is None:
        return _noted(Rule.SLICE_CONTACT, "slice thickness absent", expected)
    value = f"{thickness:g} mm thick, {step:.2f} mm apart"
    if step > CONTACT_RATIO * thickness:
        return _noted(Rule.SLICE_CONTACT, f"slices do not touch: {value}", expected)
    return _result(Rule.SLICE_CONTACT, value, expected, passed=True)


def check_extent(whole: Stack) -> RuleResult:
    """The slices reach far enough to hold a good part of the lungs, as a cardiac CTAC does (in mm, not slices)."""
    count, extent = len(whole.planes), whole.extent_mm
    value = f"{count} slices over {extent:.0f} mm"
    expected = f"at least {MINIMUM_SLICES} slices over {MINIMUM_EXTENT_MM:g} mm"
    if count < MINIMUM_SLICES or extent < MINIMUM_EXTENT_MM:
        return _result(Rule.EXTENT, f"too short: {value}", expected, passed=False)
    if extent < WHOLE_CHEST_EXTENT_MM:
        return _noted(Rule.EXTENT, f"{value}, so part of the lungs at best", expected)
    return _result(Rule.EXTENT, value, expected, passed=True)


def check_field_of_view(whole: Stack) -> RuleResult:
    """The field of view is wide enough to hold the lungs."""
    plane = whole.planes[0]
    sides = ((plane.header.rows or 0) * plane.spacing_mm[0], (plane.header.columns or 0) * plane.spacing_mm[1])
    value = f"{sides[0]:.0f} x {sides[1]:.0f} mm"
    expected = f"at least {MINIMUM_FIELD_OF_VIEW_MM:g} mm"
    if min(sides) < MINIMUM_FIELD_OF_VIEW_MM:
        return _result(Rule.FIELD_OF_VIEW, value, expected, passed=False)
    if max(sides) < WHOLE_CHEST_FIELD_OF_VIEW_MM:
        return _noted(Rule.FIELD_OF_VIEW, f"{value}, so the lungs may be cut off at the sides", expected)
    return _result(Rule.FIELD_OF_VIEW, value, expected, passed=True)


def check_rescale(members: Sequence[Plane]) -> RuleResult:
    """Stored values can be turned to Hounsfield units."""
    expected = "Rescale Slope and Intercept in every slice, in HU"
    lacking = sum(plane.slope is None or plane.intercept is None for plane in members)
    if lacking:
        return _result(Rule.RESCALE, f"{lacking} of {len(members)} slices lack them", expected, passed=False)
    if not members:
        return _result(Rule.RESCALE, "no slice has a place", expected, passed=False)
    pairs = Counter((plane.slope or 0.0, plane.intercept or 0.0) for plane in members)
    (slope, intercept), _ = pairs.most_common(1)[0]
    absurd = next((plane for plane in members if not plane.makes_hu), None)
    if absurd is not None:
        value = f"slope {absurd.slope:g}, intercept {absurd.intercept:g}, which makes no HU"
        return _result(Rule.RESCALE, value, expected, passed=False)
    kinds = sorted({plane.header.rescale_type.upper() for plane in members} - {""})
    value = f"slope {slope:g}, intercept {intercept:g}" + (f", type {', '.join(kinds)}" if kinds else "")
    if len(pairs) > 1:
        value += f", {len(pairs)} different pairs"
    if kinds and kinds != ["HU"]:
        return _noted(Rule.RESCALE, f"{value}; the pixels decide", expected)
    return _result(Rule.RESCALE, value, expected, passed=True)


def _lossy(transfer_syntax_uid: str) -> bool:
    return transfer_syntax_uid in _LOSSY_SYNTAXES


def _rounded(spacing: tuple[float, float]) -> tuple[float, float]:
    return (round(spacing[0], 3), round(spacing[1], 3))


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


def _result(rule: Rule, value: str, expected: str, *, passed: bool) -> RuleResult:
    return RuleResult(rule=rule, value=value, expected=expected, outcome=Outcome.PASSED if passed else Outcome.EXCLUDED)


def _noted(rule: Rule, value: str, expected: str) -> RuleResult:
    return RuleResult(rule=rule, value=value, expected=expected, outcome=Outcome.NOTED)
