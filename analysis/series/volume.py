"""A series as one array of Hounsfield units on the patient's axes, whatever the order it was stored in."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.errors import InconsistentGeometry
from analysis.series.acquisitions import slices_of
from analysis.series.decoding import decode_frames
from analysis.series.geometry import Plane, stack
from analysis.series.memory import check_memory
from analysis.series.series import InstanceHeader, Series

MINIMUM_HU, MAXIMUM_HU = -1024, 32767
_DECODING_THREADS = 2
_DIMENSIONS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeGrid:
    """How stored rows and columns were turned to the patient's axes: transposed first, then flipped."""

    transposed: bool
    rows_flipped: bool
    columns_flipped: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Volume:
    """Attenuation on the canonical axes of the patient.

    ``hu`` is int16 (slice, row, column) in HU: slices from feet to head, rows from front to back, columns from the
    patient's right to left. ``slice_positions_mm`` (slice,) ascends along the slice normal; ``slice_weights_mm``
    (slice,) is the thickness each slice stands for, so that volumes are exact on unequal steps and under tilt.
    ``value_beyond_bits`` is the largest stored value that needs more bits than the headers allow; None: there is none.
    """

    hu: npt.NDArray[np.int16]
    slice_positions_mm: npt.NDArray[np.float64]
    slice_weights_mm: npt.NDArray[np.float64]
    row_spacing_mm: float
    column_spacing_mm: float
    sop_instance_uids: tuple[str, ...]
    frame_numbers: tuple[int | None, ...]
    native: NativeGrid
    value_beyond_bits: int | None = None

    def __post_init__(self) -> None:
        count = self.hu.shape[0]
        lengths = {
            len(self.slice_positions_mm),
            len(self.slice_weights_mm),
            len(self.sop_instance_uids),
            len(self.frame_numbers),
        }
        if self.hu.ndim != _DIMENSIONS or lengths != {count}:
            raise ValueError(f"{count} slices, but their attributes number {sorted(lengths)}")
        if self.row_spacing_mm <= 0 or self.column_spacing_mm <= 0 or np.any(self.slice_weights_mm <= 0):
            raise ValueError("spacing is positive")

    @property
    def slice_spacing_mm(self) -> float:
        """The usual distance of neighbouring slices, along their normal."""
        return (
            float(np.median(np.diff(self.slice_positions_mm)))
            if len(self.slice_positions_mm) > 1
            else float(self.slice_weights_mm[0])
        )

    def voxel_volumes_ml(self) -> npt.NDArray[np.float64]:
        """Volume of one voxel of each slice, (slice,) in mL."""
        return self.slice_weights_mm * (self.row_spacing_mm * self.column_spacing_mm / 1000.0)

    def to_native(self, mask: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """Turn (slice, row, column) on the canonical axes back to stored rows and columns.

        Slice k of the result lies over the stored pixels of ``sop_instance_uids[k]`` (frame ``frame_numbers[k]``).
        """
        if self.native.rows_flipped:
            mask = mask[:, ::-1, :]
        if self.native.columns_flipped:
            mask = mask[:, :, ::-1]
        if self.native.transposed:
            mask = mask.transpose(0, 2, 1)
        return np.ascontiguousarray(mask)


def assemble(series: Series) -> Volume:
    """Decode a series to Hounsfield units on the patient's axes.

    Stored values are cast before they are rescaled, slice by slice, with each slice's own slope and intercept.
    Padding, and whatever lies under -1024 HU, becomes -1024 HU. Memory: two bytes a voxel, and one slice (or one
    multi-frame instance) more a thread while it is decoded; time grows with the pixels, most of it in the codec.

    Raises:
        InconsistentGeometry: the instances do not form one stack of like slices.
        TooLargeForMemory: rows, columns and frames ask for more memory than there is; no pixel was decoded.
        UnreadableInstance: a file is gone or cannot be parsed.
        UndecodablePixels: the pixel data cannot be decoded, or does not have the size that its header states.
    """
    slices = slices_of(series)
    whole = stack(slices.planes)
    described = {plane.header.sop_instance_uid for plane in slices.planes}
    if whole is None or any(header.sop_instance_uid not in described for header in slices.headers):
        raise InconsistentGeometry("Some instances lack a position, an orientation or a pixel spacing.")
    if any((plane.frame_number or 1) > plane.header.number_of_frames for plane in slices.planes):
        raise InconsistentGeometry("An instance describes more frames than it says it has.")
    first = whole.planes[0]
    rows, columns = first.header.rows, first.header.columns
    if not rows or not columns or any((p.header.rows, p.header.columns) != (rows, columns) for p in whole.planes):
        raise InconsistentGeometry("The slices differ in rows or columns.")
    if whole.repeated_positions:
        raise InconsistentGeometry(f"{whole.repeated_positions} slices lie where another one already is.")
    check_memory(slices.headers)
    native, spacing = _orient(first)
    shape = (columns, rows) if native.transposed else (rows, columns)
    hu = np.empty((len(whole.planes), *shape), np.int16)
    tasks = _tasks(whole.planes)
    with ThreadPoolExecutor(max_workers=_DECODING_THREADS) as pool:
        beyond = [found for found in pool.map(lambda task: _fill(task, hu, native, (rows, columns)), tasks) if found]
    positions = np.asarray(whole.positions_mm, np.float64)
    return Volume(
        hu=hu,
        slice_positions_mm=positions,
        slice_weights_mm=_slice_weights(positions, first.thickness_mm),
        row_spacing_mm=spacing[0],
        column_spacing_mm=spacing[1],
        sop_instance_uids=tuple(plane.header.sop_instance_uid for plane in whole.planes),
        frame_numbers=tuple(plane.frame_number for plane in whole.planes),
        native=native,
        value_beyond_bits=max(beyond, default=None),
    )


_Task = tuple[InstanceHeader, tuple[tuple[int, Plane], ...]]


def _tasks(members: tuple[Plane, ...]) -> tuple[_Task, ...]:
    """Every instance, with the places its frames take in the volume."""
    by_instance: dict[str, list[tuple[int, Plane]]] = {}
    for index, plane in enumerate(members):
        by_instance.setdefault(plane.header.sop_instance_uid, []).append((index, plane))
    return tuple((places[0][1].header, tuple(places)) for places in by_instance.values())


def _fill(task: _Task, hu: npt.NDArray[np.int16], native: NativeGrid, matrix: tuple[int, int]) -> int | None:
    """Decode an instance into its places; the largest of its values that its headers do not allow."""
    header, places = task
    frames = decode_frames(header, matrix)
    for index, plane in places:
        if plane.slope is None or plane.intercept is None or not plane.makes_hu:
            raise InconsistentGeometry(f"Instance {header.sop_instance_uid} has no rescale that makes HU.")
        number = (plane.frame_number or 1) - 1
        padded = None if frames.padded is None else frames.padded[number]
        hu[index] = _to_canonical(to_hounsfield(frames.pixels[number], plane.slope, plane.intercept, padded), native)
    return frames.beyond


def to_hounsfield(
    stored: npt.NDArray[np.integer], slope: float, intercept: float, padded: npt.NDArray[np.bool_] | None
) -> npt.NDArray[np.int16]:
    """Rescale stored values (any shape) to int16 HU between -1024 and 32767; what is ``padded`` becomes -1024."""
    if slope == 1 and float(intercept).is_integer():
        values = stored.astype(np.int32) + int(intercept)
        clipped = np.clip(values, MINIMUM_HU, MAXIMUM_HU).astype(np.int16)
    else:
        rescaled = stored.astype(np.float32) * np.float32(slope) + np.float32(intercept)
        clipped = np.clip(np.rint(rescaled), MINIMUM_HU, MAXIMUM_HU).astype(np.int16)
    if padded is not None:
        clipped[padded] = MINIMUM_HU
    return clipped


def _orient(plane: Plane) -> tuple[NativeGrid, tuple[float, float]]:
    """How stored rows and columns turn to the patient's axes (LPS), and the canonical row and column spacing."""
    transposed = abs(plane.row_cosines[0]) < abs(plane.row_cosines[1])
    along_columns = plane.column_cosines if transposed else plane.row_cosines
    along_rows = plane.row_cosines if transposed else plane.column_cosines
    between_rows, between_columns = plane.spacing_mm
    native = NativeGrid(transposed=transposed, rows_flipped=along_rows[1] < 0, columns_flipped=along_columns[0] < 0)
    return native, (between_columns, between_rows) if transposed else (between_rows, between_columns)


def _to_canonical(pixels: npt.NDArray[np.int16], native: NativeGrid) -> npt.NDArray[np.int16]:
    if native.transposed:
        pixels = pixels.T
    return pixels[:: -1 if native.rows_flipped else 1, :: -1 if native.columns_flipped else 1]


def _slice_weights(positions_mm: npt.NDArray[np.float64], thickness_mm: float | None) -> npt.NDArray[np.float64]:
    """Thickness each slice stands for: half the way to either neighbour; the outer faces mirror the inner ones."""
    if len(positions_mm) == 1:
        return np.asarray([thickness_mm or 1.0])
    steps = np.diff(positions_mm)
    return (np.concatenate([steps[:1], steps]) + np.concatenate([steps, steps[-1:]])) / 2
