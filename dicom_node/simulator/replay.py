"""A real series again, as if scanned anew: the same pixels and headers under new UIDs."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydicom import DataElement, Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import generate_uid

from dicom_node.simulator.errors import NothingToReplay
from dicom_node.simulator.series import UID_ROOT

_STANDARD_ROOT = "1.2.840.10008."
_NAMES_OF_KINDS = ("ClassUID", "SyntaxUID", "SyntaxesUID", "SchemeUID", "CodingSchemeUID", "ContextUID", "MappingUID")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedPatient:
    """Who the replayed examination is said to be of."""

    patient_id: str
    patient_name: str


def replay(
    files: Iterable[Path], folder: Path, *, salt: str | None = None, patient: ReplayedPatient | None = None
) -> list[Path]:
    """Write copies of DICOM files under new UIDs into a folder; pixel data stays as it is, byte for byte.

    Studies, series, instances, frames of reference and references among them are renamed alike, from the salt
    (drawn at random where none is given). Files that are not DICOM are passed over.

    Raises:
        NothingToReplay: none of the files is DICOM.
    """
    chosen_salt = salt or uuid.uuid4().hex
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for file in list(files):
        if not file.is_file():
            continue
        try:
            dataset = dcmread(file)
        except InvalidDicomError:
            continue
        _rename(dataset, chosen_salt)
        if patient is not None:
            dataset.PatientID = patient.patient_id
            dataset.PatientName = patient.patient_name
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        path = folder / f"{len(written) + 1:05d}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        written.append(path)
    if not written:
        raise NothingToReplay
    return written


def _rename(dataset: Dataset, salt: str) -> None:
    """Give every UID that names a thing, not a kind of thing, its new value, at every depth."""
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                _rename(item, salt)
        elif element.VR == "UI" and _names_a_thing(element):
            values = element.value if element.VM > 1 else [element.value]
            renamed = [_renamed(str(value), salt) for value in values]
            element.value = renamed if element.VM > 1 else renamed[0]


def _names_a_thing(element: DataElement) -> bool:
    return bool(element.value) and not element.tag.is_private and not element.keyword.endswith(_NAMES_OF_KINDS)


def _renamed(uid: str, salt: str) -> str:
    if uid.startswith(_STANDARD_ROOT):
        return uid
    return generate_uid(prefix=UID_ROOT, entropy_srcs=[salt, uid])
