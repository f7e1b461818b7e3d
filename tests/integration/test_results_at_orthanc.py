"""Every kind of result goes to a real PACS, in its order, and comes back as it was made."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from http.client import HTTPConnection
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from analysed_phantoms import NAME, PATIENT_ID, AnalysedFolder, analysed_phantom
from listeners import free_port
from pydicom.uid import ExplicitVRLittleEndian

from alerts import DICOM, SOP_CLASSES, ArtefactKind, Draft
from dicom_node.delivery import DicomChannel, Parcel
from dicom_node.peers.remote import Remote
from dicom_node.settings import DicomDestination, Policy
from dicom_node.work.publishing import deliveries_of, publish

KINDS = tuple(kind for kind in ArtefactKind if kind in SOP_CLASSES)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> AnalysedFolder:
    """A phantom with opacities."""
    return analysed_phantom(tmp_path_factory.mktemp("phantom"))


@pytest.fixture(scope="module")
def drafts(case: AnalysedFolder) -> dict[str, Draft]:
    """Every DICOM object of its result, by name."""
    published = publish(case.analysed, policy=Policy(), kinds=KINDS)
    assert published.decision.alert is not None
    return {draft.name: draft for draft in published.drafts if draft.media_type == DICOM}


def _data_set(file: bytes) -> bytes:
    """The data set of a file, inflated: everything but the meta information."""
    dataset = pydicom.dcmread(BytesIO(file))
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()[132 + 12 + dataset.file_meta.FileMetaInformationGroupLength :]


def test_what_a_destination_gets_is_what_it_asked_for(drafts: dict[str, Draft]) -> None:
    """Segments go before the report that refers to them, and a kind that is off goes not at all."""
    pacs = DicomDestination(ae_title="PACS", host="127.0.0.1", port=104, kinds=("sr", "opacities"))
    assert [one.artefact for one in deliveries_of(drafts.values(), [pacs])] == ["opacities.dcm", "report.dcm"]
    every = DicomDestination(ae_title="PACS", host="127.0.0.1", port=104, kinds=tuple(kind.value for kind in KINDS))
    sent = [drafts[one.artefact].kind for one in deliveries_of(drafts.values(), [every])]
    assert sent == sorted(sent, key=KINDS.index)
    assert set(sent) == set(KINDS)


def test_orthanc_gives_every_kind_back_as_it_was_made(
    drafts: dict[str, Draft],
    tmp_path: Path,
    orthanc: Callable[..., AbstractContextManager[None]],
) -> None:
    """Each is confirmed with success, and its data set comes back byte for byte, whatever syntax it went in."""
    port, http = free_port(), free_port()
    remote = Remote(ae_title="PACS", host="127.0.0.1", port=port, calling_ae_title="LUNGSENTRY", timeout_s=10)
    channel = DicomChannel(lambda: remote)
    server = {"HttpServerEnabled": True, "HttpPort": http, "AuthenticationEnabled": False, "RemoteAccessAllowed": False}
    server["UnknownSopClassAccepted"] = True  # it knows no label maps yet
    with orthanc(tmp_path, port, **server):
        for number, draft in enumerate(drafts.values()):
            path = tmp_path / draft.name
            path.write_bytes(draft.content)
            parcel = Parcel(delivery_id=number, path=path, sop_instance_uid=draft.sop_instance_uid)
            assert channel.deliver(parcel).answer == "0x0000"
        for draft in drafts.values():
            (found,) = json.loads(_asked(http, "POST", "/tools/lookup", draft.sop_instance_uid))
            file = _asked(http, "GET", f"/instances/{found['ID']}/file")
            assert _data_set(file) == _data_set(draft.content), draft.name


def _asked(port: int, method: str, path: str, body: str | None = None) -> bytes:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body)
        return connection.getresponse().read()
    finally:
        connection.close()


def test_the_patient_is_named_in_headers_alone(drafts: dict[str, Draft]) -> None:
    """Name and number stand in their own attributes, and nowhere else in any object."""
    for draft in drafts.values():
        dataset = pydicom.dcmread(BytesIO(draft.content))
        assert (str(dataset.PatientName), dataset.PatientID) == (NAME, PATIENT_ID), draft.name
        for keyword in ("PatientName", "PatientID"):
            delattr(dataset, keyword)
        buffer = BytesIO()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.save_as(buffer)
        for word in (*NAME.split("^"), PATIENT_ID):
            assert word.encode() not in buffer.getvalue(), (draft.name, word)
