"""Objects go to a PACS by C-STORE, and whatever keeps them from arriving is told as permanent or transient."""

import gc
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    Comprehensive3DSRStorage,
    CTImageStorage,
    ExplicitVRLittleEndian,
    generate_uid,
)
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification  # pyright: ignore[reportAttributeAccessIssue]

from dicom_node.delivery import (
    Busy,
    DeliveryError,
    DicomChannel,
    Parcel,
    ProcessingFailure,
    Receipt,
    Refused,
    Undeliverable,
    Unreachable,
)
from dicom_node.peers.remote import Remote


def _deliver(path: Path, port: int, *, called: str = "PACS") -> Receipt:
    remote = Remote(ae_title=called, host="127.0.0.1", port=port, calling_ae_title="LUNGSENTRY", timeout_s=30)
    return DicomChannel(lambda: remote).deliver(Parcel(delivery_id=1, path=path, sop_instance_uid=None))


def _report(path: Path) -> Path:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = Comprehensive3DSRStorage, generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.Modality = "SR"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(path, enforce_file_format=True)
    return path


@contextmanager
def _pacs(reply: Callable[[evt.Event], int], *sop_classes: str) -> Iterator[int]:
    entity = AE(ae_title="PACS")
    entity.require_called_aet = True
    for sop_class in sop_classes or (Comprehensive3DSRStorage,):
        entity.add_supported_context(sop_class, ExplicitVRLittleEndian if sop_class != Verification else None)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, reply)])
    assert server is not None
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()


def test_object_arrives_as_it_is(tmp_path: Path) -> None:
    """The PACS holds the object that was sent, and its success is the receipt."""
    got: list[Dataset] = []

    def keep(event: evt.Event) -> int:
        got.append(event.dataset)
        return 0x0000

    path = _report(tmp_path / "report.dcm")
    with _pacs(keep) as port:
        receipt = _deliver(path, port)
    assert receipt == Receipt(answer="0x0000")
    assert [dataset.SOPInstanceUID for dataset in got] == [pydicom.dcmread(path).SOPInstanceUID]


@pytest.mark.parametrize(
    ("status", "error", "transient"),
    [(0xA700, Busy, True), (0x0110, ProcessingFailure, True), (0xA900, Refused, False), (0xC000, Refused, False)],
)
def test_failure_status_decides_whether_to_try_again(
    tmp_path: Path, status: int, error: type[DeliveryError], transient: bool
) -> None:
    """Out of resources is worth another attempt, a refusal of the object is not; the status is named."""
    with _pacs(lambda _event: status) as port, pytest.raises(error, match=f"0x{status:04X}") as told:
        _deliver(_report(tmp_path / "r.dcm"), port)
    assert told.value.transient is transient


def test_warning_counts_as_arrived(tmp_path: Path) -> None:
    """A PACS that coerces attributes (0xB000) has the object."""
    with _pacs(lambda _event: 0xB000) as port:
        assert _deliver(_report(tmp_path / "r.dcm"), port).warning


def test_object_that_is_there_already_counts_as_arrived(tmp_path: Path) -> None:
    """A PACS that answers Duplicate SOP Instance (0x0111) has what it was to have."""
    with _pacs(lambda _event: 0x0111) as port:
        assert _deliver(_report(tmp_path / "r.dcm"), port).answer == "0x0111"


def test_check_asks_without_giving_anything() -> None:
    """C-ECHO on the way that deliveries go: answered, or the reason why not."""
    entity = AE(ae_title="PACS")
    entity.add_supported_context(Verification)
    server = entity.start_server(("127.0.0.1", 0), block=False)
    assert server is not None
    port = server.socket.getsockname()[1]
    remote = Remote(ae_title="PACS", host="127.0.0.1", port=port, calling_ae_title="LUNGSENTRY", timeout_s=30)
    channel = DicomChannel(lambda: remote)
    assert "answered C-ECHO with success" in channel.check()
    server.shutdown()
    with pytest.raises(Unreachable):
        channel.check()


def test_peer_without_the_sop_class_is_permanent(tmp_path: Path) -> None:
    """A PACS that takes no structured report is not asked again."""
    with (
        _pacs(lambda _event: 0, CTImageStorage) as port,
        pytest.raises(Refused, match="presentation context"),
    ):
        _deliver(_report(tmp_path / "r.dcm"), port)


def test_rejected_association_names_the_reason(tmp_path: Path) -> None:
    """A wrong AE title is told in the peer's words, and tried again: an administrator may mend it."""
    with _pacs(lambda _event: 0) as port, pytest.raises(Unreachable, match="Called AE title not recognised"):
        _deliver(_report(tmp_path / "r.dcm"), port, called="OTHER")


@pytest.mark.filterwarnings("ignore:Exception ignored in.*socket")  # pynetdicom leaves a refused socket to the GC
def test_silent_host_is_transient(tmp_path: Path) -> None:
    """Nobody at the port: worth another attempt."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(Unreachable):
        _deliver(_report(tmp_path / "r.dcm"), port)
    gc.collect()


def test_missing_file_is_permanent(tmp_path: Path) -> None:
    """A report that is no longer there is not looked for again."""
    with pytest.raises(Undeliverable):
        _deliver(tmp_path / "gone.dcm", 1)
