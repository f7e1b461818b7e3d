"""Whether two versions of an instance show the same, whatever their bytes: another encoding is no other image."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag

from analysis.errors import AnalysisError
from analysis.series.attributes import check_items
from analysis.series.decoding import Frames, decode_frames, largest_bytes
from analysis.series.header import HEADER_TAGS, header_of
from analysis.series.memory import check_memory
from analysis.series.opening import PARSE_ERRORS, open_header, open_whole
from analysis.series.rules import is_lossy

__all__ = ["show_the_same"]

_OF_THE_ENCODING = frozenset(
    {
        0x00080005,  # Specific Character Set: texts are compared as they read
        0x00082111,  # Derivation Description: what a lossless compression says about itself
        0x0018A001,  # Contributing Equipment Sequence: who re-encoded it
        0x00280006,  # Planar Configuration
        0x7FE00001,  # Extended Offset Table, its lengths, and the length of what is encapsulated
        0x7FE00002,
        0x7FE00003,
        0x7FE00010,  # Pixel Data: compared as they are decoded
        0xFFFCFFFC,  # Data Set Trailing Padding
    }
)
_LOSSY_IMAGE_COMPRESSION = 0x00282110
_NEVER_LOSSY = "00"


def show_the_same(one: Path, other: Path) -> bool:
    """Whether both files hold the same pixels, and the same of every standard attribute, however they are encoded.

    Private attributes are neither read nor shown here. What cannot be read or decoded shows nothing that is known, so
    the answer is no. Time and memory: those of decoding both.

    Raises:
        OutOfMemory: there is not enough at the moment.
    """
    try:
        with disable_value_validation():
            return _same(one, other)
    except AnalysisError as error:
        if error.transient:
            raise
        return False
    except PARSE_ERRORS:
        return False


def _same(one: Path, other: Path) -> bool:
    headers = [header_of(path, open_header(path, HEADER_TAGS)) for path in (one, other)]
    check_memory(headers)
    if is_lossy(headers[0].transfer_syntax_uid) != is_lossy(headers[1].transfer_syntax_uid):
        return False
    first, second = (dict(_attributes(open_whole(header.path, largest=largest_bytes(header)))) for header in headers)
    if first != second:
        return False
    matrix = (headers[0].rows or 0, headers[0].columns or 0)
    return _alike(*(decode_frames(header, matrix) for header in headers))


def _alike(one: Frames, other: Frames) -> bool:
    """The same values, and the same of them padding or beyond their bits."""
    first, second = (np.False_ if frames.padded is None else frames.padded for frames in (one, other))
    return one.beyond == other.beyond and np.array_equal(one.pixels, other.pixels) and np.array_equal(first, second)


def _attributes(dataset: Dataset) -> Iterator[tuple[BaseTag, object]]:
    """Every standard attribute that says something, by its tag."""
    for tag in sorted(dataset.keys()):
        if tag.is_private or tag.element == 0 or tag in _OF_THE_ENCODING:
            continue
        check_items(dataset, tag)
        value = _plain(dataset[tag].value)
        if value in (None, "", (), b"") or (tag == _LOSSY_IMAGE_COMPRESSION and value == _NEVER_LOSSY):
            continue
        yield tag, value


def _plain(value: object) -> object:
    """A value that compares by what it says: numbers as numbers, names as text, items as their attributes."""
    match value:
        case Sequence():
            return tuple(tuple(_attributes(item)) for item in value)
        case MultiValue():
            return tuple(_plain(part) for part in value)
        case bytes() | float() | int() | str() | None:
            return value
        case _:
            return str(value)
