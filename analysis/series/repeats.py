"""Slices that are there twice: the same place and the same pixels under another SOP Instance UID."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from analysis.errors import AnalysisError
from analysis.series.decoding import decode_frames, largest_bytes
from analysis.series.geometry import SAME_POSITION_MM
from analysis.series.opening import PARSE_ERRORS, OutOfBounds, open_whole
from analysis.series.series import InstanceHeader

_MOST_SHARE = 0.1
_MOST_FEW = 4
"""More repeats than these are no accident of sending: a whole series, or another acquisition, whose pixels differ."""
_FORMAT = (
    *("rows", "columns", "number_of_frames", "pixels", "image_orientation_patient", "pixel_spacing_mm"),
    *("rescale_slope", "rescale_intercept", "convolution_kernel", "image_type", "acquired_at"),
)


def without_repeats(
    headers: Sequence[InstanceHeader],
) -> tuple[tuple[InstanceHeader, ...], tuple[InstanceHeader, ...]]:
    """The headers of which none shows what another one shows, and those that were left out.

    Pixels are decoded only where a few slices lie where another one already is. Where many do, as when a whole series
    was sent again under new UIDs, it is enough to compare them as they are encoded. Of two the one with the lower
    instance number stays, then the one with the lower UID.
    """
    places: dict[tuple[int, ...], list[InstanceHeader]] = defaultdict(list)
    for header in sorted(headers, key=lambda one: (one.instance_number or 0, one.sop_instance_uid)):
        if header.image_position_patient_mm is not None and header.number_of_frames == 1:
            places[tuple(round(value / SAME_POSITION_MM) for value in header.image_position_patient_mm)].append(header)
    several = [members for members in places.values() if len(members) > 1]
    extra = sum(len(members) - 1 for members in several)
    dropped: list[InstanceHeader] = []
    if extra <= max(_MOST_FEW, _MOST_SHARE * len(headers)):
        for first, *others in several:
            dropped += [other for other in others if _same_pixels(first, other)]
    else:
        for first, *others in several:
            if not all(_same_encoded(first, other) for other in others):
                return tuple(headers), ()  # another acquisition: one difference is enough
            dropped += others
    if not dropped:
        return tuple(headers), ()
    gone = {header.sop_instance_uid for header in dropped}
    return tuple(header for header in headers if header.sop_instance_uid not in gone), tuple(dropped)


def _same_encoded(one: InstanceHeader, other: InstanceHeader) -> bool:
    """Whether the bytes of the pixels are the same, in the same syntax and format."""
    if not _same_format(one, other) or one.transfer_syntax_uid != other.transfer_syntax_uid:
        return False
    try:
        first, second = (open_whole(header.path, largest=largest_bytes(header)).PixelData for header in (one, other))
    except (OutOfBounds, *PARSE_ERRORS):
        return False
    return first == second


def _same_format(one: InstanceHeader, other: InstanceHeader) -> bool:
    return all(getattr(one, name) == getattr(other, name) for name in _FORMAT)


def _same_pixels(one: InstanceHeader, other: InstanceHeader) -> bool:
    if not _same_format(one, other) or not one.rows or not one.columns:
        return False
    try:
        first, second = (decode_frames(header, (one.rows, one.columns)).pixels for header in (one, other))
    except AnalysisError:
        return False
    return bool(np.array_equal(first, second))
