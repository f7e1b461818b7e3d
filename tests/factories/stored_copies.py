"""One CT series stored in other ways: other orders of slices, rows and columns, or parts of it."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

Pixels = npt.NDArray[np.integer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Storing:
    """How a copy is stored; the geometry always says where each pixel truly lies.

    ``reversed_order`` numbers slices the other way round; ``feet_first`` says so and turns the rows, as scanners do.
    """

    rows_flipped: bool = False
    columns_flipped: bool = False
    transposed: bool = False
    reversed_order: bool = False
    feet_first: bool = False


def read_slices(paths: Sequence[Path]) -> list[Dataset]:
    """The slices of one series from feet to head, decoded."""
    datasets = [pydicom.dcmread(path) for path in paths]
    for dataset in datasets:
        if dataset.file_meta.TransferSyntaxUID.is_compressed:
            dataset.decompress(generate_instance_uid=False)
    return sorted(datasets, key=lambda dataset: float(dataset.ImagePositionPatient[2]))


def write_copy(slices: Sequence[Dataset], folder: Path, *, storing: Storing | None = None) -> Path:
    """Write the slices to ``folder``, stored as told."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = storing or Storing()
    count = len(slices)
    for index, original in enumerate(slices):
        number = count - index if wanted.reversed_order or wanted.feet_first else index + 1
        dataset = deepcopy(original)
        dataset.InstanceNumber = number
        if wanted.feet_first:
            dataset.PatientPosition = "FFS"
        _store(dataset, original.pixel_array, wanted)
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        with pydicom.config.disable_value_validation():
            dataset.save_as(folder / f"{number:04d}.dcm", enforce_file_format=True)
    return folder


def _store(dataset: Dataset, pixels: Pixels, storing: Storing) -> None:
    """Flip and transpose the pixels, and the geometry with them (PS3.3 section C.7.6.2.1.1)."""
    across, down = np.asarray(dataset.ImageOrientationPatient, float).reshape(2, 3)
    origin = np.asarray(dataset.ImagePositionPatient, float)
    between_rows, between_columns = (float(value) for value in dataset.PixelSpacing)
    rows, columns = pixels.shape
    if storing.rows_flipped:
        pixels, origin, down = pixels[::-1], origin + down * between_rows * (rows - 1), -down
    if storing.columns_flipped or storing.feet_first:
        pixels, origin, across = pixels[:, ::-1], origin + across * between_columns * (columns - 1), -across
    if storing.transposed:
        pixels, across, down = pixels.T, down, across
        between_rows, between_columns = between_columns, between_rows
    dataset.ImageOrientationPatient = [f"{value:.6f}" for value in (*across, *down)]
    dataset.ImagePositionPatient = [f"{value:.6f}" for value in origin]
    dataset.PixelSpacing = [f"{between_rows:.9f}", f"{between_columns:.9f}"]
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.PixelData = np.ascontiguousarray(pixels).astype(pixels.dtype.newbyteorder("<")).tobytes()
    dataset["PixelData"].VR = "OW"
