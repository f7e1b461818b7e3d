"""What the index keeps of an instance's header: identity, geometry and descriptions, decoded from its bytes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydicom import charset

from analysis.moments import read_birth_date, read_date
from dicom_node.network.dataset_check import (
    BITS_ALLOCATED,
    COLUMNS,
    NUMBER_OF_FRAMES,
    ROWS,
    DatasetOutline,
)

__all__ = ["WANTED", "IndexedHeader", "is_conformant_uid", "is_usable_uid", "read_header"]

_CHARACTER_SET, _SOP_CLASS, _SOP_INSTANCE, _STUDY, _SERIES = 0x00080005, 0x00080016, 0x00080018, 0x0020000D, 0x0020000E
_STUDY_DATE = 0x00080020
_PATIENT_ID, _MODALITY = 0x00100020, 0x00080060
_ISSUER, _BIRTH_DATE, _SEX = 0x00100021, 0x00100030, 0x00100040
_POSITION, _ORIENTATION = 0x00200032, 0x00200037

_TEXTS = {
    "study_description": 0x00081030,
    "series_description": 0x0008103E,
    "body_part": 0x00180015,
    "kernel": 0x00181210,
    "accession_number": 0x00080050,
    "frame_of_reference_uid": 0x00200052,
}
_INTEGERS = {"instance_number": 0x00200013, "series_number": 0x00200011}
_IMAGE_TYPE, _THICKNESS = 0x00080008, 0x00180050

WANTED = frozenset(
    {
        _CHARACTER_SET,
        _SOP_CLASS,
        _SOP_INSTANCE,
        _STUDY,
        _SERIES,
        _PATIENT_ID,
        _ISSUER,
        _BIRTH_DATE,
        _SEX,
        _MODALITY,
        _POSITION,
        _ORIENTATION,
        _IMAGE_TYPE,
        _THICKNESS,
        _STUDY_DATE,
        ROWS,
        COLUMNS,
        NUMBER_OF_FRAMES,
        BITS_ALLOCATED,
        *_TEXTS.values(),
        *_INTEGERS.values(),
    },
)
"""The elements that a walk has to keep for `read_header`."""

_USABLE_UID = re.compile(r"[!-~](?:[ -~]{0,62}[!-~])?")
_CONFORMANT_UID = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))*")
_LONGEST_UID = 64
_FARTHEST_MM = 10_000.0
"""No patient lies farther from the origin of a frame of reference; what says so is not used as a position."""
_LONGEST_COSINE = 1.01
"""Direction cosines are of unit length, but for rounding."""


def is_conformant_uid(uid: str) -> bool:
    """The UID is made of numbers and dots as PS3.5 section 9.1 has it."""
    return len(uid) <= _LONGEST_UID and _CONFORMANT_UID.fullmatch(uid) is not None


def is_usable_uid(uid: str) -> bool:
    """The UID can stand for something: 1 to 64 printable ASCII characters, whatever they are."""
    return _USABLE_UID.fullmatch(uid) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedHeader:
    """An instance's identity, and the small JSON object that completion, listing and the administrator read.

    ``fields`` has only what the instance holds: rows, columns, number_of_frames, instance_number, series_number,
    image_type, image_position_patient_mm, image_orientation_patient, slice_position_mm (along the slice normal),
    slice_thickness_mm, body_part, kernel, study_date (YYYYMMDD, in whichever form it came), accession_number,
    study_description, series_description, frame_of_reference_uid.
    """

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    patient_id: str = field(repr=False)
    issuer_of_patient_id: str = field(repr=False)
    patient_birth_date: str = field(repr=False)
    patient_sex: str = field(repr=False)
    modality: str
    fields: Mapping[str, object] = field(repr=False)
    dropped: tuple[str, ...] = ()
    """Keywords of the geometry that was not taken over: no finite numbers, or beyond all reason."""


def read_header(outline: DatasetOutline) -> IndexedHeader:
    """The header of a walked data set. A value that cannot be read is left out, never an error."""
    encodings = _encodings(outline)
    fields: dict[str, object] = {}
    for name, tag in _TEXTS.items():
        if text := _decode(outline.values.get(tag, b""), encodings):
            fields[name] = text
    if day := read_date(outline.text(_STUDY_DATE)):
        fields["study_date"] = f"{day:%Y%m%d}"
    for name, tag in _INTEGERS.items():
        if (number := outline.integer(tag)) is not None:
            fields[name] = number
    for name, tag in (("rows", ROWS), ("columns", COLUMNS)):
        if (number := outline.unsigned_short(tag)) is not None:
            fields[name] = number
    fields["number_of_frames"] = outline.integer(NUMBER_OF_FRAMES) or 1
    if image_type := outline.text(_IMAGE_TYPE):
        fields["image_type"] = [value.strip() for value in image_type.split("\\")]
    thickness = _decimals(outline, _THICKNESS, 1, _FARTHEST_MM)
    position = _decimals(outline, _POSITION, 3, _FARTHEST_MM)
    orientation = _decimals(outline, _ORIENTATION, 6, _LONGEST_COSINE)
    if thickness:
        fields["slice_thickness_mm"] = thickness[0]
    fields.update(_geometry(position, orientation))
    return IndexedHeader(
        sop_class_uid=outline.text(_SOP_CLASS),
        sop_instance_uid=outline.text(_SOP_INSTANCE),
        study_instance_uid=outline.text(_STUDY),
        series_instance_uid=outline.text(_SERIES),
        patient_id=_decode(outline.values.get(_PATIENT_ID, b""), encodings),
        issuer_of_patient_id=_decode(outline.values.get(_ISSUER, b""), encodings),
        patient_birth_date=f"{born:%Y%m%d}" if (born := read_birth_date(outline.text(_BIRTH_DATE))) else "",
        patient_sex=outline.text(_SEX).upper(),
        modality=outline.text(_MODALITY),
        fields=fields,
        dropped=tuple(
            keyword
            for keyword, tag, taken in (
                ("SliceThickness", _THICKNESS, thickness),
                ("ImagePositionPatient", _POSITION, position),
                ("ImageOrientationPatient", _ORIENTATION, orientation),
            )
            if outline.text(tag) and not taken
        ),
    )


def _geometry(position: list[float], orientation: list[float]) -> dict[str, object]:
    """Position, orientation, and the position along the slice normal in mm (PS3.3 C.7.6.2.1.1)."""
    found: dict[str, object] = {}
    if position:
        found["image_position_patient_mm"] = position
    if orientation:
        found["image_orientation_patient"] = orientation
    if position and orientation:
        (a, b, c), (d, e, f) = orientation[:3], orientation[3:]
        normal = (b * f - c * e, c * d - a * f, a * e - b * d)
        found["slice_position_mm"] = round(sum(p * n for p, n in zip(position, normal, strict=True)), 4)
    return found


def _decimals(outline: DatasetOutline, tag: int, count: int, most: float) -> list[float]:
    """The values of a DS element, or nothing unless there are ``count`` of them, none beyond ``most`` or no number."""
    try:
        values = [float(part) for part in outline.text(tag).split("\\")]
    except ValueError:
        return []
    return values if len(values) == count and all(abs(value) <= most for value in values) else []


def _encodings(outline: DatasetOutline) -> list[str]:
    """Python's names of the instance's character sets; the default repertoire where they are unknown."""
    names = [name.strip() for name in outline.text(_CHARACTER_SET).split("\\")]
    return [charset.python_encoding[name] for name in names if name in charset.python_encoding] or ["iso8859"]


def _decode(value: bytes, encodings: list[str]) -> str:
    """A text value without padding; what cannot be decoded, and control characters, become a replacement mark."""
    try:
        text = charset.decode_bytes(value, encodings, set())
    except (LookupError, UnicodeError, UserWarning):
        text = value.decode("latin-1")
    text = text.strip(" \0\r\n\t")
    return text if text.isprintable() else "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
