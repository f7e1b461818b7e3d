"""Labelled cases from disk as volumes on the patient's axes, with what is assumed where a file does not tell it."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import numpy.typing as npt
from PIL import Image

from analysis.evaluation.errors import UnreadableCase
from analysis.series.volume import MINIMUM_HU, NativeGrid, Volume
from analysis.training.prepare import read_covid20 as read_covid20_labels
from analysis.training.prepare import read_medseg, readable

ASSUMED_WIDTH_MM = 270.0
"""Width of the lungs' crop of a covid20 case, whose spacing is not known."""

ASSUMED_HEIGHT_MM = 220.0
"""Height of all slices of a covid20 case together."""

ASSUMED_SLICE_SPACING_MM = (1.0, 8.0)
"""A covid20 case has slices no nearer and no farther apart than this: adjacent ones are then neighbours in a window."""

COVID20_ASSUMPTION = (
    f"covid20 does not tell its spacing: the crop is taken for {ASSUMED_WIDTH_MM:g} mm wide and the slices together "
    f"for {ASSUMED_HEIGHT_MM:g} mm high ({ASSUMED_SLICE_SPACING_MM[0]:g} to {ASSUMED_SLICE_SPACING_MM[1]:g} mm apart), "
    "stored from feet to head. Shares of the lung do not depend on it; volumes are counted in voxels."
)
MEDSEG_ASSUMPTION = (
    "medseg has no Hounsfield units and no lung mask: grey values are scaled by soft tissue and aerated lung, the "
    "whole picture counts as lung, and the slice stands in for its own neighbours."
)

SARS_ASSUMPTION = (
    "sars_cov_2_ct has no Hounsfield units and no lung mask: grey values are read as a window of 1500 HU about -600, "
    "the whole picture counts as lung, and the slice stands in for its own neighbours. Files are numbered patient by "
    "patient, without patients' names: the interval is over blocks of 25 consecutive files, drawn whole."
)
_WINDOW_HU, _LEVEL_HU = 1500.0, -600.0

_DIMENSIONS = 3
_IN_PLACE = NativeGrid(transposed=False, rows_flipped=False, columns_flipped=False)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledScan:
    """A scan with its truth: ``lung`` and ``lesion`` bool (slice, row, column) on the grid of ``volume``.

    ``known`` marks what was imaged at all, None where everything was.
    """

    volume: Volume
    lung: npt.NDArray[np.bool_]
    lesion: npt.NDArray[np.bool_]
    known: npt.NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        masks = [self.lung, self.lesion, *([] if self.known is None else [self.known])]
        if any(mask.shape != self.volume.hu.shape for mask in masks):
            raise ValueError(f"masks of another shape than the scan's {self.volume.hu.shape}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledPicture:
    """A single slice: ``hu`` int16 and ``label`` uint8 (row, column), 0 background, 1 ground glass, 2 high opacity."""

    hu: npt.NDArray[np.int16]
    label: npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledLobes:
    """Lobe labels 4 to 8 uint8 (slice, row, column), 0 elsewhere, with their spacing on the three axes."""

    lobes: npt.NDArray[np.uint8]
    spacing_mm: tuple[float, float, float]


def read_covid20(path: Path) -> LabelledScan:
    """A case of covid20; see ``COVID20_ASSUMPTION``.

    Raises:
        UnreadableCase: the archive lacks a part, or a part is malformed.
    """
    with readable(path.name, UnreadableCase):
        scan = read_covid20_labels(path)
        if scan.lung.shape != scan.hu.shape:
            raise ValueError(f"labels of shape {scan.lung.shape} for images of shape {scan.hu.shape}")
        count, _, columns = scan.hu.shape
        nearest, farthest = ASSUMED_SLICE_SPACING_MM
        slice_mm = float(np.clip(ASSUMED_HEIGHT_MM / count, nearest, farthest))
        hu = np.maximum(np.rint(scan.hu), MINIMUM_HU).astype(np.int16)  # as volumes from DICOM have it
        volume = plain_volume(hu, (slice_mm, *2 * (ASSUMED_WIDTH_MM / columns,)))
        return LabelledScan(volume=volume, lung=scan.lung, lesion=scan.label > 0, known=scan.known)


def read_lctsc(path: Path) -> LabelledScan:
    """A control of lctsc, whole; no opacity is taken to be there.

    Raises:
        UnreadableCase: an array is missing or malformed.
    """
    with readable(path.name, UnreadableCase), np.load(path, allow_pickle=False) as stored:
        hu, lung = stored["hu"].astype(np.int16), stored["lung"].astype(bool)
        return LabelledScan(
            volume=plain_volume(hu, _spacing(stored["spacing_mm"])), lung=lung, lesion=np.zeros_like(lung)
        )


def read_picture(path: Path) -> LabelledPicture:
    """A picture of medseg and its truth in the folder ``GT`` beside its own; see ``MEDSEG_ASSUMPTION``.

    Raises:
        UnreadableCase: picture or truth is missing, malformed or of another size than the other.
    """
    with readable(path.name, UnreadableCase):
        scan = read_medseg(path, path.parent.parent / "GT" / f"{path.stem}.png")
        if scan.hu.shape != scan.label.shape:
            raise ValueError(f"a picture of shape {scan.hu.shape[1:]} with a truth of shape {scan.label.shape[1:]}")
        return LabelledPicture(hu=np.rint(scan.hu[0]).astype(np.int16), label=scan.label[0])


def read_pictures(archive: Path, images: Sequence[str]) -> Iterator[npt.NDArray[np.int16]]:
    """Pictures of an archive in HU (row, column); see ``SARS_ASSUMPTION``.

    Raises:
        UnreadableCase: the archive lacks one, or one is malformed.
    """
    with readable(archive.name, UnreadableCase), ZipFile(archive) as stored:
        for name in images:
            grey = np.asarray(Image.open(io.BytesIO(stored.read(name))).convert("L"), np.float32)
            low = _LEVEL_HU - _WINDOW_HU / 2
            yield np.rint(low + grey * np.float32(_WINDOW_HU / np.iinfo(np.uint8).max)).astype(np.int16)


def read_lobes(path: Path) -> LabelledLobes:
    """A map of lobes; airways count as no lobe.

    Raises:
        UnreadableCase: an array is missing or malformed.
    """
    with readable(path.name, UnreadableCase), np.load(path, allow_pickle=False) as stored:
        labels = stored["lobes"]
        if labels.ndim != _DIMENSIONS:
            raise ValueError(f"labels of shape {labels.shape}")
        lobes = np.where((labels >= 4) & (labels <= 8), labels, 0).astype(np.uint8)
        return LabelledLobes(lobes=lobes, spacing_mm=_spacing(stored["spacing_mm"]))


def plain_volume(hu: npt.NDArray[np.int16], spacing_mm: tuple[float, float, float]) -> Volume:
    """A volume of equal steps from an array (slice, row, column) that is on the patient's axes already."""
    count = len(hu)
    return Volume(
        hu=hu,
        slice_positions_mm=np.arange(count, dtype=np.float64) * np.float64(spacing_mm[0]),
        slice_weights_mm=np.full(count, spacing_mm[0]),
        row_spacing_mm=spacing_mm[1],
        column_spacing_mm=spacing_mm[2],
        sop_instance_uids=("",) * count,
        frame_numbers=(None,) * count,
        native=_IN_PLACE,
    )


def _spacing(stored: npt.NDArray[np.generic]) -> tuple[float, float, float]:
    slice_mm, row_mm, column_mm = (float(value) for value in np.asarray(stored, np.float64).ravel())
    if not min(slice_mm, row_mm, column_mm) > 0:
        raise ValueError(f"spacing_mm is {slice_mm:g}, {row_mm:g}, {column_mm:g}")
    return slice_mm, row_mm, column_mm
