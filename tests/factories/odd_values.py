"""Values that no attribute should have, as bytes that a scanner may write all the same."""

import struct
import zlib

import pydicom
from hypothesis import strategies as st
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

NUMERIC = (
    *("SeriesNumber", "InstanceNumber", "AcquisitionNumber", "Rows", "Columns", "NumberOfFrames", "BitsAllocated"),
    *("BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel", "PixelSpacing", "ImageOrientationPatient"),
    *("ImagePositionPatient", "SliceThickness", "GantryDetectorTilt", "RescaleSlope", "RescaleIntercept", "KVP"),
    *("ReconstructionDiameter", "Exposure", "LossyImageCompressionRatio", "TemporalPositionIdentifier"),
    *("NominalPercentageOfCardiacPhase", "PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("AcquisitionDate", "AcquisitionTime", "AcquisitionDateTime", "StudyDate"),
)
"""Every numeric attribute that screening and the volume read, and the dates and times."""

ODD = st.one_of(
    st.floats().map(repr),
    st.integers(-(2**70), 2**70).map(str),
    st.sampled_from(
        ["", " ", "nan", "inf", "-inf", "1e308", "-1.7e308", "1e200", "0", "-0", "1e-320", "x", "1\\2", "\0"]
    ),
    st.text("0123456789.eE+-\\ ", max_size=12),
)


def put(dataset: pydicom.Dataset, keyword: str, text: str, times: int) -> None:
    """Bytes as a scanner may have written them, whatever the attribute is meant to hold."""
    tag = Tag(tag_for_keyword(keyword))
    binary = keyword in {"Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"}
    vr = "US" if binary or keyword in {"SamplesPerPixel", "PixelPaddingValue", "PixelPaddingRangeLimit"} else "DS"
    if vr == "US":
        value = struct.pack("<H", zlib.crc32(text.encode()) & 0xFFFF)
    else:
        value = "\\".join([text] * times).encode("latin-1", "replace")[:60_000]
        value += b" " * (len(value) % 2)
    dataset[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True, True)
