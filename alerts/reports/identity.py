"""UIDs are derived from what they identify, never drawn at random: equal content, equal UIDs; other content, others."""

import hashlib
import struct
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Final

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.tag import Tag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from alerts.artefact import DICOM, ArtefactKind, Draft

_NAMESPACE = uuid.UUID("8c0a3f5e-6f0b-5d2c-9a41-3b7f2d1c9e64")
_META_LENGTH_AT: Final = 128 + 4 + 8
"""Where the length of the meta information stands in a file: after preamble, prefix and its own tag (PS3.10, 7.1)."""
UNNAMED: Final = "2.25.0"
"""The SOP Instance UID and the Series Instance UID of an object whose content is not known to its end yet."""


def derived_uid(*parts: object) -> str:
    """The UID that these parts always give: a name-based UUID (RFC 9562, version 5) under 2.25 (PS3.5, B.2)."""
    name = "|".join(f"{len(text)}:{text}" for text in map(str, parts))
    return f"2.25.{uuid.uuid5(_NAMESPACE, name).int}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedObject:
    """An object as it is written to a file, and what identifies it."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    content: bytes

    def draft(self, kind: ArtefactKind, name: str) -> Draft:
        """The object as a file of its result, of this name."""
        return Draft(
            kind=kind,
            name=name,
            media_type=DICOM,
            content=self.content,
            sop_class_uid=self.sop_class_uid,
            sop_instance_uid=self.sop_instance_uid,
            series_instance_uid=self.series_instance_uid,
        )


def name_object(dataset: Dataset, kind: str, *, transfer_syntax_uid: str | None = None) -> NamedObject:
    """Give an object its SOP Instance UID and the Series Instance UID of a series of its own, and encode it.

    Both are those of the whole content: of every byte of the file but themselves. ``dataset`` is changed, and is
    written in ``transfer_syntax_uid`` where one is given: its UIDs are those of what was to be deflated, whatever a
    library makes of that.
    """
    return name_series([dataset], kind, transfer_syntax_uid=transfer_syntax_uid)[0]


def name_series(
    datasets: Sequence[Dataset], kind: str, *, transfer_syntax_uid: str | None = None
) -> tuple[NamedObject, ...]:
    """``name_object`` for the objects of one series, which has the UID of what they hold together.

    Encoding takes most of the time that an object takes, so each is encoded once, and its UIDs are put in their places.
    """
    unnamed: list[bytes] = []
    for dataset in datasets:
        _name(dataset, UNNAMED, UNNAMED)
        unnamed.append(_encoded(dataset))
    digests = [hashlib.sha256(one).hexdigest() for one in unnamed]
    series_instance_uid = derived_uid(f"{kind} series", *digests)
    named: list[NamedObject] = []
    for dataset, encoded, digest in zip(datasets, unnamed, digests, strict=True):
        (meta_length,) = struct.unpack_from("<I", encoded, _META_LENGTH_AT)
        body = encoded[_META_LENGTH_AT + 4 + meta_length :]
        _name(dataset, series_instance_uid, derived_uid(f"{kind} instance", digest))
        for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
            body = _replaced(body, keyword, str(dataset[keyword].value))
        if transfer_syntax_uid is not None:
            dataset.file_meta.TransferSyntaxUID = UID(transfer_syntax_uid)
        named.append(
            NamedObject(
                sop_class_uid=str(dataset.SOPClassUID),
                sop_instance_uid=str(dataset.SOPInstanceUID),
                series_instance_uid=series_instance_uid,
                content=_file(dataset, body),
            )
        )
    return tuple(named)


def tracking_uid(series_instance_uid: str, identifier: str) -> str:
    """The UID that tracks one finding of a series, through all reports on it."""
    return derived_uid("tracking", identifier, series_instance_uid)


def _name(dataset: Dataset, series_instance_uid: str, sop_instance_uid: str) -> None:
    dataset.SeriesInstanceUID = series_instance_uid
    dataset.SOPInstanceUID = sop_instance_uid
    dataset.file_meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid)


def _replaced(body: bytes, keyword: str, uid: str) -> bytes:
    """The encoded data set with this UID in place of the unnamed one, which stands nowhere else in it."""
    first, found, rest = body.partition(_ui_element(keyword, UNNAMED))
    if not found or _ui_element(keyword, UNNAMED) in rest:
        raise ValueError(f"{keyword} does not stand once in the object")
    return b"".join((first, _ui_element(keyword, uid), rest))


def _ui_element(keyword: str, uid: str) -> bytes:
    """A UID in Explicit VR Little Endian (PS3.5, 7.1.2)."""
    tag, value = Tag(keyword), uid.encode() + b"\0" * (len(uid) % 2)
    return struct.pack("<HH2sH", tag.group, tag.element, b"UI", len(value)) + value


def _file(dataset: Dataset, body: bytes) -> bytes:
    """The data set as a file in its transfer syntax (PS3.10, 7.1)."""
    if dataset.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian:
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        body = packer.compress(body) + packer.flush()
        body += b"\0" * (len(body) % 2)
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_file_meta_info(buffer, dataset.file_meta)
    return b"".join((b"\0" * 128, b"DICM", buffer.getvalue(), body))


def _encoded(dataset: Dataset) -> bytes:
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
