"""A small CT series as data sets and files, that says nothing in particular but what a test asks for."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian

MATRIX = 64
STEP_MM = 5.0


def ct_slice(index: int, **changes: Any) -> Dataset:
    """One axial slice, 5 mm above the one before; 6 mm pixels, a body of water in air."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, f"1.2.3.4.{index + 1}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = "1.2.3", "1.2.3.4", "1.2.3.5"
    dataset.PatientID, dataset.Modality = "PHANTOM", "CT"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.StudyDate, dataset.StudyTime = "20260302", "101500"
    dataset.SeriesNumber, dataset.InstanceNumber, dataset.AcquisitionNumber = 2, index + 1, 1
    dataset.SeriesDescription, dataset.ConvolutionKernel = "Thorax 5.0", "B30f"
    dataset.Rows = dataset.Columns = MATRIX
    dataset.PixelSpacing, dataset.SliceThickness = [6, 6], 5
    dataset.ImagePositionPatient = [-192, -192, STEP_MM * index]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = 1, -1024, "HU"
    rows, columns = np.mgrid[:MATRIX, :MATRIX] - MATRIX / 2
    hu = np.where(rows**2 + columns**2 < 28**2, 40 + index, -1000)
    set_pixels(dataset, hu + 1024)
    with pydicom.config.disable_value_validation():
        for keyword, value in changes.items():
            if keyword in dataset:
                del dataset[keyword]
            setattr(dataset, keyword, value(index) if callable(value) else value)
    return dataset


def ct_slices(count: int = 40, **changes: Any) -> list[Dataset]:
    """A stack of slices; a change that can be called is asked for each index."""
    return [ct_slice(index, **changes) for index in range(count)]


def set_pixels(dataset: Dataset, stored: np.ndarray) -> None:
    """Store these values in 16 bits."""
    dataset.PixelData = np.ascontiguousarray(stored).astype("<u2").tobytes()


def enhanced(parts: Sequence[Dataset], frame: Callable[[int], dict[str, list[Dataset]]] = lambda _: {}) -> Dataset:
    """The slices as frames of one Enhanced CT; ``frame`` adds functional groups to each."""
    whole = Dataset()
    whole.update(parts[0])
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        delattr(whole, keyword)
    whole.SOPClassUID, whole.NumberOfFrames = EnhancedCTImageStorage, len(parts)
    whole.SharedFunctionalGroupsSequence = [
        item(
            PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
            PixelMeasuresSequence=[item(PixelSpacing=parts[0].PixelSpacing, SliceThickness=5)],
        )
    ]
    whole.PerFrameFunctionalGroupsSequence = [
        item(PlanePositionSequence=[item(ImagePositionPatient=part.ImagePositionPatient)], **frame(index))
        for index, part in enumerate(parts)
    ]
    whole.PixelData = b"".join(part.PixelData for part in parts)
    return whole


def item(**values: Any) -> Dataset:
    """A sequence item."""
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def write(datasets: Sequence[Dataset], folder: Path) -> Path:
    """The data sets as files, in their order; nothing is checked, as scanners check nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    with pydicom.config.disable_value_validation():
        for number, dataset in enumerate(datasets):
            dataset.preamble = b"\0" * 128
            dataset.file_meta = FileMetaDataset()
            dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            dataset.file_meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID") or CTImageStorage
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID") or ""
            dataset.save_as(folder / f"{number:05d}.dcm", enforce_file_format=bool(dataset.get("SOPInstanceUID")))
    return folder
