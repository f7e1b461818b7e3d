"""Where the slices of a series lie: planes in order along their normal, steps, gaps and repeats."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from statistics import median

from analysis.series.series import InstanceHeader, Series

Vector = tuple[float, float, float]

LEFT_OUT_IMAGE_TYPES = frozenset(
    {
        "LOCALIZER",
        "SCOUT",
        "REFORMATTED",
        "MPR",
        "MIP",
        "MINIP",
        "MAX_IP",
        "MIN_IP",
        "VRT",
        "CPR",
        "CURVED",
        "PROJECTION IMAGE",
        "SCREEN SAVE",
        "SECONDARY",
    }
)
"""Words of Image Type, in any position, that mark an image which is not an axial slice as reconstructed."""

GAP_RATIO = 1.5
"""A step this many times the usual one has lost a slice."""

SAME_POSITION_MM = 0.01
"""Slices nearer to each other than this lie in the same place."""

_LARGEST_SLOPE, _LARGEST_INTERCEPT = 100.0, 32768.0

_MOST_STRAYS = 3

_MOST_MISSING = 10_000
"""No more slices are counted in one gap: positions that far apart are not those of one volume."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Where slices should lie, going by the usual step, and do not: between two positions (mm), so many."""

    lower_mm: float
    upper_mm: float
    slices: int

    def positions_mm(self) -> tuple[float, ...]:
        """Where the missing slices should lie."""
        apart = (self.upper_mm - self.lower_mm) / (self.slices + 1)
        return tuple(self.lower_mm + apart * number for number in range(1, self.slices + 1))


def usual_step_mm(positions_mm: Sequence[float]) -> float | None:
    """The usual distance of neighbours among ascending positions; None where no two differ."""
    steps = [upper - lower for lower, upper in pairwise(positions_mm) if upper - lower > SAME_POSITION_MM]
    return median(steps) if steps else None


def find_gaps(positions_mm: Sequence[float]) -> tuple[Gap, ...]:
    """Where slices are missing among ascending positions, going by the usual step. The one judgement of gaps."""
    usual = usual_step_mm(positions_mm)
    if usual is None or not math.isfinite(usual):
        return ()
    return tuple(
        Gap(lower_mm=lower, upper_mm=upper, slices=max(1, round(min((upper - lower) / usual, _MOST_MISSING)) - 1))
        for lower, upper in pairwise(positions_mm)
        if upper - lower >= GAP_RATIO * usual
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """One slice: an instance, or a frame of one, with its geometry in the patient's coordinates (mm, LPS)."""

    header: InstanceHeader
    frame_number: int | None
    position_mm: Vector
    row_cosines: Vector
    column_cosines: Vector
    spacing_mm: tuple[float, float]
    thickness_mm: float | None
    slope: float | None
    intercept: float | None
    acquisition_number: int | None = None
    convolution_kernel: str = ""
    acquired_at: datetime | None = None
    marks: tuple[tuple[str, str], ...] = ()

    @property
    def normal(self) -> Vector:
        """Unit vector across the slice, turned to the head."""
        (a, b, c), (d, e, f) = self.row_cosines, self.column_cosines
        normal = (b * f - c * e, c * d - a * f, a * e - b * d)
        length = math.hypot(*normal)
        sign = -1.0 if normal[2] < 0 else 1.0
        return (sign * normal[0] / length, sign * normal[1] / length, sign * normal[2] / length)

    @property
    def makes_hu(self) -> bool:
        """Whether slope and intercept bring stored values of 16 bits into the range of tissue."""
        if self.slope is None or self.intercept is None:
            return False
        return 0 < self.slope <= _LARGEST_SLOPE and abs(self.intercept) <= _LARGEST_INTERCEPT

    def along(self, normal: Vector) -> float:
        """Where the slice lies along this unit vector (mm)."""
        return _dot(self.position_mm, normal)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """Planes from feet to head, with their positions along the normal of the first (mm)."""

    planes: tuple[Plane, ...]
    positions_mm: tuple[float, ...]

    @property
    def steps_mm(self) -> tuple[float, ...]:
        """Distances of neighbours, in order."""
        return tuple(b - a for a, b in zip(self.positions_mm, self.positions_mm[1:], strict=False))

    @property
    def step_mm(self) -> float | None:
        """The usual distance of neighbours; None for a single slice."""
        return usual_step_mm(self.positions_mm)

    @property
    def repeated_positions(self) -> int:
        """How many slices lie where another one already is."""
        return sum(step <= SAME_POSITION_MM for step in self.steps_mm)

    @property
    def close_positions(self) -> int:
        """How many slices lie a hair from the one before, as the slices of a second acquisition do; 0 for few."""
        longest = sorted(self.steps_mm)[-1 - len(self.steps_mm) // 4] if self.steps_mm else 0.0
        close = sum(step < _HAIR_SHARE * longest for step in self.steps_mm)
        return close if close >= _HAIR_SLICES_SHARE * len(self.planes) else 0

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """Steps in which slices are missing, going by the usual one."""
        return find_gaps(self.positions_mm)

    @property
    def extent_mm(self) -> float:
        """Length that the slices stand for, from the lower face of the first to the upper face of the last."""
        end = self.step_mm or self.planes[0].thickness_mm or 0.0
        return self.positions_mm[-1] - self.positions_mm[0] + end

    @property
    def in_plane_drift_mm(self) -> float:
        """Largest sideways offset between neighbouring slices; tilt causes one of step times the tilt's tangent."""
        drift = 0.0
        for lower, upper in zip(self.planes, self.planes[1:], strict=False):
            offset = _difference(upper.position_mm, lower.position_mm)
            along = _dot(offset, lower.normal)
            drift = max(drift, math.sqrt(max(0.0, _dot(offset, offset) - along * along)))
        return drift


_HAIR_SHARE, _HAIR_SLICES_SHARE = 0.2, 0.25
"""Steps of less than this share of a full one are a hair; one slice in four behind a hair is a second acquisition."""


def slice_headers(series: Series) -> tuple[InstanceHeader, ...]:
    """Give the instances that count as slices: localizers and strays that share their series are left out."""
    kept = tuple(header for header in series.headers if not LEFT_OUT_IMAGE_TYPES.intersection(header.image_type))
    return _without_strays(kept if 2 * len(kept) > len(series.headers) else series.headers)


def _without_strays(headers: tuple[InstanceHeader, ...]) -> tuple[InstanceHeader, ...]:
    """Leave out up to three images of no place or of another plane, where the rest is whole without them.

    Pages of dose, key images and reformats are stored as CT images into the series of the slices, and say nothing.
    """
    (usual, count), *others = Counter(map(_plane, headers)).most_common()
    if usual is None or not others or len(headers) - count > _MOST_STRAYS or count <= _MOST_STRAYS:
        return headers
    kept = tuple(header for header in headers if _plane(header) == usual)
    whole = stack(planes(kept))
    return headers if whole is None or whole.gaps else kept


def _plane(header: InstanceHeader) -> int | None:
    """The axis of the patient that a single image lies across; None where it has no place."""
    cosines = header.image_orientation_patient
    if cosines is None or header.image_position_patient_mm is None:
        return None
    (a, b, c), (d, e, f) = cosines[:3], cosines[3:]
    normal = [abs(part) for part in (b * f - c * e, c * d - a * f, a * e - b * d)]
    return normal.index(max(normal))


def planes(headers: Sequence[InstanceHeader]) -> tuple[Plane, ...]:
    """Every slice whose geometry is complete; fewer than the instances where some lack theirs."""
    found: list[Plane] = []
    for header in headers:
        if header.frames:
            found.extend(
                Plane(
                    header=header,
                    frame_number=frame.frame_number,
                    position_mm=frame.image_position_patient_mm,
                    row_cosines=frame.image_orientation_patient[:3],
                    column_cosines=frame.image_orientation_patient[3:],
                    spacing_mm=frame.pixel_spacing_mm,
                    thickness_mm=frame.slice_thickness_mm,
                    slope=frame.rescale_slope,
                    intercept=frame.rescale_intercept,
                    acquisition_number=frame.acquisition_number
                    if frame.acquisition_number is not None
                    else header.acquisition_number,
                    convolution_kernel=frame.convolution_kernel or header.convolution_kernel,
                    acquired_at=frame.acquired_at or header.acquired_at,
                    marks=frame.marks,
                )
                for frame in header.frames
            )
        elif (
            header.number_of_frames == 1
            and header.image_position_patient_mm
            and header.image_orientation_patient
            and header.pixel_spacing_mm
        ):
            found.append(
                Plane(
                    header=header,
                    frame_number=None,
                    position_mm=header.image_position_patient_mm,
                    row_cosines=header.image_orientation_patient[:3],
                    column_cosines=header.image_orientation_patient[3:],
                    spacing_mm=header.pixel_spacing_mm,
                    thickness_mm=header.slice_thickness_mm,
                    slope=header.rescale_slope,
                    intercept=header.rescale_intercept,
                    acquisition_number=header.acquisition_number,
                    convolution_kernel=header.convolution_kernel,
                    acquired_at=header.acquired_at,
                    marks=header.marks,
                )
            )
    return tuple(found)


def stack(members: Sequence[Plane]) -> Stack | None:
    """Put planes in order from feet to head along the normal of the first; None when there are none."""
    if not members:
        return None
    normal = members[0].normal
    located = sorted(
        ((plane.along(normal), plane) for plane in members),
        key=lambda pair: (round(pair[0], 3), pair[1].header.sop_instance_uid, pair[1].frame_number or 0),
    )
    return Stack(planes=tuple(plane for _, plane in located), positions_mm=tuple(position for position, _ in located))


def _dot(one: Vector, other: Vector) -> float:
    return one[0] * other[0] + one[1] * other[1] + one[2] * other[2]


def _difference(one: Vector, other: Vector) -> Vector:
    return (one[0] - other[0], one[1] - other[1], one[2] - other[2])
