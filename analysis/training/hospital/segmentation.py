"""DICOM SEG objects: which series they segment, and their segments on its voxels (PS3.3 C.8.20, A.51)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from analysis.series import Volume
from analysis.training.hospital.errors import UnusableMask
from analysis.training.hospital.grid import Grid, OtherGrid
from analysis.training.hospital.regions import Region, region_of_code, region_of_words

Mask = npt.NDArray[np.bool_]

SEGMENTATION_STORAGE = "1.2.840.10008.5.1.4.1.1.66.4"
LABEL_MAP_STORAGE = "1.2.840.10008.5.1.4.1.1.66.7"


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentationHeader:
    """A SEG without its pixels: the series and the instances that it refers to."""

    path: Path
    frame_of_reference_uid: str | None
    series_uids: frozenset[str]
    instance_uids: frozenset[str]


def read_header(path: Path) -> SegmentationHeader | None:
    """The header of a file that is a SEG; None of any other file."""
    try:
        dataset = pydicom.dcmread(path, stop_before_pixels=True)
    except (InvalidDicomError, OSError):
        return None
    if dataset.get("SOPClassUID") not in (SEGMENTATION_STORAGE, LABEL_MAP_STORAGE):
        return None
    series = frozenset(str(item.SeriesInstanceUID) for item in dataset.get("ReferencedSeriesSequence", ()))
    named = [
        str(instance.ReferencedSOPInstanceUID)
        for item in dataset.get("ReferencedSeriesSequence", ())
        for instance in item.get("ReferencedInstanceSequence", ())
    ]
    derived = [uid for frame in dataset.get("PerFrameFunctionalGroupsSequence", ()) for uid, _ in _sources(frame)]
    return SegmentationHeader(
        path=path,
        frame_of_reference_uid=str(dataset.get("FrameOfReferenceUID") or "") or None,
        series_uids=series,
        instance_uids=frozenset(named + derived),
    )


def read_segments(path: Path, volume: Volume, grid: Grid) -> tuple[dict[Region, Mask], tuple[str, ...]]:
    """The regions of a SEG, ``(slice, row, column)`` on the volume, and the labels of segments that are none of ours.

    Raises:
        UnusableMask: it cannot be read, names a slice that is not there, or lies on another grid.
    """
    try:
        dataset = pydicom.dcmread(path)
        pixels = np.asarray(dataset.pixel_array)
    except (InvalidDicomError, OSError, ValueError, AttributeError, NotImplementedError, RuntimeError) as error:
        raise UnusableMask(f"{path}: its pixels cannot be read ({type(error).__name__}).") from error
    regions, strangers = _regions(dataset)
    masks: dict[Region, Mask] = {region: np.zeros(grid.shape, bool) for region in regions.values()}
    stored = pixels.reshape(-1, int(dataset.Rows), int(dataset.Columns))
    place = _Placement(dataset, volume, grid)
    for number, (frame, groups) in enumerate(
        zip(stored, dataset.PerFrameFunctionalGroupsSequence, strict=True), start=1
    ):
        try:
            for segment, marked in _marked(dataset, frame, groups):
                if segment in regions:
                    k, mask = place(marked, groups)
                    masks[regions[segment]][k] |= mask
        except OtherGrid as error:
            raise UnusableMask(f"{path}, frame {number}: {error}.") from error
    return masks, strangers


def _regions(dataset: Dataset) -> tuple[dict[int, Region], tuple[str, ...]]:
    """The region of each segment number, by its code, else by its label or the code's meaning."""
    regions: dict[int, Region] = {}
    strangers: list[str] = []
    for segment in dataset.SegmentSequence:
        label = str(segment.get("SegmentLabel", ""))
        code: Any = next(iter(segment.get("SegmentedPropertyTypeCodeSequence", ())), None)
        by_code = code and region_of_code(str(code.get("CodingSchemeDesignator")), str(code.get("CodeValue")))
        meaning = str(code.get("CodeMeaning", "")) if code else ""
        region = by_code or region_of_words(label) or region_of_words(meaning)
        if region is None:
            strangers.append(label or meaning or str(segment.SegmentNumber))
        else:
            regions[int(segment.SegmentNumber)] = region
    return regions, tuple(strangers)


def _marked(dataset: Dataset, frame: npt.NDArray[np.generic], groups: Dataset) -> Iterator[tuple[int, Mask]]:
    """Segment numbers and their pixels in one frame: one segment a frame, or all of them in a label map."""
    if dataset.SegmentationType == "LABELMAP":
        yield from ((int(value), frame == value) for value in np.unique(frame))
        return
    shared = next(iter(dataset.get("SharedFunctionalGroupsSequence", ())), Dataset())
    identification = _first(groups, "SegmentIdentificationSequence") or _first(shared, "SegmentIdentificationSequence")
    if identification is None:
        raise OtherGrid("it does not say of which segment it is")
    threshold = 0.5 * float(dataset.get("MaximumFractionalValue", 1))
    yield int(identification.ReferencedSegmentNumber), frame.astype(np.float64) >= max(threshold, 0.5)


class _Placement:
    """Lays frames onto the slices: by position where the frame has one, else by the instance that it refers to."""

    def __init__(self, dataset: Dataset, volume: Volume, grid: Grid) -> None:
        self._shared = next(iter(dataset.get("SharedFunctionalGroupsSequence", ())), Dataset())
        self._volume = volume
        self._grid = grid
        keys = zip(volume.sop_instance_uids, volume.frame_numbers, strict=True)
        self._slice_of: Mapping[tuple[str, int | None], int] = {key: k for k, key in enumerate(keys)}

    def __call__(self, marked: Mask, groups: Dataset) -> tuple[int, Mask]:
        """The slice, and the pixels on its canonical rows and columns.

        Raises:
            OtherGrid: the frame fits no slice, or its position and its reference contradict each other.
        """
        sources = list(_sources(groups))
        referred = {k for source in sources if (k := self._slice_of.get(source)) is not None}
        position = self._item(groups, "PlanePositionSequence")
        if position is None:
            if len(referred) != 1:
                raise OtherGrid(f"it has no position, and refers to {len(referred)} slices of the series")
            return self._as_stored(marked, referred.pop())
        orientation, measures = (
            self._item(groups, "PlaneOrientationSequence"),
            self._item(groups, "PixelMeasuresSequence"),
        )
        if orientation is None or measures is None:
            raise OtherGrid("it has a position, and no orientation or pixel spacing")
        origin = _numbers(position.ImagePositionPatient)
        cosines = _numbers(orientation.ImageOrientationPatient)
        between_rows, between_columns = _numbers(measures.PixelSpacing)
        k = self._grid.slice_at(origin)
        if referred and k not in referred:
            raise OtherGrid(f"it lies over instance {self._volume.sop_instance_uids[k]} and refers to another slice")
        return k, self._grid.oriented(marked, k, origin, cosines[3:] * between_rows, cosines[:3] * between_columns)

    def _as_stored(self, marked: Mask, k: int) -> tuple[int, Mask]:
        native = self._volume.native
        turned = marked.T if native.transposed else marked
        turned = turned[:: -1 if native.rows_flipped else 1, :: -1 if native.columns_flipped else 1]
        if turned.shape != self._grid.shape[1:]:
            raise OtherGrid(f"its {marked.shape[0]}x{marked.shape[1]} pixels are not those of the slice: resample it")
        return k, turned

    def _item(self, groups: Dataset, name: str) -> Dataset | None:
        return _first(groups, name) or _first(self._shared, name)


def _sources(groups: Dataset) -> Iterator[tuple[str, int | None]]:
    """The instances, and of multi-frame ones the frames, that a frame was made from."""
    for derivation in groups.get("DerivationImageSequence", ()):
        for source in derivation.get("SourceImageSequence", ()):
            frames: Any = source.get("ReferencedFrameNumber")
            numbers: Sequence[Any] = frames if isinstance(frames, Sequence) else [frames]
            for number in numbers:
                yield str(source.ReferencedSOPInstanceUID), None if number is None else int(number)


def _first(groups: Dataset, name: str) -> Dataset | None:
    return next(iter(groups.get(name, ())), None)


def _numbers(values: Any) -> npt.NDArray[np.float64]:
    return np.asarray([float(value) for value in values], np.float64)
