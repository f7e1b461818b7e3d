"""A file opened as a data set, within bounds: what no image needs is not read, whatever its headers announce."""

import io
import os
import stat
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final, cast

import pydicom
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset, read_preamble
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from analysis.errors import AnalysisError

__all__ = ["PARSE_ERRORS", "OutOfBounds", "is_bare", "is_zip", "open_header", "open_whole"]

LARGEST_HEADER: Final = 64 * 2**20
"""Bytes that everything before the pixels may need, or one value among it, inflated."""

MOST_READS: Final = 500_000
"""Reads of a file before its pixels; an element costs about two, a series of 2,000 frames needs a quarter of it."""

_ZIP: Final = b"PK\x03\x04"
_PREFIX_AT: Final = 128
_PREFIX: Final = b"DICM"
_FIRST_ELEMENT: Final = struct.Struct("<HH4s")
_FIRST_GROUPS: Final = (0x0002, 0x0008)
_LAST_FIRST_ELEMENT: Final = 0x0018
_LONGEST_FIRST_VALUE: Final = 256
"""What a data set without preamble begins with: a length, a character set, an image type, a UID."""

PIXEL_DATA: Final = (0x7FE00008, 0x7FE00009, 0x7FE00010)

# What pydicom raises on bytes that are not DICOM, or not any more, and on values that contradict their VR.
PARSE_ERRORS = (
    InvalidDicomError,
    OSError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    NotImplementedError,
    OverflowError,
    RecursionError,
    struct.error,
    zlib.error,
)


class OutOfBounds(AnalysisError):
    """The file asks for more than any image needs."""


def open_header(path: Path, tags: list[str]) -> Dataset:
    """The named attributes before the pixels; the character set comes with them.

    Raises:
        OutOfBounds: more elements, or larger ones, than an image has.
        PARSE_ERRORS: there is no such file, or it cannot be parsed.
    """
    with _opened(path) as file:
        bare = _is_bare(file)
        bounded = _Bounded(file)
        meta = _read_meta(bounded, bare=bare)
        if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
            inflated = _Bounded(io.BytesIO(_inflated(file, LARGEST_HEADER)))
            dataset = _read(inflated, stop_when=_at_pixels, tags=_tags(tags))
            return _with_meta(dataset, meta)
        bounded.seek(0)
        return pydicom.dcmread(bounded, force=bare, stop_before_pixels=True, specific_tags=tags)


def open_whole(path: Path, *, largest: int) -> Dataset:
    """The data set with its pixels; what is deflated may inflate to ``largest`` bytes.

    Raises:
        OutOfBounds: it inflates to more.
        PARSE_ERRORS: there is no such file, or it cannot be parsed.
    """
    with _opened(path) as file:
        bare = _is_bare(file)
        meta = _read_meta(file, bare=bare)
        if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
            file.seek(0)
            return pydicom.dcmread(file, force=bare)
        content = _inflated(file, largest + 1)
        if len(content) > largest:
            raise OutOfBounds(f"Deflated, it grows beyond the {largest} bytes that its header announces.")
        return _with_meta(_read(io.BytesIO(content), stop_when=None), meta)


class _Bounded(io.RawIOBase):
    """A file that gives up when it is asked too often, or for too much."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._reads = 0

    def read(self, size: int = -1, /) -> bytes:
        self._reads += 1
        if self._reads > MOST_READS:
            raise OutOfBounds(f"More than {MOST_READS // 2} elements before the pixels.")
        if size > LARGEST_HEADER:
            raise OutOfBounds(f"A value of {size} bytes before the pixels.")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


def _opened(path: Path) -> BinaryIO:
    """A regular file, opened; a FIFO or a device is not waited for."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InvalidDicomError("not a regular file")
    return os.fdopen(descriptor, "rb")


def is_bare(path: Path) -> bool:
    """Whether the file begins with a data set, or its File Meta Information, without the preamble (PS3.10 7.1)."""
    with _opened(path) as file:
        return _is_bare(file)


def is_zip(path: Path) -> bool:
    """Whether the file begins as a zip archive does, whole or not."""
    try:
        with _opened(path) as file:
            return file.read(len(_ZIP)) == _ZIP
    except (InvalidDicomError, OSError):
        return False


def _is_bare(file: BinaryIO) -> bool:
    """As ``is_bare``; the file stands at its begin then."""
    file.seek(0)
    head = file.read(_PREFIX_AT + len(_PREFIX))
    file.seek(0)
    if head[_PREFIX_AT:] == _PREFIX or len(head) < _FIRST_ELEMENT.size:
        return False
    group, element, rest = _FIRST_ELEMENT.unpack_from(head)
    explicit = rest[:2].isalpha() and rest[:2].isupper()
    length = int.from_bytes(rest[2:] if explicit else rest, "little")
    return group in _FIRST_GROUPS and element <= _LAST_FIRST_ELEMENT and length <= _LONGEST_FIRST_VALUE


def _read_meta(file: BinaryIO | _Bounded, *, bare: bool) -> FileMetaDataset:
    """The File Meta Information; the file then stands where the data set begins."""
    read_preamble(cast("BinaryIO", file), force=bare)
    return FileMetaDataset(_read(file, stop_when=_after_meta))


def _read(
    file: "BinaryIO | _Bounded",
    *,
    stop_when: Callable[[BaseTag, str | None, int], bool] | None,
    tags: list[int] | None = None,
) -> Dataset:
    """A data set in Explicit VR Little Endian, as File Meta Information and inflated data sets are."""
    return read_dataset(
        cast("BinaryIO", file),
        is_implicit_VR=False,
        is_little_endian=True,
        stop_when=stop_when,
        specific_tags=cast("list[BaseTag | int] | None", tags),
    )


def _inflated(file: BinaryIO, most: int) -> bytes:
    """The deflated rest of a file, at most so many bytes of it."""
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(file.read(), most)


def _with_meta(dataset: Dataset, meta: FileMetaDataset) -> Dataset:
    dataset.file_meta = meta
    dataset.set_original_encoding(is_implicit_vr=False, is_little_endian=True)
    return dataset


def _tags(keywords: list[str]) -> list[int]:
    return [tag for keyword in keywords if (tag := tag_for_keyword(keyword)) is not None]


def _after_meta(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return tag.group != 2


def _at_pixels(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return tag in PIXEL_DATA
