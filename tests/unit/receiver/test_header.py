"""What the index keeps of a header."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset

from dicom_node.network.dataset_check import DatasetOutline, walk_dataset
from dicom_node.storage.header import WANTED, IndexedHeader, is_conformant_uid, is_usable_uid, read_header

EXPLICIT = "1.2.840.10008.1.2.1"

Make = Callable[..., Dataset]
Encode = Callable[[Dataset, str], bytes]


def header_of(dataset: Dataset, encode: Encode) -> IndexedHeader:
    encoded = encode(dataset, EXPLICIT)
    return read_header(walk_dataset(encoded, EXPLICIT, wanted=WANTED, max_inflated_bytes=1 << 20))


def test_identity_and_geometry_are_read(make_dataset: Make, encode: Encode) -> None:
    """Identity, sizes, the position along the slice normal and text in its character set are as the header has them."""
    header = header_of(make_dataset(), encode)

    assert (header.study_instance_uid, header.series_instance_uid) == ("1.2.3", "1.2.3.5")
    assert header.patient_id == "P1"
    assert header.fields["slice_position_mm"] == -12.5
    assert header.fields["rows"] == 4
    assert header.fields["study_description"] == "Thörax"
    assert header.fields["image_type"] == ["ORIGINAL", "PRIMARY", "AXIAL"]


@pytest.mark.parametrize(
    ("told", "kept"),
    [("19500131", "19500131"), ("1950.01.31", "19500131"), ("00000000", ""), ("19509999", ""), ("50.01.31", "")],
)
def test_a_birth_date_is_kept_as_a_day_or_not_at_all(make_dataset: Make, encode: Encode, told: str, kept: str) -> None:
    """Two forms of one day are no contradiction, and a placeholder contradicts nothing."""
    with disable_value_validation():
        assert header_of(make_dataset(PatientBirthDate=told), encode).patient_birth_date == kept


def test_position_is_along_the_normal(make_dataset: Make, encode: Encode) -> None:
    """A coronal image's position runs along the patient's y axis, with the sign of its normal."""
    dataset = make_dataset(ImageOrientationPatient=[1, 0, 0, 0, 0, -1], ImagePositionPatient=[3, 40, 7])

    assert header_of(dataset, encode).fields["slice_position_mm"] == 40.0


@pytest.mark.parametrize(
    "absurd",
    [
        {"ImageOrientationPatient": [1e200, 0, 0, 0, 1e200, 0]},
        {"ImagePositionPatient": [0, 0, "1.7e308"]},
        {"ImagePositionPatient": [0, 0, "-1.7e308"]},
        {"ImagePositionPatient": [0, 0, "10000.5"]},
    ],
)
def test_geometry_that_makes_no_sense_is_dropped(
    make_dataset: Make, encode: Encode, absurd: dict[str, list[float]]
) -> None:
    """No patient lies there, no cosine is that long: the instance has no position, and is kept."""
    with disable_value_validation():
        header = header_of(make_dataset(**absurd), encode)
    assert "slice_position_mm" not in header.fields


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        (0x00200037, b"1e200\\0\\0\\0\\1e200\\0"),
        (0x00200037, b"nan\\0\\0\\0\\1\\0"),
        (0x00200037, b"2\\0\\0\\0\\2\\0"),
        (0x00200032, b"0\\0\\1.7e308"),
        (0x00200032, b"0\\0\\-inf"),
        (0x00200032, b"0\\0"),
    ],
)
def test_absurd_geometry_is_left_out_and_told(make_dataset: Make, encode: Encode, tag: int, value: bytes) -> None:
    """Not finite, or beyond all reason: no position is made of it, and the keyword is named, the value not."""
    outline = walk_dataset(encode(make_dataset(), EXPLICIT), EXPLICIT, wanted=WANTED, max_inflated_bytes=1 << 20)
    changed = DatasetOutline(
        values={**outline.values, tag: value},
        little_endian=True,
        pixel_bytes=outline.pixel_bytes,
        fragments=None,
    )

    header = read_header(changed)

    assert "slice_position_mm" not in header.fields
    assert header.dropped == ("ImageOrientationPatient" if tag == 0x00200037 else "ImagePositionPatient",)
    assert read_header(outline).dropped == ()


@given(st.dictionaries(st.sampled_from([0x00200032, 0x00200037, 0x00180050]), st.lists(st.floats(), min_size=1)))
def test_whatever_the_numbers_all_are_finite_json(values: dict[int, list[float]]) -> None:
    """Any floats as geometry make a header that every database takes."""
    texts = {tag: "\\".join(map(str, numbers)).encode() for tag, numbers in values.items()}
    header = read_header(DatasetOutline(values=texts, little_endian=True, pixel_bytes=None, fragments=None))

    json.dumps(dict(header.fields), allow_nan=False)


def test_patient_does_not_show_in_repr(make_dataset: Make, encode: Encode) -> None:
    """A header that ends up in a message shows no patient."""
    assert "P1" not in repr(header_of(make_dataset(), encode))


@given(st.dictionaries(st.sampled_from(sorted(WANTED)), st.binary(max_size=40)))
def test_any_bytes_make_a_header(values: dict[int, bytes]) -> None:
    """Values that are no numbers, no text or no geometry are left out; nothing raises, and text is printable."""
    header = read_header(DatasetOutline(values=values, little_endian=True, pixel_bytes=None, fragments=None))

    assert header.patient_id.isprintable()


@pytest.mark.parametrize(
    ("uid", "conformant", "usable"),
    [
        ("1.2.840.10008.1.2", True, True),
        ("2.25.0", True, True),
        ("../x", False, True),
        ("/etc/passwd", False, True),
        ("1.2.03", False, True),
        ("anon-4f", False, True),
        ("1" * 65, False, False),
        ("", False, False),
        ("1.2\n3", False, False),
        ("1.2\x003", False, False),
        ("ü", False, False),
    ],
)
def test_uids_are_sorted(uid: str, conformant: bool, usable: bool) -> None:
    """Conformant, usable with a warning, or no identity at all."""
    assert (is_conformant_uid(uid), is_usable_uid(uid)) == (conformant, usable)
