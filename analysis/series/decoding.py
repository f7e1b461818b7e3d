"""Stored pixel values of one instance, whatever its transfer syntax."""

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID

from analysis.errors import OutOfMemory, UndecodablePixels, UnreadableInstance
from analysis.series.series import InstanceHeader

# What pydicom, pylibjpeg, openjpeg and CharLS raise on pixel data they cannot make sense of.
_DECODE_ERRORS = (
    RuntimeError,
    ValueError,
    TypeError,
    AttributeError,
    KeyError,
    IndexError,
    NotImplementedError,
    EOFError,
    OSError,
    OverflowError,
    ZeroDivisionError,
    struct.error,
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frames:
    """Stored values (frame, row, column) of one instance, before any rescaling, and the range that is padding."""

    pixels: npt.NDArray[np.integer]
    padding: tuple[int, int] | None


def decode_frames(header: InstanceHeader, matrix: tuple[int, int]) -> Frames:
    """Decode the pixel data of an instance; ``matrix`` is (rows, columns) as its header states them.

    Uncompressed 16-bit pixels are taken from the file's bytes as they lie; all else goes through pydicom's decoders.

    Raises:
        UnreadableInstance: the file is gone or cannot be parsed.
        UndecodablePixels: its pixel data cannot be decoded, or has not the size that the header states.
    """
    named = f"SOP Instance UID {header.sop_instance_uid}."
    try:
        dataset = pydicom.dcmread(header.path)
    except (InvalidDicomError, *_DECODE_ERRORS) as error:
        raise UnreadableInstance(named) from error
    try:
        pixels = _uncompressed(dataset, header, matrix)
        if pixels is None:
            pixels = np.asarray(dataset.pixel_array)
            pixels = pixels.reshape(-1, *pixels.shape[-2:]) if pixels.ndim in {2, 3} else pixels
        pixels = _significant_bits(pixels, dataset)
        padding = _padding(dataset)
    except MemoryError as error:
        raise OutOfMemory(named) from error
    except _DECODE_ERRORS as error:
        raise UndecodablePixels(named) from error
    if pixels.shape != (header.number_of_frames, *matrix):
        raise UndecodablePixels(f"{named} Its pixels have the shape {pixels.shape}, not that of its header.")
    return Frames(pixels=pixels, padding=padding)


def _uncompressed(dataset: Dataset, header: InstanceHeader, matrix: tuple[int, int]) -> npt.NDArray[np.integer] | None:
    """Stored values without a copy where they are plain 16-bit words; None where a decoder is needed."""
    syntax = UID(header.transfer_syntax_uid)
    if not header.transfer_syntax_uid or syntax.is_compressed or dataset.BitsAllocated != 16:
        return None
    order = "<" if syntax.is_little_endian else ">"
    kind = "i2" if dataset.PixelRepresentation else "u2"
    count = header.number_of_frames * matrix[0] * matrix[1]
    values = np.frombuffer(dataset.PixelData, dtype=np.dtype(order + kind), count=count)
    return values.reshape(header.number_of_frames, *matrix)


def _significant_bits(pixels: npt.NDArray[np.integer], dataset: Dataset) -> npt.NDArray[np.integer]:
    """Drop what lies above Bits Stored (old overlays do) and extend the sign from the highest stored bit."""
    allocated, stored = pixels.dtype.itemsize * 8, int(dataset.BitsStored)
    if stored >= allocated:
        return pixels
    if not dataset.PixelRepresentation:
        return pixels & ((1 << stored) - 1)
    signed = pixels.astype(f"i{pixels.dtype.itemsize}")
    return (signed << (allocated - stored)) >> (allocated - stored)


def _padding(dataset: Dataset) -> tuple[int, int] | None:
    """Range of stored values that are padding (PS3.3 C.7.5.1.1.2); None where the instance states none."""
    value = dataset.get("PixelPaddingValue")
    if value is None or value == "":
        return None
    limit = dataset.get("PixelPaddingRangeLimit")
    one, other = (_as_stored(int(end), dataset) for end in (value, value if limit is None else limit))
    return (min(one, other), max(one, other))


def _as_stored(value: int, dataset: Dataset) -> int:
    """Read a padding value in the sign of the pixels, whichever VR it was written with."""
    span = 1 << int(dataset.BitsAllocated)
    value %= span
    return value - span if dataset.PixelRepresentation and value >= span // 2 else value
