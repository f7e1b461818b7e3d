"""Every transfer syntax and SOP class that is offered is stored byte for byte, whoever sends it."""

import os
import socket
import subprocess
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from dicom_node.network.contexts import STORAGE_SOP_CLASSES, TRANSFER_SYNTAXES
from dicom_node.simulator import send_files
from dicom_node.storage.archive import FileMeta

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

HIGH_THROUGHPUT = {"1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203"}
"""Unknown to dcmtk 3.6.7, and so to the Orthanc that is built on it."""
AS_IT_IS = {
    "1.2.840.10008.1.2.1": ("storescu", "-xe"),
    "1.2.840.10008.1.2": ("storescu", "-xi"),
    "1.2.840.10008.1.2.1.99": ("storescu", "-xd"),
    "1.2.840.10008.1.2.2": ("storescu", "-xb"),
    "1.2.840.10008.1.2.5": ("storescu", "-xr"),
    "1.2.840.10008.1.2.4.70": ("storescu", "-xs"),
    "1.2.840.10008.1.2.4.57": ("dcmsend", "-dn"),
    "1.2.840.10008.1.2.4.80": ("storescu", "-xt"),
    "1.2.840.10008.1.2.4.81": ("storescu", "-xu"),
    "1.2.840.10008.1.2.4.90": ("storescu", "-xv"),
    "1.2.840.10008.1.2.4.91": ("storescu", "-xw"),
    "1.2.840.10008.1.2.4.50": ("storescu", "-xy"),
    "1.2.840.10008.1.2.4.51": ("storescu", "-xx"),
}
"""How dcmtk is told to send a syntax as it is."""
FORWARD = """
function OnStoredInstance(instance, tags, metadata, origin)
  SendToModality(instance, "node")
end
"""


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


@pytest.fixture
def files(make_slice: Call, tmp_path: Path) -> dict[str, Path]:
    """A slice in each transfer syntax that dcmtk knows, by syntax."""
    folder = tmp_path / "sent"
    folder.mkdir()
    written: dict[str, Path] = {}
    for syntax in TRANSFER_SYNTAXES:
        if syntax not in HIGH_THROUGHPUT:
            dataset = make_slice(StudyID="1", SeriesNumber=1)
            encoded = encode(dataset, syntax)
            meta = FileMeta(
                sop_class_uid=dataset.SOPClassUID,
                sop_instance_uid=dataset.SOPInstanceUID,
                transfer_syntax_uid=syntax,
                calling_ae_title="SCANNER",
                called_ae_title="LUNGSENTRY",
            )
            written[syntax] = folder / f"{syntax}.dcm"
            written[syntax].write_bytes(meta.encode() + encoded)
    return written


def assert_pixels_are_those_sent(receiver: Any, files: dict[str, Path]) -> None:
    for syntax, file in files.items():
        sent = dcmread(file)
        (version,) = receiver.store.intake.find_versions(sent.SOPInstanceUID)
        stored = dcmread(receiver.settings.archive_dir / version.path)
        assert stored.file_meta.TransferSyntaxUID == syntax
        assert stored.PixelData == sent.PixelData, syntax


def test_dcmtk_sends_every_syntax(start_receiver: Call, dcmtk: Callable[[str], str], files: dict[str, Path]) -> None:
    """What storescu and dcmsend send as it is, is stored as it is: the pixel data is bit-identical."""
    receiver = start_receiver()
    titles = ("-aet", "SCANNER", "-aec", "LUNGSENTRY")

    for syntax, file in files.items():
        program, option = AS_IT_IS[syntax]
        done = subprocess.run(
            [dcmtk(program), option, *titles, "127.0.0.1", str(receiver.port), str(file)],
            env={**os.environ, "TCP_NODELAY": "1"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, (syntax, done.stderr)

    assert_pixels_are_those_sent(receiver, files)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # pynetdicom drops a failed socket
def test_orthanc_forwards_every_syntax(
    start_receiver: Call,
    orthanc: Callable[..., AbstractContextManager[None]],
    files: dict[str, Path],
    tmp_path: Path,
    eventually: Call,
) -> None:
    """What a PACS forwards is the pixel data that the PACS was sent, bit by bit."""
    receiver = start_receiver(accept_unknown_peers=True)
    (tmp_path / "forward.lua").write_text(FORWARD)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    node = {"node": ["LUNGSENTRY", "127.0.0.1", receiver.port]}

    with orthanc(tmp_path, port, LuaScripts=["forward.lua"], DicomModalities=node, DicomAlwaysAllowStore=True):
        report = send_files(
            list(files.values()), host="127.0.0.1", port=port, calling_ae_title="SCANNER", called_ae_title="PACS"
        )
        assert report.ok, [file.reason for file in report.not_stored]
        eventually(lambda: len(receiver.archived()) == len(files), "forwarded", 60)
        eventually(lambda: sum(one.instance_count for one in receiver.store.series.list()) == len(files), "indexed")

    assert_pixels_are_those_sent(receiver, files)


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
