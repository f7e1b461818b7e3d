"""Every transfer syntax and SOP class that is offered is stored byte for byte."""

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from dicom_node.receiver import STORAGE_SOP_CLASSES, TRANSFER_SYNTAXES

Call = Callable[..., Any]

EXPLICIT, DEFLATED, BIG_ENDIAN, IMPLICIT = (
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2",
)
ENCODERS = {
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.91",
}
"""Compressed syntaxes that can be made here; the pixel data of the others is only shaped like them."""


def encode(dataset: Dataset, syntax: str) -> bytes:
    """The data set's bytes in the syntax."""
    if syntax in ENCODERS:
        options = {"jls_error": 2} if syntax.endswith(".81") else {"j2k_cr": [4]} if syntax.endswith(".91") else {}
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = EXPLICIT
        dataset.compress(syntax, generate_instance_uid=False, **options)
    elif syntax not in {EXPLICIT, DEFLATED, BIG_ENDIAN, IMPLICIT}:
        dataset.PixelData = encapsulate([b"\xff\xd8 coded pixels \xff\xd9"])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
    elif syntax == BIG_ENDIAN:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
        dataset["PixelData"].VR = "OW"
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = syntax != BIG_ENDIAN, syntax == IMPLICIT
    write_dataset(buffer, dataset)
    encoded = buffer.getvalue()
    if syntax == DEFLATED:
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        encoded = deflater.compress(encoded) + deflater.flush()
        encoded += b"\0" * (len(encoded) % 2)
    return encoded


def test_every_syntax_is_kept_as_it_came(
    start_receiver: Call, associate: Call, send: Call, make_slice: Call, dataset_bytes: Callable[[Path], bytes]
) -> None:
    """For each transfer syntax: success, the bytes unchanged, the file meta naming the syntax, pixels as sent."""
    receiver = start_receiver()
    for syntax in TRANSFER_SYNTAXES:
        dataset = make_slice()
        pixels = np.frombuffer(dataset.PixelData, "<u2").reshape(64, 64)
        encoded = encode(dataset, syntax)
        assoc = associate(receiver, syntaxes=(syntax,))

        assert send(assoc, encoded, sop_instance_uid=dataset.SOPInstanceUID) == 0x0000, syntax
        assoc.release()

        (version,) = receiver.store.intake.find_versions(dataset.SOPInstanceUID)
        file = receiver.settings.archive_dir / version.path
        assert dataset_bytes(file) == encoded, syntax
        stored = dcmread(file)
        assert stored.file_meta.TransferSyntaxUID == syntax
        if syntax in ENCODERS | {EXPLICIT, DEFLATED, BIG_ENDIAN, IMPLICIT}:
            error = np.abs(stored.pixel_array.astype(int) - pixels).max()
            assert error == 0 or syntax.endswith((".81", ".91")), syntax


@pytest.mark.parametrize("sop_class", STORAGE_SOP_CLASSES)
def test_every_sop_class_is_taken(
    sop_class: str, start_receiver: Call, associate: Call, send: Call, make_slice: Call
) -> None:
    """CT in its three forms, and PET and NM as context, are stored."""
    receiver = start_receiver()
    dataset = make_slice(SOPClassUID=sop_class)
    assoc = associate(receiver, sop_class)

    status = send(assoc, encode(dataset, EXPLICIT), sop_instance_uid=dataset.SOPInstanceUID, sop_class_uid=sop_class)
    assoc.release()

    assert status == 0x0000
