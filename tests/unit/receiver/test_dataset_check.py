"""The walk takes whole data sets in every encoding, and nothing that breaks off or is none."""

import contextlib
import os
import struct
import zlib
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from dicom_node.network.dataset_check import DatasetOutline, walk_dataset, walk_head
from dicom_node.network.errors import UnparsableDataset
from dicom_node.storage.header import WANTED

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
RLE = "1.2.840.10008.1.2.5"
SYNTAXES = [IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN, RLE]

Make = Callable[..., Dataset]
Encode = Callable[[Dataset, str], bytes]


def walk(encoded: bytes, syntax: str) -> DatasetOutline:
    return walk_dataset(encoded, syntax, wanted=WANTED, max_inflated_bytes=1 << 20)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_whole_dataset_is_walked_and_its_values_kept(syntax: str, make_dataset: Make, encode: Encode) -> None:
    """Each encoding is walked to its end, past nested sequences, and gives the same values."""
    outline = walk(encode(make_dataset(), syntax), syntax)

    assert outline.text(0x00080018) == "1.2.3.4"
    assert outline.unsigned_short(0x00280010) == 4
    assert outline.integer(0x00200013) == 7
    assert (outline.fragments is not None) == (syntax == RLE)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_no_proper_prefix_is_accepted(syntax: str, make_dataset: Make, encode: Encode) -> None:
    """Wherever a data set is cut off, even between two elements, it is refused."""
    encoded = encode(make_dataset(), syntax).rstrip(b"\0" if syntax == DEFLATED else b"")

    for length in range(len(encoded)):
        with pytest.raises(UnparsableDataset):
            walk(encoded[:length], syntax)


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN, RLE])
@pytest.mark.parametrize("count", [1, 2, 126, 1 << 20])
def test_zero_bytes_after_the_last_element_are_padding(
    syntax: str, count: int, make_dataset: Make, encode: Encode
) -> None:
    """Some writers fill a block; nothing is missing, whether the head alone or all of it is walked."""
    encoded = encode(make_dataset(), syntax) + bytes(count)

    assert walk(encoded, syntax).text(0x00080018) == "1.2.3.4"
    outline = walk_head(encoded, len(encoded), syntax, wanted=WANTED)
    assert outline is not None
    assert outline.text(0x00080018) == "1.2.3.4"
    assert walk_head(encoded[:-count], len(encoded), syntax, wanted=WANTED) is None


@pytest.mark.parametrize("padding", [b"\0\0\0\1", b"\0" * 64 + b"x", bytes((1 << 20) + 1)])
def test_other_bytes_after_the_last_element_are_none(padding: bytes, make_dataset: Make, encode: Encode) -> None:
    """What is not zero, or more than a block, is not known to be padding."""
    with pytest.raises(UnparsableDataset):
        walk(encode(make_dataset(), EXPLICIT) + padding, EXPLICIT)


@pytest.mark.parametrize("vr", [b"\0\0", b"  ", b"lo", b"\0 "])
def test_private_element_without_a_vr_is_passed_over(vr: bytes, make_dataset: Make, encode: Encode) -> None:
    """Blank, NUL or lower case, with a length of 16 bits, as other receivers read it; a standard element needs one."""
    encoded = encode(make_dataset(), EXPLICIT)
    at = encoded.index(struct.pack("<HH", 0x0010, 0x0020))
    for group in (0x0009, 0x000A):
        odd = struct.pack("<HH2sH", group, 0x1001, vr, 4) + b"abcd"
        with contextlib.nullcontext() if group & 1 else pytest.raises(UnparsableDataset):
            assert walk(encoded[:at] + odd + encoded[at:], EXPLICIT).text(0x00080018) == "1.2.3.4"


def test_deflated_bomb_is_no_larger_than_a_thousand_slices() -> None:
    """Whatever one instance may have: what every later reader would inflate to memory has a bound of its own."""
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    parts = [deflater.compress(bytes(1 << 20)) for _ in range(513)]
    with pytest.raises(UnparsableDataset, match="inflates beyond 536870912 bytes"):
        walk_dataset(b"".join(parts) + deflater.flush(), DEFLATED, wanted=WANTED, max_inflated_bytes=1 << 31)


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN])
def test_sequences_of_undefined_length_are_walked(syntax: str, make_dataset: Make, encode: Encode) -> None:
    """Delimiters end sequences and items, at every depth."""
    dataset = make_dataset()
    dataset["SourceImageSequence"].is_undefined_length = True
    item = dataset.SourceImageSequence[0]
    item.is_undefined_length_sequence_item = True
    item["PurposeOfReferenceCodeSequence"].is_undefined_length = True
    encoded = encode(dataset, syntax)

    assert walk(encoded, syntax).unsigned_short(0x00280011) == 4
    for length in range(len(encoded)):
        with pytest.raises(UnparsableDataset):
            walk(encoded[:length], syntax)


def test_unknown_sequence_is_implicit_inside(make_dataset: Make, encode: Encode) -> None:
    """An UN element of undefined length holds Implicit VR Little Endian items (PS3.5 section 6.2.2)."""
    nested = struct.pack("<HHI", 0x0008, 0x0100, 2) + b"1 "
    unknown = (
        struct.pack("<HH2sHI", 0x0009, 0x1010, b"UN", 0, 0xFFFFFFFF)
        + struct.pack("<HHI", 0xFFFE, 0xE000, len(nested))
        + nested
        + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    )

    assert walk(unknown + encode(make_dataset(), EXPLICIT), EXPLICIT).text(0x0020000D) == "1.2.3"


@pytest.mark.parametrize(
    ("attributes", "syntax"),
    [
        ({"PixelData": b"\0" * 30}, EXPLICIT),
        ({"NumberOfFrames": "2"}, EXPLICIT),
        ({"NumberOfFrames": "2"}, RLE),
        ({"PixelData": None}, IMPLICIT),
    ],
)
def test_too_little_pixel_data_is_refused(
    attributes: dict[str, object], syntax: str, make_dataset: Make, encode: Encode
) -> None:
    """Pixel data shorter than rows, columns and frames call for is truncated, though the structure is whole."""
    with pytest.raises(UnparsableDataset, match="pixel data"):
        walk(encode(make_dataset(**attributes), syntax), syntax)


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize(
    "content", [b"", b"not a data set at all, just some text\n" * 20, b"\0" * 512, b"%PDF-1.7\n" * 9]
)
def test_what_is_no_dataset_is_refused(content: bytes, syntax: str) -> None:
    """Text, zeros and nothing are not data sets."""
    with pytest.raises(UnparsableDataset):
        walk(content, syntax)


def test_deep_nesting_ends() -> None:
    """Sequences that nest without end are refused before Python's stack is."""
    deep = b"".join(
        struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
        for _ in range(5000)
    )
    with pytest.raises(UnparsableDataset, match="nest"):
        walk(deep, EXPLICIT)


def test_inflation_is_bounded() -> None:
    """A small stream that inflates to a lot is refused at the limit."""
    deflater = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    bomb = deflater.compress(bytes(50 << 20)) + deflater.flush()
    with pytest.raises(UnparsableDataset, match="inflates"):
        walk(bomb, DEFLATED)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_bytes_are_walked_or_refused(data: st.DataObject, make_dataset: Make, encode: Encode) -> None:
    """Whatever bytes come, the walk ends with an outline or a refusal, never with another error."""
    syntax = data.draw(st.sampled_from(SYNTAXES))
    encoded = bytearray(encode(make_dataset(), syntax))
    for _ in range(data.draw(st.integers(1, 6))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(UnparsableDataset):
        walk(bytes(encoded), syntax)


def test_random_bytes_are_refused() -> None:
    """Random bytes never pass for a whole image."""
    for syntax in SYNTAXES:
        for _ in range(200):
            with pytest.raises(UnparsableDataset):
                walk(os.urandom(600), syntax)
