"""Walk an encoded data set to its end without decoding a value: is it whole, and what do the index's attributes say?"""

import re
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydicom._dicom_dict import DicomDictionary
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from dicom_node.network.errors import UnparsableDataset
from dicom_node.network.inflation import inflated

__all__ = ["DatasetOutline", "walk_dataset", "walk_elements", "walk_head"]

NATIVE_SYNTAXES = frozenset(
    {ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian}
)

PIXEL_DATA = 0x7FE00010
SAMPLES_PER_PIXEL, NUMBER_OF_FRAMES, ROWS, COLUMNS, BITS_ALLOCATED = (
    0x00280002,
    0x00280008,
    0x00280010,
    0x00280011,
    0x00280100,
)
_GEOMETRY = frozenset({SAMPLES_PER_PIXEL, NUMBER_OF_FRAMES, ROWS, COLUMNS, BITS_ALLOCATED})

_UNDEFINED_LENGTH = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_DELIMITER_GROUP = 0xFFFE
_FORBIDDEN_GROUPS = frozenset({0x0000, 0x0002, _DELIMITER_GROUP})
"""Command, file meta and delimiter elements, which no data set begins with (PS3.5 section 7.1)."""

_SHORT_LENGTH_VRS = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split(),
)
"""Value representations whose length takes 16 bits (PS3.5 table 7.1-2); all others take 32 (7.1-1)."""
_VR = re.compile(rb"[A-Z]{2}")
_NO_VR = re.compile(rb"[a-z \0]{2}")
"""What some devices write before their private elements instead of one; the length after it takes 16 bits."""
_FRAGMENT_VRS = frozenset({b"OB", b"OW"})

_MAX_DEPTH = 64
_MAX_KEPT_BYTES = 16_384
MAX_ELEMENTS = 1_000_000
"""Elements, items and fragments of one data set; 2,000 frames with functional groups have a tenth of it."""
_YIELD_EVERY = 4096
"""Elements between two moments at which other associations get the interpreter."""
_MOST_PADDING_BYTES = 1 << 20
_SEQUENCES = frozenset(tag for tag, entry in DicomDictionary.items() if entry[0] == "SQ")
"""What the Standard's dictionary calls a sequence; needed where the encoding does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetOutline:
    """What the walk saw: the encoded value of each wanted top-level element, and how the pixel data is laid out.

    ``pixel_bytes`` is the length of native pixel data, ``fragments`` the number of items of encapsulated pixel
    data (with the offset table); both are None without pixel data.
    """

    values: Mapping[int, bytes] = field(repr=False)
    little_endian: bool
    pixel_bytes: int | None
    fragments: int | None

    def text(self, tag: int) -> str:
        """The value of a text element in the default repertoire, without padding; empty if it is absent."""
        return self.values.get(tag, b"").decode("latin-1").strip(" \0")

    def unsigned_short(self, tag: int) -> int | None:
        """The first value of a US element, or None."""
        value = self.values.get(tag, b"")
        return struct.unpack_from("<H" if self.little_endian else ">H", value)[0] if len(value) > 1 else None

    def integer(self, tag: int) -> int | None:
        """The first value of an IS element, or None if it is absent or no number."""
        try:
            return int(self.text(tag).split("\\")[0])
        except ValueError:
            return None


def walk_dataset(
    encoded: bytes | memoryview,
    transfer_syntax_uid: str,
    *,
    wanted: frozenset[int],
    max_inflated_bytes: int,
    scratch: str | None = None,
) -> DatasetOutline:
    """The data set's elements fill it exactly, to its end, and its pixel data is as long as its attributes say.

    What is deflated is inflated to a nameless file in the ``scratch`` folder, not to memory.

    Raises:
        UnparsableDataset: it is truncated, is no data set, or is nested, divided or inflated beyond reason.
        OSError: the scratch folder has no room.
    """
    if transfer_syntax_uid == DeflatedExplicitVRLittleEndian:
        with inflated(encoded, max_inflated_bytes, scratch) as whole:
            return _walk_inflated(whole, transfer_syntax_uid, wanted)
    return _walk_inflated(encoded, transfer_syntax_uid, wanted)


def walk_head(
    head: bytes | bytearray, encoded_bytes: int, transfer_syntax_uid: str, *, wanted: frozenset[int]
) -> DatasetOutline | None:
    """What `walk_dataset` tells of ``encoded_bytes`` that begin with ``head``; None where it takes more than those.

    Native pixel data at the end needs no look: that it is as long as its element says is all there is to know.

    Raises:
        UnparsableDataset: as `walk_dataset`.
    """
    if transfer_syntax_uid == DeflatedExplicitVRLittleEndian:
        return None
    try:
        return _walk_inflated(head, transfer_syntax_uid, wanted, encoded_bytes)
    except (struct.error, _BeyondHead):
        return None


def _walk_inflated(
    encoded: bytes | bytearray | memoryview, transfer_syntax_uid: str, wanted: frozenset[int], size: int | None = None
) -> DatasetOutline:
    if not encoded:
        raise UnparsableDataset("it is empty")
    outline = walk_elements(
        encoded,
        explicit=transfer_syntax_uid != ImplicitVRLittleEndian,
        little_endian=transfer_syntax_uid != ExplicitVRBigEndian,
        wanted=wanted | _GEOMETRY,
        forbidden_groups=_FORBIDDEN_GROUPS,
        size=size,
    )
    _check_pixel_data(outline, native=transfer_syntax_uid in NATIVE_SYNTAXES)
    return outline


def walk_elements(
    encoded: bytes | bytearray | memoryview,
    *,
    explicit: bool,
    little_endian: bool = True,
    wanted: frozenset[int],
    forbidden_groups: frozenset[int] = frozenset({_DELIMITER_GROUP}),
    size: int | None = None,
) -> DatasetOutline:
    """Walk the elements of one encoding from first byte to last; raise UnparsableDataset where they break off.

    ``size`` is that of the whole, where ``encoded`` is only its beginning (see `walk_head`).
    """
    walk = _Walk(encoded, wanted=wanted, forbidden_groups=forbidden_groups)
    encoding = _ENCODINGS[explicit, little_endian]
    walk.elements(0, len(encoded) if size is None else size, encoding, 0, open_end=False)
    return DatasetOutline(
        values=walk.values,
        little_endian=little_endian,
        pixel_bytes=walk.pixel_bytes,
        fragments=walk.fragments,
    )


def _check_pixel_data(outline: DatasetOutline, *, native: bool) -> None:
    """Raise UnparsableDataset if there is less pixel data than rows, columns and frames call for."""
    frames = outline.integer(NUMBER_OF_FRAMES) or 1
    if outline.fragments is not None:
        if not native and outline.fragments < frames + 1:  # one fragment a frame at least, after the offset table
            raise UnparsableDataset(f"{frames} frames in {outline.fragments} fragments of pixel data")
        return
    if outline.pixel_bytes is None:  # every class that is accepted is an image, whose pixel data is required
        raise UnparsableDataset("it has no pixel data")
    rows, columns = outline.unsigned_short(ROWS), outline.unsigned_short(COLUMNS)
    bits, samples = outline.unsigned_short(BITS_ALLOCATED), outline.unsigned_short(SAMPLES_PER_PIXEL)
    if not native or None in (rows, columns, bits) or samples != 1:
        return  # colour may be subsampled; only what is certain is refused
    needed = (rows or 0) * (columns or 0) * frames * (bits or 0) // 8
    if outline.pixel_bytes < needed:
        raise UnparsableDataset(f"{outline.pixel_bytes} bytes of pixel data where {needed} are needed")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Encoding:
    """How elements are written: with or without a value representation, in which byte order."""

    explicit: bool
    with_vr: struct.Struct
    """Group, element, value representation, and a length of 16 bits (PS3.5 section 7.1.2)."""
    without_vr: struct.Struct
    """Group, element, and a length of 32 bits (PS3.5 section 7.1.3)."""
    long: struct.Struct


_ENCODINGS = {
    (explicit, order == "<"): _Encoding(
        explicit=explicit,
        with_vr=struct.Struct(order + "HH2sH"),
        without_vr=struct.Struct(order + "HHI"),
        long=struct.Struct(order + "I"),
    )
    for explicit in (False, True)
    for order in "<>"
}
_IMPLICIT = _ENCODINGS[False, True]


class _BeyondHead(Exception):
    """A value that is wanted lies behind the bytes at hand."""


class _Walk:
    """One pass over a buffer; positions are byte offsets into it, an ``end`` is one past the last byte."""

    def __init__(
        self, data: bytes | bytearray | memoryview, *, wanted: frozenset[int], forbidden_groups: frozenset[int]
    ) -> None:
        self._data = data
        self._wanted = wanted
        self._forbidden = forbidden_groups
        self.values: dict[int, bytes] = {}
        self.pixel_bytes: int | None = None
        self.fragments: int | None = None
        self._seen = 0

    def _count(self) -> None:
        """One element more. Other threads get their turn now and then, and no data set takes for ever."""
        self._seen += 1
        if self._seen > MAX_ELEMENTS:
            raise UnparsableDataset(f"it has more than {MAX_ELEMENTS} elements")
        if not self._seen % _YIELD_EVERY:
            time.sleep(0)

    def elements(self, position: int, end: int, encoding: _Encoding, depth: int, *, open_end: bool) -> int:
        """Walk elements up to ``end``, or with ``open_end`` to the item's delimiter; return where they end."""
        while position < end and (depth or not self._is_padding(position, end)):
            self._count()
            tag, vr, length, value = self._head(position, end, encoding)
            group = tag >> 16
            if group == _DELIMITER_GROUP and open_end:
                if tag != _ITEM_END or length:
                    raise UnparsableDataset(f"a delimiter is out of place at byte {position}")
                return value
            if depth == 0 and group in self._forbidden:
                raise UnparsableDataset(f"an element of group {group:04x} at byte {position}")
            if length == _UNDEFINED_LENGTH:
                position = self._undefined(tag, vr, value, end, encoding, depth)
                continue
            position = value + length
            if position > end:
                raise UnparsableDataset(f"it breaks off in element {tag:08x}, {position - end} bytes short")
            if depth == 0:
                self._keep(tag, value, length)
            if vr == b"SQ" or (vr is None and tag in _SEQUENCES):
                self._items(value, position, encoding, depth, open_end=False)
        if open_end:
            raise UnparsableDataset("it breaks off in an item")
        return position

    def _is_padding(self, position: int, end: int) -> bool:
        """Only zero bytes follow the last element: some writers pad to a block."""
        begin = bytes(self._data[position : position + 2])
        if begin.strip(b"\0"):
            return False
        if not begin or end > len(self._data):
            raise _BeyondHead
        return end - position <= _MOST_PADDING_BYTES and not bytes(self._data[position:end]).strip(b"\0")

    def _keep(self, tag: int, value: int, length: int) -> None:
        """Keep a top-level element's value if it is wanted, and the pixel data's length."""
        if tag in self._wanted:
            kept = value + min(length, _MAX_KEPT_BYTES)
            if kept > len(self._data):
                raise _BeyondHead
            self.values[tag] = bytes(self._data[value:kept])
        elif tag == PIXEL_DATA:
            self.pixel_bytes = length

    def _head(self, position: int, end: int, encoding: _Encoding) -> tuple[int, bytes | None, int, int]:
        """One element's tag, value representation (None where it is implicit), length, and where its value begins."""
        value = position + 8
        if value > end:  # the shortest element (PS3.5 section 7.1)
            raise UnparsableDataset(f"it breaks off in an element's head at byte {position}")
        if not encoding.explicit:
            group, element, length = encoding.without_vr.unpack_from(self._data, position)
            return group << 16 | element, None, length, value
        group, element, vr, length = encoding.with_vr.unpack_from(self._data, position)
        tag = group << 16 | element
        if group == _DELIMITER_GROUP:
            return tag, None, encoding.long.unpack_from(self._data, position + 4)[0], value
        if vr in _SHORT_LENGTH_VRS:
            return tag, vr, length, value
        if not _VR.fullmatch(vr):
            if group & 1 and _NO_VR.fullmatch(vr):
                return tag, vr, length, value
            raise UnparsableDataset(f"no value representation at byte {position + 4}")
        if end - position < 12:
            raise UnparsableDataset(f"it breaks off in an element's head at byte {position}")
        return tag, vr, encoding.long.unpack_from(self._data, value)[0], position + 12

    def _undefined(  # noqa: PLR0917 - a walk's state is passed on, not stored
        self, tag: int, vr: bytes | None, value: int, end: int, encoding: _Encoding, depth: int
    ) -> int:
        """Walk an element of undefined length: encapsulated pixel data, or a sequence; return where it ends."""
        if encoding.explicit and (vr in _FRAGMENT_VRS or tag == PIXEL_DATA):
            position, fragments = self._fragments(value, end, encoding)
            if depth == 0 and tag == PIXEL_DATA:
                self.fragments = fragments
            return position
        if vr == b"UN":  # a sequence of unknown type is implicit inside (PS3.5 section 6.2.2, note 4)
            return self._items(value, end, _IMPLICIT, depth, open_end=True)
        if vr in (None, b"SQ"):
            return self._items(value, end, encoding, depth, open_end=True)
        raise UnparsableDataset(f"element {tag:08x} has no length")

    def _items(self, position: int, end: int, encoding: _Encoding, depth: int, *, open_end: bool) -> int:
        """Walk a sequence's items up to ``end``, or with ``open_end`` to its delimiter; return where they end."""
        if depth >= _MAX_DEPTH:
            raise UnparsableDataset(f"sequences nest deeper than {_MAX_DEPTH}")
        while position < end:
            self._count()
            tag, length, value = self._item_head(position, end, encoding)
            if tag == _SEQUENCE_END and open_end:
                return value
            if tag != _ITEM:
                raise UnparsableDataset(f"no item at byte {position}")
            if length == _UNDEFINED_LENGTH:
                position = self.elements(value, end, encoding, depth + 1, open_end=True)
            else:
                if value + length > end:
                    raise UnparsableDataset(f"an item breaks off at byte {position}")
                position = self.elements(value, value + length, encoding, depth + 1, open_end=False)
        if open_end:
            raise UnparsableDataset("it breaks off in a sequence")
        return position

    def _fragments(self, position: int, end: int, encoding: _Encoding) -> tuple[int, int]:
        """Walk encapsulated pixel data (PS3.5 A.4) to its delimiter; return where it ends and its count of items."""
        count = 0
        while position < end:
            self._count()
            tag, length, value = self._item_head(position, end, encoding)
            if tag == _SEQUENCE_END:
                return value, count
            if tag != _ITEM or value + length > end:
                raise UnparsableDataset(f"a fragment of the pixel data breaks off at byte {position}")
            position = value + length
            count += 1
        raise UnparsableDataset("it breaks off in the pixel data")

    def _item_head(self, position: int, end: int, encoding: _Encoding) -> tuple[int, int, int]:
        """An item's or delimiter's tag, length, and where what it holds begins."""
        if end - position < 8:
            raise UnparsableDataset(f"it breaks off in an item's head at byte {position}")
        group, element, length = encoding.without_vr.unpack_from(self._data, position)
        return group << 16 | element, length, position + 8
