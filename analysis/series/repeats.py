"""Slices that are there twice: the same place and the same pixels under another SOP Instance UID."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from analysis.errors import AnalysisError
from analysis.series.decoding import decode_frames
from analysis.series.geometry import SAME_POSITION_MM
from analysis.series.series import InstanceHeader

_MOST_SHARE = 0.1
_MOST_FEW = 4
"""More repeats than these are no accident of sending: they are another acquisition, whose pixels differ."""


def without_repeats(
    headers: Sequence[InstanceHeader],
) -> tuple[tuple[InstanceHeader, ...], tuple[InstanceHeader, ...]]:
    """The headers of which none shows what another one shows, and those that were left out.

    Pixels are looked at only where a few slices lie where another one already is. Of two the one with the lower
    instance number stays, then the one with the lower UID.
    """
    places: dict[tuple[int, ...], list[InstanceHeader]] = defaultdict(list)
    for header in sorted(headers, key=lambda one: (one.instance_number or 0, one.sop_instance_uid)):
        if header.image_position_patient_mm is not None and header.number_of_frames == 1:
            places[tuple(round(value / SAME_POSITION_MM) for value in header.image_position_patient_mm)].append(header)
    several = [members for members in places.values() if len(members) > 1]
    extra = sum(len(members) - 1 for members in several)
    if not extra or extra > max(_MOST_FEW, _MOST_SHARE * len(headers)):
        return tuple(headers), ()
    dropped: list[InstanceHeader] = []
    for first, *others in several:
        dropped += [other for other in others if _same_pixels(first, other)]
    gone = {header.sop_instance_uid for header in dropped}
    return tuple(header for header in headers if header.sop_instance_uid not in gone), tuple(dropped)


def _same_pixels(one: InstanceHeader, other: InstanceHeader) -> bool:
    if one.image_orientation_patient != other.image_orientation_patient or not one.rows or not one.columns:
        return False
    if (one.rows, one.columns, one.rescale_slope, one.rescale_intercept) != (
        other.rows,
        other.columns,
        other.rescale_slope,
        other.rescale_intercept,
    ):
        return False
    try:
        first, second = (decode_frames(header, (one.rows, one.columns)).pixels for header in (one, other))
    except AnalysisError:
        return False
    return bool(np.array_equal(first, second))
