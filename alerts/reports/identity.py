"""UIDs are derived from what they identify, never drawn at random: equal content, equal UIDs; other content, others."""

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Final

from pydicom.dataset import Dataset
from pydicom.uid import UID

_NAMESPACE = uuid.UUID("8c0a3f5e-6f0b-5d2c-9a41-3b7f2d1c9e64")
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
    """``name_object`` for the objects of one series, which has the UID of what they hold together."""
    digests: list[str] = []
    for dataset in datasets:
        _name(dataset, UNNAMED, UNNAMED)
        digests.append(hashlib.sha256(_encoded(dataset)).hexdigest())
    series_instance_uid = derived_uid(f"{kind} series", *digests)
    for dataset, digest in zip(datasets, digests, strict=True):
        _name(dataset, series_instance_uid, derived_uid(f"{kind} instance", digest))
        if transfer_syntax_uid is not None:
            dataset.file_meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    return tuple(
        NamedObject(
            sop_class_uid=str(dataset.SOPClassUID),
            sop_instance_uid=str(dataset.SOPInstanceUID),
            series_instance_uid=series_instance_uid,
            content=_encoded(dataset),
        )
        for dataset in datasets
    )


def tracking_uid(series_instance_uid: str, identifier: str) -> str:
    """The UID that tracks one finding of a series, through all reports on it."""
    return derived_uid("tracking", identifier, series_instance_uid)


def _name(dataset: Dataset, series_instance_uid: str, sop_instance_uid: str) -> None:
    dataset.SeriesInstanceUID = series_instance_uid
    dataset.SOPInstanceUID = sop_instance_uid
    dataset.file_meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid)


def _encoded(dataset: Dataset) -> bytes:
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
