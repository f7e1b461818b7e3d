"""Stored pixel values of one instance, whatever its transfer syntax, and what in them contradicts the header."""

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.uid import UID

from analysis.errors import OutOfMemory, UndecodablePixels, UnreadableInstance
from analysis.series.opening import LARGEST_HEADER, PARSE_ERRORS, OutOfBounds, open_whole
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
_OVERLAY_GROUPS = range(0x6000, 0x6020, 2)
_WORD_BYTES = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frames:
    """Stored values (frame, row, column) of one instance, before any rescaling, and which of them are padding.

    ``beyond`` is the largest value (as stored, unsigned) that needs more bits than Bits Stored, padding aside, in an
    instance without overlay planes in its pixels; None where there is none.
    """

    pixels: npt.NDArray[np.integer]
    padded: npt.NDArray[np.bool_] | None
    beyond: int | None = None


def decode_frames(header: InstanceHeader, matrix: tuple[int, int]) -> Frames:
    """Decode the pixel data of an instance; ``matrix`` is (rows, columns) as its header states them.

    Uncompressed 16-bit pixels are taken from the file's bytes as they lie; all else goes through pydicom's decoders.
    Padding is told before the bits are masked: -2000 in 12 bits is written as 63536.

    Raises:
        UnreadableInstance: the file is gone or cannot be parsed.
        UndecodablePixels: its pixel data cannot be decoded, or has not the size that the header states.
    """
    named = f"SOP Instance UID {header.sop_instance_uid}."
    try:
        dataset = open_whole(header.path, largest=largest_bytes(header))
    except (OutOfBounds, *PARSE_ERRORS) as error:
        raise UnreadableInstance(named) from error
    try:
        stored = _uncompressed(dataset, header, matrix)
        if stored is None:
            if "TransferSyntaxUID" not in dataset.file_meta and header.transfer_syntax_uid:
                dataset.file_meta.TransferSyntaxUID = UID(header.transfer_syntax_uid)
            stored = np.asarray(dataset.pixel_array)
            stored = stored.reshape(-1, *stored.shape[-2:]) if stored.ndim in {2, 3} else stored
        pixels, whole = _significant_bits(stored, dataset)
        padded = _padded(stored, pixels, dataset)
        beyond = None if whole is None else _beyond(pixels, whole, padded, dataset)
    except MemoryError as error:
        raise OutOfMemory(named) from error
    except _DECODE_ERRORS as error:
        raise UndecodablePixels(named) from error
    if pixels.shape != (header.number_of_frames, *matrix):
        raise UndecodablePixels(f"{named} Its pixels have the shape {pixels.shape}, not that of its header.")
    return Frames(pixels=pixels, padded=padded, beyond=beyond)


def largest_bytes(header: InstanceHeader) -> int:
    """How many bytes the data set may inflate to, by what its header announces."""
    return header.number_of_frames * (header.rows or 0) * (header.columns or 0) * _WORD_BYTES + LARGEST_HEADER


def _uncompressed(dataset: Dataset, header: InstanceHeader, matrix: tuple[int, int]) -> npt.NDArray[np.integer] | None:
    """Stored values without a copy where they are plain 16-bit words; None where a decoder is needed."""
    syntax = UID(header.transfer_syntax_uid)
    if not header.transfer_syntax_uid or syntax.is_compressed or dataset.BitsAllocated != 16:
        return None
    if dataset["PixelData"].is_undefined_length:
        raise UndecodablePixels("They are compressed, and the file does not say how.")
    order = "<" if syntax.is_little_endian else ">"
    kind = "i2" if dataset.PixelRepresentation else "u2"
    count = header.number_of_frames * matrix[0] * matrix[1]
    values = np.frombuffer(dataset.PixelData, dtype=np.dtype(order + kind), count=count)
    return values.reshape(header.number_of_frames, *matrix)


def _significant_bits(
    pixels: npt.NDArray[np.integer], dataset: Dataset
) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.integer] | None]:
    """The bits from High Bit down, with the sign of the highest; and all from the lowest up, where there are more."""
    allocated, stored = pixels.dtype.itemsize * 8, int(dataset.BitsStored)
    high = int(dataset.get("HighBit", stored - 1))
    below = high + 1 - stored
    if stored >= allocated or below < 0 or high >= allocated:
        return pixels, None
    if dataset.PixelRepresentation:
        signed = pixels.astype(f"i{pixels.dtype.itemsize}")
        return (signed << (allocated - high - 1)) >> (allocated - stored), signed >> below
    unsigned = pixels.astype(f"u{pixels.dtype.itemsize}")
    return (unsigned >> below) & ((1 << stored) - 1), unsigned >> below


def _beyond(
    kept: npt.NDArray[np.integer],
    whole: npt.NDArray[np.integer],
    padded: npt.NDArray[np.bool_] | None,
    dataset: Dataset,
) -> int | None:
    """The largest value that needs more bits than Bits Stored although nothing else is said to lie there.

    Old overlays lie above Bits Stored, and say so; a sign may be extended into the unused bits, or not.
    """
    mask = (1 << int(dataset.BitsStored)) - 1
    strange = whole != kept
    if dataset.PixelRepresentation:
        strange &= whole != (kept & mask)
    if padded is not None:
        strange &= ~padded
    if not strange.any() or _has_embedded_overlays(dataset):
        return None
    return int(whole[strange].astype(np.int64).max())


def _has_embedded_overlays(dataset: Dataset) -> bool:
    """Whether bits of the pixels are overlay planes (PS3.3 C.9.2, retired): Overlay Bit Position is not 0."""
    return any((group, 0x0102) in dataset and (group, 0x3000) not in dataset for group in _OVERLAY_GROUPS)


def _padded(
    stored: npt.NDArray[np.integer], pixels: npt.NDArray[np.integer], dataset: Dataset
) -> npt.NDArray[np.bool_] | None:
    """Which values are padding (PS3.3 C.7.5.1.1.2), as they lie or in their significant bits; None: none is stated."""
    value = dataset.get("PixelPaddingValue")
    if value is None or value == "":
        return None
    limit = dataset.get("PixelPaddingRangeLimit")
    one, other = (_as_stored(int(end), dataset) for end in (value, value if limit is None else limit))
    low, high = min(one, other), max(one, other)
    found = (pixels >= low) & (pixels <= high)
    return found if stored is pixels else found | ((stored >= low) & (stored <= high))


def _as_stored(value: int, dataset: Dataset) -> int:
    """Read a padding value in the sign of the pixels, whichever VR it was written with."""
    span = 1 << int(dataset.BitsAllocated)
    value %= span
    return value - span if dataset.PixelRepresentation and value >= span // 2 else value
