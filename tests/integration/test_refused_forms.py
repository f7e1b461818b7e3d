"""What a destination does not take: the rest arrives, in forms that it takes, and it is not asked again for a day."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from analysed_phantoms import analysed_phantom
from message_node import MessageNode, message_node
from pydicom.uid import (
    AllTransferSyntaxes,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    KeyObjectSelectionDocumentStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification  # pyright: ignore[reportAttributeAccessIssue]
from store_bench import STUDY
from typer.testing import CliRunner

from alerts import DICOM, SOP_CLASSES, Draft
from alerts.delivery import DeliveryState
from dicom_node.cli import app
from dicom_node.settings import Destination, DicomDestination, Policy, StowDestination
from dicom_node.storage.artefacts import ArtefactFolder
from dicom_node.work.publishing import publish

KINDS = ("opacities", "summary", "sr", "key_objects")
ENTRIES = [SegmentationStorage, SecondaryCaptureImageStorage, KeyObjectSelectionDocumentStorage]
SEEN = tuple[str, pydicom.Dataset]
Pacs = Callable[[set[str], list[SEEN]], "Iterator[Destination]"]


@pytest.fixture(scope="module")
def drafts(tmp_path_factory: pytest.TempPathFactory) -> list[Draft]:
    """Segmentation, page, report and selection of a phantom, in the order in which they go."""
    case = analysed_phantom(tmp_path_factory.mktemp("phantom"))
    kinds = [kind for kind in SOP_CLASSES if kind.value in KINDS]
    made = [one for one in publish(case.analysed, policy=Policy(), kinds=kinds).drafts if one.media_type == DICOM]
    return sorted(made, key=lambda one: KINDS.index(one.kind.value))


@contextmanager
def _dicom(takes: set[str], got: list[SEEN]) -> Iterator[Destination]:
    """A Storage SCP that offers a context for what it takes."""

    def keep(event: evt.Event) -> int:
        got.append((str(event.request.AffectedSOPClassUID), event.dataset))
        return 0x0000

    entity = AE(ae_title="PACS")
    for sop_class in (*takes, Verification):
        entity.add_supported_context(sop_class, AllTransferSyntaxes)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, keep)])
    assert server is not None
    try:
        yield DicomDestination(ae_title="PACS", host="127.0.0.1", port=server.socket.getsockname()[1], kinds=KINDS)
    finally:
        server.shutdown()


@contextmanager
def _stow(takes: set[str], got: list[SEEN]) -> Iterator[Destination]:
    """A server of STOW-RS that fails the rest with 0x0122."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            boundary = re.search(r"boundary=(\w+)", self.headers["content-type"])
            assert boundary is not None
            part = body.split(b"\r\n\r\n", 1)[1].rsplit(f"\r\n--{boundary[1]}--".encode(), 1)[0]
            dataset = pydicom.dcmread(BytesIO(part))
            taken = dataset.SOPClassUID in takes
            if taken:
                got.append((str(dataset.SOPClassUID), dataset))
            tag, item = ("00081199", {}) if taken else ("00081198", {"00081197": {"vr": "US", "Value": [0x0122]}})
            self._answer(200 if taken else 409, json.dumps({tag: {"vr": "SQ", "Value": [item]}}).encode())

        def do_GET(self) -> None:
            self._answer(200, b"[]")

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield StowDestination(name="PACS", url=f"http://127.0.0.1:{server.server_address[1]}", kinds=KINDS)
        finally:
            server.shutdown()
            thread.join()


def _record(node: MessageNode, drafts: list[Draft], number: int) -> None:
    """A flagged series of a study of its own, whose objects are told apart by their rows, and all that is due done."""
    folder = ArtefactFolder(node.settings.results_dir)
    if number > 1:
        drafts = [replace(one, sop_instance_uid=f"{one.sop_instance_uid}.{number}") for one in drafts]
    job = node.bench.running(f"{STUDY}.{number}", study=f"{STUDY}.100.{number}")
    node.bench.record(job, artefacts=[folder.put(one) for one in drafts], destinations=["PACS"])
    while DeliveryState.PENDING in node.states():
        node.tick()


def _reports_named(selection: pydicom.Dataset) -> set[tuple[str, str, str]]:
    """Class, instance and series of the reports that the selection names in its evidence."""
    return {
        (one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID, series.SeriesInstanceUID)
        for study in selection.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for one in series.ReferencedSOPSequence
        if one.ReferencedSOPClassUID in {Comprehensive3DSRStorage, ComprehensiveSRStorage}
    }


@pytest.mark.parametrize("pacs", [_dicom, _stow], ids=["C-STORE", "STOW-RS"])
def test_the_rest_arrives_in_the_forms_that_are_taken(pacs: Pacs, drafts: list[Draft], tmp_path: Path) -> None:
    """No segmentation and no 3D report: page, simpler report without segments, and a selection that names that one."""
    got: list[SEEN] = []
    with pacs({*ENTRIES[1:], ComprehensiveSRStorage}, got) as destination, message_node(tmp_path, destination) as node:  # type: ignore[attr-defined]
        _record(node, drafts, 1)
        sent = DeliveryState.SENT
        assert node.states() == [DeliveryState.FAILED, sent, sent, sent]
        assert [one for one, _ in got] == [
            SecondaryCaptureImageStorage,
            ComprehensiveSRStorage,
            KeyObjectSelectionDocumentStorage,
        ]
        (_, _), (_, report), (_, selection) = got
        assert "1411" not in {
            one.ContentTemplateSequence[0].TemplateIdentifier
            for container in report.ContentSequence
            for one in container.get("ContentSequence", [])
            if "ContentTemplateSequence" in one
        }
        named = (report.SOPClassUID, report.SOPInstanceUID, report.SeriesInstanceUID)
        assert _reports_named(selection) == {named}
        assert report.SOPInstanceUID in {
            one.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
            for one in selection.ContentSequence
            if "ReferencedSOPSequence" in one
        }
        refused = {one.sop_class_uid: one.name for one in node.store.destinations.refused("PACS")}
        assert set(refused) == {SegmentationStorage, Comprehensive3DSRStorage}


def _command(node: MessageNode, destination: Destination, *words: str) -> str:
    """What `destinations` says; the settings in a file are the node's."""
    data = node.settings.node.data_dir
    file = data / "lungsentry.toml"
    file.write_text(
        f'[node]\ndata_dir = "{data}"\n[database]\nurl = "{node.settings.database_url}"\n'
        f'[[destinations]]\nchannel = "stow"\nname = "PACS"\nurl = "{destination.where}"\n'
    )
    done = CliRunner().invoke(app, ["--config", str(file), "destinations", *words])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize("by", ["a day", "resume", "retry", "test"])
def test_what_was_refused_is_offered_again_after_a_day_or_by_a_person(
    by: str, drafts: list[Draft], tmp_path: Path
) -> None:
    """Until then it is not offered, and the simpler report goes first, whatever the destination would take by now."""
    got: list[SEEN] = []
    takes = {*ENTRIES[1:], ComprehensiveSRStorage}
    earlier = timedelta(days=1, seconds=5) if by == "a day" else timedelta()
    now = [datetime.now(UTC) - earlier]  # the lanes, and the command, go by the clock of the machine
    with _stow(takes, got) as destination, message_node(tmp_path, destination, clock=lambda: now[0]) as node:
        _record(node, drafts, 1)
        takes |= {SegmentationStorage, Comprehensive3DSRStorage}
        got.clear()
        _record(node, drafts, 2)
        assert [one for one, _ in got][:2] == [SecondaryCaptureImageStorage, ComprehensiveSRStorage]
        (failed, _) = node.store.deliveries.list([DeliveryState.FAILED])
        assert "Segmentation Storage was refused at" in (failed.cause or "")
        got.clear()
        match by:
            case "a day":
                now[0] += timedelta(days=1)
                _record(node, drafts, 3)
            case "resume":
                node.store.destinations.resume("PACS", "ann")
                _record(node, drafts, 3)
            case "retry":
                node.store.deliveries.retry(failed.id, "ann")
                node.tick()
            case _:
                (listed,) = json.loads(_command(node, destination, "list", "--json"))["destinations"]
                assert [one["sop_class_uid"] for one in listed["refuses"]] == sorted(
                    [SegmentationStorage, Comprehensive3DSRStorage]
                )
                _command(node, destination, "test", "PACS")
                _record(node, drafts, 3)
        assert node.store.destinations.refused() == ()
        assert {SegmentationStorage} <= {one for one, _ in got}


def test_each_object_is_itself_where_everything_is_taken(drafts: list[Draft], tmp_path: Path) -> None:
    """The bytes of the artefacts arrive, and the selection names the report as it is."""
    got: list[SEEN] = []
    takes = {*ENTRIES, Comprehensive3DSRStorage}
    with _stow(takes, got) as destination, message_node(tmp_path, destination) as node:
        _record(node, drafts, 1)
    assert [str(one.SOPInstanceUID) for _, one in got] == [one.sop_instance_uid for one in drafts]
