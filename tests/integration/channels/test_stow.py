"""Objects go to Orthanc by STOW-RS, and another library reads the very bytes back; what it answers decides the rest."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient
from listeners import free_port
from message_node import message_node
from store_bench import STUDY

from alerts import DeliveryState
from dicom_node.delivery import DeliveryError, Parcel, Receipt, Undeliverable, Unreachable
from dicom_node.delivery.stow import StowChannel
from dicom_node.settings import StowDestination

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


def _destination(port: int, **other: Any) -> StowDestination:
    return StowDestination(**({"name": "W", "url": f"http://127.0.0.1:{port}/dicom-web"} | other))


@pytest.fixture
def pacs(
    tmp_path: Path, orthanc: Callable[..., AbstractContextManager[None]]
) -> Callable[[int], AbstractContextManager[None]]:
    """Orthanc with its DICOMweb plug-in on a port for HTTP."""
    if not PLUGIN.exists():
        pytest.skip("Orthanc's DICOMweb plug-in is not installed (Debian package orthanc-dicomweb)")
    folder = tmp_path / "orthanc"
    folder.mkdir()

    def run(port: int) -> AbstractContextManager[None]:
        return orthanc(
            folder,
            free_port(),
            HttpServerEnabled=True,
            HttpPort=port,
            RemoteAccessAllowed=False,
            RegisteredUsers={"node": "opensesame"},
            AuthenticationEnabled=True,
            Plugins=[str(PLUGIN)],
            DicomWeb={"Enable": True, "Root": "/dicom-web/"},
        )

    return run


def _read_back(port: int) -> list[pydicom.Dataset]:
    from requests import Session

    with Session() as session:
        session.auth = ("node", "opensesame")
        return DICOMwebClient(f"http://127.0.0.1:{port}/dicom-web", session=session).retrieve_study(STUDY)


def test_orthanc_that_is_down_and_then_up_gives_every_object_back(
    tmp_path: Path, pacs: Callable[[int], AbstractContextManager[None]]
) -> None:
    """Down: the reports wait. Up: each arrives once, and is read back as it was sent; then it is there already."""
    port = free_port()
    (tmp_path / "password").write_text("opensesame\n")
    settings = _destination(port, user="node", password_file=tmp_path / "password")
    channel = StowChannel(settings, timeout_s=10)
    with message_node(tmp_path, settings) as node:
        for number in range(2):
            node.flag(number, destinations="W")
            node.tick()
        assert node.states() == [DeliveryState.PENDING] * 2
        with pytest.raises(Unreachable):
            channel.check()
        with pacs(port):
            while DeliveryState.PENDING in node.states():
                node.tick()
            assert node.states() == [DeliveryState.SENT] * 2
            assert "answered a query with 200" in channel.check()
            got = {one.SOPInstanceUID: one for one in _read_back(port)}
            sent = [pydicom.dcmread(path) for path in node.settings.results_dir.rglob("*.dcm")]
            assert {one.SOPInstanceUID for one in sent} == set(got)
            assert all(got[one.SOPInstanceUID] == one for one in sent)
            (first, _) = node.deliveries()
            node.store.deliveries.retry(first.id, "ann")
            node.tick()
            assert node.states() == [DeliveryState.SENT] * 2
            (tmp_path / "password").write_text("wrong\n")
            with pytest.raises(DeliveryError, match="401") as refused:
                channel.check()
            assert refused.value.transient


@dataclass
class _Answers:
    status: int
    told: Any
    bodies: list[bytes] = field(default_factory=list)


@contextmanager
def _answering(answers: _Answers) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            answers.bodies.append(self.rfile.read(int(self.headers["content-length"])))
            body = answers.told if isinstance(answers.told, bytes) else json.dumps(answers.told).encode()
            self.send_response(answers.status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def _failed(reason: int) -> dict[str, Any]:
    return {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [reason]}}]}}


STORED = {"00081199": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": ["1.2"]}}]}}


@pytest.mark.parametrize(
    ("status", "told", "receipt"),
    [
        (200, STORED, Receipt(answer="200")),
        (200, b"", Receipt(answer="200")),
        (202, STORED, Receipt(answer="202", warning=True)),
        (409, _failed(0x0111), Receipt(answer="409 0x0111", warning=True)),
    ],
)
def test_what_is_stored_has_arrived(tmp_path: Path, status: int, told: Any, receipt: Receipt) -> None:
    """Also with a warning, and where it was there already; the file's bytes are one part of the request."""
    file = tmp_path / "report.dcm"
    file.write_bytes(bytes(range(256)) * 4000)
    answers = _Answers(status=status, told=told)
    with _answering(answers) as port:
        parcel = Parcel(delivery_id=1, path=file, sop_instance_uid="1.2")
        assert StowChannel(_destination(port), timeout_s=10).deliver(parcel) == receipt
    assert file.read_bytes() in answers.bodies[0]


@pytest.mark.parametrize(
    ("status", "told", "transient"),
    [
        (409, _failed(0xA700), True),
        (409, _failed(0x0110), True),
        (409, _failed(0x0122), False),
        (202, _failed(0xA900), False),
        (409, b"", False),
        (200, {"00081190": {"vr": "UR"}}, False),
        (200, b"<html>", True),
        (503, b"", True),
        (401, b"", True),
        (400, b"", False),
        (415, b"", False),
        (302, b"", False),
    ],
)
def test_what_is_not_stored_is_permanent_or_of_the_moment(
    tmp_path: Path, status: int, told: Any, transient: bool
) -> None:
    """By the reason where there is one, else by the status."""
    file = tmp_path / "report.dcm"
    file.write_bytes(b"DICM")
    with _answering(_Answers(status=status, told=told)) as port:
        channel = StowChannel(_destination(port), timeout_s=10)
        with pytest.raises(DeliveryError) as refused:
            channel.deliver(Parcel(delivery_id=1, path=file, sop_instance_uid=None))
    assert refused.value.transient is transient


def test_missing_file_and_silence_are_told_apart(tmp_path: Path) -> None:
    """What is not there never goes; who says nothing is asked again."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        channel = StowChannel(_destination(silent.getsockname()[1]), timeout_s=0.2)
        with pytest.raises(Undeliverable):
            channel.deliver(Parcel(delivery_id=1, path=tmp_path / "gone", sop_instance_uid=None))
        (tmp_path / "there").write_bytes(b"DICM")
        with pytest.raises(Unreachable, match="too long"):
            channel.deliver(Parcel(delivery_id=1, path=tmp_path / "there", sop_instance_uid=None))
