"""File meta information (PS3.10 section 7.1) made whole: some archives leave out the SOP Instance UID."""

import shutil
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pynetdicom.dsutils import split_dataset

__all__ = ["with_whole_meta"]

_PREAMBLE = b"\0" * 128 + b"DICM"


def with_whole_meta(path: Path, folder: Path) -> tuple[Path, FileMetaDataset]:
    """The file and its meta information; a copy in ``folder``, its data set byte for byte, where UIDs were missing.

    Raises:
        InvalidDicomError, AttributeError, OSError: it is no DICOM file, has no such UIDs at all, or cannot be read.
    """
    dataset = dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID", "SOPInstanceUID"])
    meta = dataset.file_meta
    if "MediaStorageSOPClassUID" in meta and "MediaStorageSOPInstanceUID" in meta:
        return path, meta
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    _, dataset_offset = split_dataset(path)
    copy = folder / f"{len(list(folder.iterdir())):06d}.dcm"
    with path.open("rb") as source, copy.open("wb") as target:
        head = DicomBytesIO()
        write_file_meta_info(head, meta, enforce_standard=True)
        target.write(_PREAMBLE + head.getvalue())
        source.seek(dataset_offset)
        shutil.copyfileobj(source, target)
    return copy, meta
