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
    UID,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    CTImageStorage,
    ExplicitVRLittleEndian,
    generate_uid,
)
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification  # pyright: ignore[reportAttributeAccessIssue]

from alerts.artefact import REPORT_CLASSES
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


@contextmanager
def _taking(*sop_classes: str, got: list[tuple[str, str]]) -> Iterator[DicomChannel]:
    """The way to a PACS that takes these classes; the class and instance of what it got are noted."""

    def keep(event: evt.Event) -> int:
        got.append((str(event.request.AffectedSOPClassUID), str(event.request.AffectedSOPInstanceUID)))
        return 0x0000

    with _pacs(keep, *sop_classes) as port:
        yield DicomChannel(lambda: _remote(port))


def _remote(port: int) -> Remote:
    return Remote(ae_title="PACS", host="127.0.0.1", port=port, calling_ae_title="LUNGSENTRY", timeout_s=30)


@pytest.mark.parametrize("sop_class", REPORT_CLASSES)
def test_a_report_goes_in_the_first_form_that_the_peer_takes(sop_class: str, tmp_path: Path) -> None:
    """Comprehensive 3D SR, else Comprehensive SR, else Enhanced SR, each an object of its own; the receipt names it."""
    path = _report(tmp_path / "report.dcm")
    own = str(pydicom.dcmread(path).SOPInstanceUID)
    got: list[tuple[str, str]] = []
    with _taking(sop_class, got=got) as channel:
        answers = {channel.deliver(Parcel(delivery_id=1, path=path, sop_instance_uid=own)).answer for _ in range(2)}
    assert {one for one, _ in got} == {sop_class}
    first, second = (uid for _, uid in got)
    assert first == second
    if sop_class == Comprehensive3DSRStorage:
        assert (first, answers) == (own, {"0x0000"})
    else:
        assert first != own
        assert answers == {f"0x0000 as {UID(sop_class).name}"}


def test_a_form_that_was_refused_is_offered_again_after_a_day_or_a_check(tmp_path: Path) -> None:
    """So long the form that the peer took goes, even if by now it would take the first; then the first is offered."""
    parcel = Parcel(delivery_id=1, path=_report(tmp_path / "report.dcm"), sop_instance_uid=None)
    got: list[tuple[str, str]] = []
    ports, now = [0], [0.0]
    channel = DicomChannel(lambda: _remote(ports[-1]), monotonic=lambda: now[0])

    def form() -> str:
        channel.deliver(parcel)
        return got[-1][0]

    def keep(event: evt.Event) -> int:
        got.append((str(event.request.AffectedSOPClassUID), ""))
        return 0x0000

    both = (Comprehensive3DSRStorage, ComprehensiveSRStorage, Verification)
    with _pacs(keep, ComprehensiveSRStorage) as old, _pacs(keep, *both) as new:
        ports.append(old)
        assert form() == ComprehensiveSRStorage
        ports.append(new)
        assert form() == ComprehensiveSRStorage
        now[0] += 86_401
        assert form() == Comprehensive3DSRStorage
        ports.append(old)
        assert form() == ComprehensiveSRStorage
        ports.append(new)
        channel.check()
        assert form() == Comprehensive3DSRStorage
