"""One volume is made of one acquisition, reconstructed once: what shares a series UID and is not, is told apart.

Kernels, phases, breaths, matrices and spacings can lie interleaved under one series UID, slice by slice or frame by
frame. Where a tag parts the slices into volumes that are each whole, the best that shows a chest is analysed and the
others are named. Where it parts them into what are no volumes, the series is left out. Slices of several acquisitions
that merely follow one another, as a table that moves step by step makes them, are one volume.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

from analysis.series.geometry import SAME_POSITION_MM, Plane, planes, slice_headers, stack
from analysis.series.kernels import Sharpness, sharpness
from analysis.series.series import InstanceHeader, Series

MINIMUM_SLICES = 8
"""Fewer slices than these are no volume."""

COVERAGE_TOLERANCE = 0.95
"""Volumes that reach this share of the longest one count as covering as much."""

BEST_THICKNESS_MM = (1.0, 3.0)

WHOLE_CHEST_FIELD_OF_VIEW_MM = 280.0
"""A narrower field of view may cut the lungs off at the sides."""

_LEAST_AXIAL_COSINE = 0.85
"""A normal that leans more than a gantry tilts is of a reformat, or of another part of the examination."""

_MOST_PARTS = 32
_DEEPEST = 3
_PAUSE_S = 5.0
"""Slices taken longer apart than this were not taken in one go."""
_SHARED_SHARE = 0.1
_SHARED_SLICES = 2
"""So many slices inside the reach of another acquisition are an overlap where two of them meet, not an interleaving."""
_MINIMUM_STEP_SHARE = 0.2
_NAMED = 4

Rank = tuple[bool, bool, Sharpness, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The slices of one acquisition and reconstruction, and the tags and values that told it from the others."""

    planes: tuple[Plane, ...]
    told_by: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        """The tags with their values, for people."""
        return ", ".join(f"{tag} {value}" for tag, value in self.told_by)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slices:
    """The slices of a series that make its volume.

    ``headers`` are the instances that hold them, ``others`` the parts that are left out in favour of these.
    ``entangled`` names a tag that parts the slices into what are no volumes; ``images_left_out`` counts images of the
    series that are no slices, as localizers.
    """

    headers: tuple[InstanceHeader, ...]
    planes: tuple[Plane, ...]
    part: Part
    others: tuple[Part, ...]
    entangled: str | None
    images_left_out: int


def slices_of(series: Series) -> Slices:
    """The slices that make the volume of a series; of several the one that its ``part`` names, see ``best_first``."""
    headers = slice_headers(series)
    members = planes(headers)
    complete = len(members) == sum(header.number_of_frames for header in headers)
    parts = _parts(members) if complete else None
    entangled = _entangled(members) if complete and not parts else None
    whole = Part(planes=members)
    others = best_first(parts) if parts else [whole]
    chosen = others.pop(min(series.part, len(others) - 1))
    kept = {plane.header.sop_instance_uid for plane in chosen.planes}
    return Slices(
        headers=tuple(header for header in headers if header.sop_instance_uid in kept) if others else headers,
        planes=chosen.planes,
        part=chosen,
        others=tuple(others),
        entangled=entangled,
        images_left_out=len(series.headers) - len(headers),
    )


def best_first(parts: Sequence[Part]) -> list[Part]:
    """Order by what can be a chest: axial, then by ``rank``, then as they are told apart."""
    axial = [part for part in parts if part.planes[0].normal[2] >= _LEAST_AXIAL_COSINE]
    longest = max(extent_mm(part.planes) for part in axial or parts)
    return sorted(parts, key=lambda part: (part not in axial, rank(part.planes, longest), part.told_by))


def rank(members: Sequence[Plane], longest_mm: float) -> Rank:
    """Whether it is shorter than the longest, or narrow; how sharp its kernel, how far from 1 to 3 mm, how thick."""
    whole = stack(members)
    thickness = (whole.planes[0].thickness_mm or whole.step_mm or 0.0) if whole else 0.0
    kernel = members[0].convolution_kernel if members else ""
    low, high = BEST_THICKNESS_MM
    return (
        extent_mm(members) < COVERAGE_TOLERANCE * longest_mm,
        bool(members) and field_of_view_mm(members[0]) < WHOLE_CHEST_FIELD_OF_VIEW_MM,
        sharpness(kernel),
        max(0.0, low - thickness, thickness - high),
        thickness,
    )


def field_of_view_mm(plane: Plane) -> float:
    """The longer side of a slice."""
    return max((plane.header.rows or 0) * plane.spacing_mm[0], (plane.header.columns or 0) * plane.spacing_mm[1])


def extent_mm(members: Sequence[Plane]) -> float:
    """The length that slices stand for."""
    whole = stack(members)
    return round(whole.extent_mm, 1) if whole else 0.0


def _parts(members: Sequence[Plane], depth: int = 0) -> list[Part] | None:
    """The slices as volumes that are each whole and of one acquisition; None where no tag parts them so."""
    for tag, tell in _TELLERS.items():
        groups = tell(members)
        if not 1 < len(groups) <= _MOST_PARTS or min(map(len, groups.values())) < MINIMUM_SLICES:
            continue
        if tag not in _ALWAYS and not _interleaved(list(groups.values())):
            continue
        found: list[Part] = []
        for value, group in groups.items():
            within = _parts(group, depth + 1) if depth < _DEEPEST else None
            if within is None and not _is_volume(group):
                break
            inner = within or [Part(planes=tuple(group))]
            found += [Part(planes=one.planes, told_by=((tag, value), *one.told_by)) for one in inner]
        else:
            return found
    return None


def _entangled(members: Sequence[Plane]) -> str | None:
    """A tag, with its values, that forbids one volume of these slices although it does not part them into several."""
    for tag, tell in _TELLERS.items():
        groups = tell(members)
        if tag in _JUDGED_ELSEWHERE or len(groups) == 1:
            continue
        if tag in _ALWAYS or _interleaved(list(groups.values())):
            named = ", ".join(list(groups)[:_NAMED])
            more = f" and {len(groups) - _NAMED} more" if len(groups) > _NAMED else ""
            return f"{tag} {named}{more}"
    return None


def _is_volume(members: Sequence[Plane]) -> bool:
    whole = stack(members)
    if whole is None or len(members) < MINIMUM_SLICES or whole.step_mm is None:
        return False
    shortest = _MINIMUM_STEP_SHARE * whole.step_mm
    return not whole.gaps and min(whole.steps_mm) > max(SAME_POSITION_MM, shortest)


def _interleaved(groups: Sequence[Sequence[Plane]]) -> bool:
    """Whether slices of one group lie inside the reach of another, by more than two that meet at an end."""
    normal = groups[0][0].normal
    places = [sorted(plane.along(normal) for plane in group) for group in groups]
    for index, one in enumerate(places):
        for other in places[index + 1 :]:
            inside = sum(other[0] < place < other[-1] for place in one) + sum(
                one[0] < place < one[-1] for place in other
            )
            if inside > max(_SHARED_SLICES, _SHARED_SHARE * min(len(one), len(other))):
                return True
    return False


_Groups = Mapping[str, list[Plane]]
_Tell = Callable[[Sequence[Plane]], _Groups]


def _by(value: Callable[[Plane], Hashable]) -> _Tell:
    """Group by a value, in the order of the values as text; slices that lack it are a group of their own."""

    def tell(members: Sequence[Plane]) -> _Groups:
        found: dict[str, list[Plane]] = defaultdict(list)
        for plane in members:
            known = value(plane)
            found["absent" if known in (None, "") else str(known)].append(plane)
        return dict(sorted(found.items(), key=lambda item: _natural(item[0])))

    return tell


def _natural(text: str) -> tuple[tuple[int, str], ...]:
    return tuple((int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d{1,9})", text))


def _by_mark(name: str) -> _Tell:
    return _by(lambda plane: dict(plane.marks).get(name))


def _by_time(members: Sequence[Plane]) -> _Groups:
    """Group by pauses between the times at which slices were taken; one group where a time is absent."""
    times = sorted({plane.acquired_at for plane in members if plane.acquired_at is not None})
    if not times or any(plane.acquired_at is None for plane in members):
        return {"": list(members)}
    starts = [times[0]]
    starts += [later for earlier, later in pairwise(times) if (later - earlier).total_seconds() > _PAUSE_S]

    def start_of(plane: Plane) -> datetime:
        return max(start for start in starts if start <= (plane.acquired_at or datetime.max.replace(tzinfo=UTC)))

    return _by(lambda plane: start_of(plane).strftime("%H:%M:%S"))(members)


def _by_frame_of_reference(members: Sequence[Plane]) -> _Groups:
    """Group by the frame of reference; one group where every image has its own, as de-identification may deal them."""
    found = _by(lambda plane: plane.header.frame_of_reference_uid)(members)
    dealt = len(found) == len(members) >= MINIMUM_SLICES
    return {"": list(members)} if dealt else found


def _by_number(members: Sequence[Plane]) -> _Groups:
    """Group by runs of Instance Number along which the position goes one way; one group where one is absent.

    Where nothing else tells two interleaved volumes apart, each was numbered as a whole. Numbers that were dealt at
    random make many short runs, which are no volumes.
    """
    numbered = sorted(
        (plane for plane in members if plane.header.instance_number is not None),
        key=lambda plane: (plane.header.instance_number or 0, plane.frame_number or 0),
    )
    if len(numbered) < max(2, len(members)):
        return {"": list(members)}
    normal = numbered[0].normal
    runs: list[list[Plane]] = [[numbered[0]]]
    upwards: bool | None = None
    for before, plane in pairwise(numbered):
        rises = plane.along(normal) > before.along(normal)
        if upwards is None or rises == upwards:
            runs[-1].append(plane)
            upwards = rises
        else:
            runs.append([plane])
            upwards = None
    return {f"{run[0].header.instance_number} to {run[-1].header.instance_number}": run for run in runs}


_BY_INSTANCE_NUMBER = "Instance Number"

_TELLERS: Mapping[str, _Tell] = {
    "Rows and Columns": _by(lambda plane: f"{plane.header.rows} x {plane.header.columns}"),
    "Pixel Spacing": _by(lambda plane: "{:.3f} x {:.3f}".format(*plane.spacing_mm)),
    "Image Orientation (Patient)": _by(
        lambda plane: "\\".join(f"{round(value, 2) + 0.0:g}" for value in (*plane.row_cosines, *plane.column_cosines))
    ),
    "Frame of Reference UID": _by_frame_of_reference,
    "Convolution Kernel": _by(lambda plane: plane.convolution_kernel),
    "Slice Thickness": _by(lambda plane: None if plane.thickness_mm is None else f"{plane.thickness_mm:.2f}"),
    "Temporal Position Index": _by_mark("Temporal Position Index"),
    "Temporal Position Identifier": _by_mark("Temporal Position Identifier"),
    "Nominal Percentage of Cardiac Phase": _by_mark("Nominal Percentage of Cardiac Phase"),
    "Acquisition Number": _by(lambda plane: plane.acquisition_number),
    "Irradiation Event UID": _by_mark("Irradiation Event UID"),
    "Acquisition Time": _by_time,
    "Stack ID": _by_mark("Stack ID"),
    "Series Number": _by(lambda plane: plane.header.series_number),
    "Series Description": _by(lambda plane: plane.header.series_description),
    "KVP": _by(lambda plane: dict(plane.marks).get("KVP") or plane.header.kvp),
    "Contrast/Bolus Agent": _by(lambda plane: plane.header.contrast_bolus_agent),
    "Image Type": _by(lambda plane: dict(plane.marks).get("Frame Type") or "\\".join(plane.header.image_type)),
    _BY_INSTANCE_NUMBER: _by_number,
}
"""What tells acquisitions and reconstructions apart, in the order in which it is asked."""

_ALWAYS = frozenset(
    {
        "Rows and Columns",
        "Pixel Spacing",
        "Image Orientation (Patient)",
        "Frame of Reference UID",
        "Convolution Kernel",
    }
)
"""Slices that differ in these make no volume together, wherever they lie."""

_JUDGED_ELSEWHERE = frozenset({"Rows and Columns", "Pixel Spacing", "Image Orientation (Patient)", _BY_INSTANCE_NUMBER})
"""Tags with a rule of their own, and the numbers of instances, which may be dealt in any order."""
