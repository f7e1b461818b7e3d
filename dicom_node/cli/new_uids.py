"""Copies of files with identifiers that can be sent, where de-identification left none or such as do not conform."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pydicom
from pydicom import config
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID

from analysis.series import derived_uid, read_series

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from analysis.series import InstanceHeader


def missing_identifiers(paths: Sequence[Path]) -> str | None:
    """What the files lack that a peer needs, in a sentence; None where they lack nothing."""
    lacking = [why for _, why in read_series(paths).unreadable if why.startswith("has no ")]
    if not lacking:
        return None
    kinds = sorted({keyword for why in lacking for keyword in why.removeprefix("has no ").split(", ")})
    return (
        f"{len(lacking)} files have no {', '.join(kinds)} and cannot be stored; "
        "--new-uids sends copies with identifiers that are derived from their content"
    )


@contextmanager
def with_new_uids(paths: Sequence[Path]) -> Generator[list[Path]]:
    """Copies of the images, with every missing identifier derived, and every one that does not conform replaced.

    What belongs together stays together, and the same files give the same identifiers. Pixels are not touched.
    """
    with tempfile.TemporaryDirectory(prefix="lungsentry-") as folder:
        copies: list[Path] = []
        headers = [header for series in read_series(paths, derive=True).series for header in series.headers]
        for number, header in enumerate(headers):
            copy = Path(folder) / f"{number:06d}.dcm"
            _copy(header, copy)
            copies.append(copy)
        yield copies


def _copy(header: InstanceHeader, copy: Path) -> None:
    with config.disable_value_validation():
        dataset = pydicom.dcmread(header.path)
        dataset.SOPClassUID = UID(header.sop_class_uid)
        dataset.SOPInstanceUID = _conformant(header.sop_instance_uid)
        dataset.SeriesInstanceUID = _conformant(header.series_instance_uid)
        dataset.StudyInstanceUID = _conformant(header.study_instance_uid)
        if header.frame_of_reference_uid:
            dataset.FrameOfReferenceUID = _conformant(header.frame_of_reference_uid)
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = UID(header.transfer_syntax_uid)
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
        dataset.file_meta = meta
        dataset.save_as(copy, enforce_file_format=True)


def _conformant(uid: str) -> UID:
    return UID(uid) if UID(uid).is_valid else UID(derived_uid("replaced", uid))
