"""The rules that look at headers. Each gives the value it saw, what it wanted and what came of it."""

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

from analysis.series.acquisitions import Slices
from analysis.series.geometry import LEFT_OUT_IMAGE_TYPES, Plane, slice_headers
from analysis.series.series import InstanceHeader, Series
from analysis.series.verdicts import Rule, RuleResult, judged, noted

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

MINIMUM_MATRIX = 64
LARGEST_MATRIX = 4096
"""Rows and columns beyond these are of no CT, and ask for more memory than a node has."""
_NAMED_PARTS = 4
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
    return judged(Rule.SOP_CLASS, names, "CT Image or Enhanced CT", passed=passed)


def check_modality(series: Series) -> RuleResult:
    """The modality is CT."""
    modalities = sorted({header.modality or "absent" for header in series.headers})
    return judged(Rule.MODALITY, ", ".join(modalities), "CT", passed=modalities == ["CT"])


def check_image_type(series: Series) -> RuleResult:
    """No word of Image Type, in any position, marks a localizer, a reformat or a projection; DERIVED is fine."""
    kept = slice_headers(series)
    words = sorted({word for header in kept for word in header.image_type} & LEFT_OUT_IMAGE_TYPES)
    expected = "none of " + ", ".join(sorted(LEFT_OUT_IMAGE_TYPES))
    if words:
        return judged(Rule.IMAGE_TYPE, ", ".join(words), expected, passed=False)
    value = "\\".join(kept[0].image_type) or "absent"
    dropped = len(series.headers) - len(kept)
    if dropped:
        return noted(Rule.IMAGE_TYPE, f"{value}; {dropped} other image(s) in the series left out", expected)
    return judged(Rule.IMAGE_TYPE, value, expected, passed=True)


def check_description(series: Series) -> RuleResult:
    """No whole word of the series description marks a localizer, a reformat or a report."""
    description = series.headers[0].series_description
    found = LEFT_OUT_DESCRIPTION.search(description)
    value = f'"{found.group(0)}" in "{description}"' if found else description or "absent"
    return judged(Rule.DESCRIPTION, value, "no word for a localizer, reformat or report", passed=not found)


def check_body_part(series: Series) -> RuleResult:
    """Body Part Examined is a hint only: it is wrong too often to exclude anything."""
    part = series.headers[0].body_part_examined
    expected = "the chest (a hint only)"
    if part.replace(" ", "") in CHEST_BODY_PARTS:
        return judged(Rule.BODY_PART, part, expected, passed=True)
    return noted(Rule.BODY_PART, part or "absent", expected)


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
    return judged(Rule.MATRIX, value, expected, passed=passed)


def check_frames(headers: Sequence[InstanceHeader]) -> RuleResult:
    """A multi-frame instance has as many frames as it describes."""
    expected = "as many per-frame functional groups as Number of Frames"
    for header in headers:
        if header.frame_groups and header.frame_groups != header.number_of_frames:
            value = f"Number of Frames is {header.number_of_frames}, functional groups: {header.frame_groups}"
            return judged(Rule.FRAMES, value, expected, passed=False)
    total = sum(header.number_of_frames for header in headers)
    return judged(Rule.FRAMES, f"{total} in {len(headers)} instances", expected, passed=total > 0)


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
    return judged(Rule.PLANE_ATTRIBUTES, value, expected, passed=not named and total > 0)


def check_acquisition(slices: Slices) -> RuleResult:
    """The volume is made of one acquisition, reconstructed once; what else shares the series is named."""
    expected = "slices of one acquisition and one reconstruction"
    if slices.entangled:
        value = f"slices lie among one another and differ in {slices.entangled}"
        return judged(Rule.ACQUISITION, value, expected, passed=False)
    if not slices.others:
        return judged(Rule.ACQUISITION, "one", expected, passed=True)
    others = "; ".join(f"{part} ({len(part.planes)} slices)" for part in slices.others[:_NAMED_PARTS])
    more = f" and {len(slices.others) - _NAMED_PARTS} more" if len(slices.others) > _NAMED_PARTS else ""
    value = f"{len(slices.others) + 1} under one series UID; taken: {slices.part} ({len(slices.planes)} slices)"
    return noted(Rule.ACQUISITION, f"{value}; left out: {others}{more}", expected)


def check_repeats(series: Series) -> RuleResult:
    """A slice that was sent again under another SOP Instance UID counts once."""
    expected = "every slice once"
    if series.repeats:
        return noted(Rule.REPEATS, f"{len(series.repeats)} left out: the same pixels in the same place", expected)
    return judged(Rule.REPEATS, "none", expected, passed=True)


def check_identifiers(series: Series) -> RuleResult:
    """Identifiers that the files lack were derived from their content; the results carry those."""
    expected = "UIDs in every file"
    derived = sorted({keyword for header in series.headers for keyword in header.derived})
    if derived:
        return noted(Rule.IDENTIFIERS, f"derived from the content: {', '.join(derived)}", expected)
    return judged(Rule.IDENTIFIERS, "all there", expected, passed=True)


def check_pixel_format(headers: Sequence[InstanceHeader]) -> RuleResult:
    """Pixels are grey, and the bits that hold them lie inside what is allocated."""
    expected = "grey, Bits Stored within Bits Allocated, High Bit within Bits Allocated and not under Bits Stored - 1"
    for header in headers:
        stored = header.pixels
        if stored.samples_per_pixel not in (None, 1) or stored.photometric_interpretation not in _GREY:
            value = f"Samples per Pixel {stored.samples_per_pixel}, {stored.photometric_interpretation}"
            return judged(Rule.PIXEL_FORMAT, value, expected, passed=False)
        allocated, bits, high = stored.bits_allocated, stored.bits_stored, stored.high_bit
        wrong = bits is not None and not 1 <= bits <= (allocated or _MOST_BITS)
        wrong |= high is not None and not (bits or 1) - 1 <= high < (allocated or _MOST_BITS)
        if wrong or allocated not in (None, 8, 16, 32):
            value = f"Bits Allocated {allocated}, Bits Stored {bits}, High Bit {high}"
            return judged(Rule.PIXEL_FORMAT, value, expected, passed=False)
    stored = headers[0].pixels
    if stored.bits_stored is None:
        return judged(Rule.PIXEL_FORMAT, "not told", expected, passed=True)
    value = f"{stored.bits_stored} of {stored.bits_allocated} bits, High Bit {stored.high_bit}"
    if stored.high_bit not in (None, stored.bits_stored - 1):
        return noted(Rule.PIXEL_FORMAT, f"{value}, not {stored.bits_stored - 1}: read by High Bit", expected)
    return judged(Rule.PIXEL_FORMAT, value, expected, passed=True)


def check_compression(headers: Sequence[InstanceHeader]) -> RuleResult:
    """Attenuation was not thrown away: neither lossy compression nor 8 bits, which are noted where they are."""
    expected = "lossless, at least 10 bits"
    lossy = [header for header in headers if header.pixels.lossy or is_lossy(header.transfer_syntax_uid)]
    bits = min((header.pixels.bits_stored or _MOST_BITS for header in headers), default=_MOST_BITS)
    told: list[str] = []
    if lossy:
        ratio = lossy[0].pixels.lossy_ratio
        told.append("lossy compression" + (f", ratio {ratio:g}" if ratio else ""))
    if bits < _LEAST_BITS:
        told.append(f"{bits} bits a pixel")
    if told:
        return noted(Rule.COMPRESSION, "; ".join(told), expected)
    return judged(Rule.COMPRESSION, "none", expected, passed=True)


def check_rescale(members: Sequence[Plane]) -> RuleResult:
    """Stored values can be turned to Hounsfield units."""
    expected = "Rescale Slope and Intercept in every slice, in HU"
    lacking = sum(plane.slope is None or plane.intercept is None for plane in members)
    if lacking:
        return judged(Rule.RESCALE, f"{lacking} of {len(members)} slices lack them", expected, passed=False)
    if not members:
        return judged(Rule.RESCALE, "no slice has a place", expected, passed=False)
    pairs = Counter((plane.slope or 0.0, plane.intercept or 0.0) for plane in members)
    (slope, intercept), _ = pairs.most_common(1)[0]
    absurd = next((plane for plane in members if not plane.makes_hu), None)
    if absurd is not None:
        value = f"slope {absurd.slope:g}, intercept {absurd.intercept:g}, which makes no HU"
        return judged(Rule.RESCALE, value, expected, passed=False)
    kinds = sorted({plane.header.rescale_type.upper() for plane in members} - {""})
    value = f"slope {slope:g}, intercept {intercept:g}" + (f", type {', '.join(kinds)}" if kinds else "")
    if len(pairs) > 1:
        value += f", {len(pairs)} different pairs"
    if kinds and kinds != ["HU"]:
        return noted(Rule.RESCALE, f"{value}; the pixels decide", expected)
    return judged(Rule.RESCALE, value, expected, passed=True)


def is_lossy(transfer_syntax_uid: str) -> bool:
    """Whether the syntax is always lossy; of JPEG 2000 the header tells."""
    return transfer_syntax_uid in _LOSSY_SYNTAXES


def _rounded(spacing: tuple[float, float]) -> tuple[float, float]:
    return (round(spacing[0], 3), round(spacing[1], 3))
