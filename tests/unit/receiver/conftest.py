"""Encoded data sets to walk."""

import zlib
from collections.abc import Callable
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
RLE = "1.2.840.10008.1.2.5"


def _dataset(**attributes: Any) -> Dataset:
    """A CT slice of four by four with two sequences, one of them nested."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    dataset.SOPInstanceUID = "1.2.3.4"
    dataset.Modality = "CT"
    dataset.StudyDescription = "Thörax"
    dataset.PatientID = "P1"
    dataset.SliceThickness = "2.0"
    dataset.StudyInstanceUID = "1.2.3"
    dataset.SeriesInstanceUID = "1.2.3.5"
    dataset.InstanceNumber = "7"
    dataset.ImagePositionPatient = [0, 0, -12.5]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.SamplesPerPixel = 1
    dataset.Rows = 4
    dataset.Columns = 4
    dataset.BitsAllocated = 16
    inner = Dataset()
    inner.CodeValue = "1"
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [inner]
    item.ReferencedSOPInstanceUID = "1.2.9"
    dataset.SourceImageSequence = [item]
    dataset.PixelData = bytes(range(32))
    for keyword, value in attributes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def _encode(dataset: Dataset, syntax: str) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian = syntax != BIG_ENDIAN
    buffer.is_implicit_VR = syntax == IMPLICIT
    if syntax == RLE:
        dataset.PixelData = encapsulate([b"\1\2\3\4"])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
    elif "PixelData" in dataset:
        dataset["PixelData"].VR = "OW"
    write_dataset(buffer, dataset)
    encoded = buffer.getvalue()
    if syntax == DEFLATED:
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        encoded = deflater.compress(encoded) + deflater.flush()
        encoded += b"\0" * (len(encoded) % 2)
    return encoded


@pytest.fixture(scope="session")
def make_dataset() -> Callable[..., Dataset]:
    """Build a small CT data set; an attribute given as None is left out."""
    return _dataset


@pytest.fixture(scope="session")
def encode() -> Callable[[Dataset, str], bytes]:
    """Encode a data set in a transfer syntax (the pixel data of RLE is only shaped like it)."""
    return _encode
