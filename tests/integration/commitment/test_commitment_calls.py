"""Storage commitment: the answer arrives, on a new association and with real peers."""

import json
import socket
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from commitment_peers import CT, SCANNER, Line, action, asking, confirmation
from held_reactor import held_reactor
from listeners import free_port
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt

from db import CommitmentState, Peer, Store
from dicom_node.commitment import CommitmentService, Reporter
from dicom_node.commitment.messages import PUSH_MODEL, PUSH_MODEL_INSTANCE
from dicom_node.composition import node_sweeps
from dicom_node.failing_units import FailingUnits
from dicom_node.network.protocol import AssociationInfo
from dicom_node.peers.addresses import address_book
from dicom_node.peers.errors import Unreachable
from dicom_node.settings import Settings
from dicom_node.simulator import PhantomSpec, build_phantom, write_series
from dicom_node.storage.archive import Archive
from dicom_node.sweeps import Sweeps

pytestmark = [
    pytest.mark.usefixtures("dropped_sockets"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@contextmanager
def listening(ae_title: str, status: int = 0) -> Iterator[tuple[int, list[Dataset], list[Any]]]:
    """A scanner that waits for reports: its port, what it got, and the roles it was offered."""
    got: list[Dataset] = []
    roles: list[Any] = []

    def take(event: evt.Event) -> tuple[int, None]:
        got.append(event.event_information)
        roles.extend(event.assoc.requestor.role_selection.values())
        return status, None

    entity = AE(ae_title=ae_title)
    entity.require_called_aet = True
    entity.add_supported_context(PUSH_MODEL, scu_role=False, scp_role=True)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, take)])
    try:
        yield server.server_address[1], got, roles
    finally:
        server.shutdown()


def sweep(settings: Settings, store: Store) -> None:
    archive, book = Archive(settings.archive_dir), address_book(settings, store)
    for unit in Reporter(settings=settings.commitment, store=store, archive=archive, addresses=book).units():
        with suppress(Unreachable):
            unit.run()


def at(port: int, ae_title: str = "CT1") -> Peer:
    return Peer(ae_title=ae_title, called_ae_title=None, cidr=None, host="127.0.0.1", port=port)


def test_answer_on_a_new_association_when_the_first_has_ended(
    service: CommitmentService, settings: Settings, store: Store, keep: Callable[..., Path]
) -> None:
    """The scanner hung up before it confirmed: the node calls it, offers itself as SCP, and is heard, once."""
    keep("1.2.1", b"a" * 64)
    service.serve(SCANNER, action(asking((CT, "1.2.1"))), Line().send)
    service.ended(SCANNER)
    with listening("CT1") as (port, got, roles):
        store.peers.allow(at(port))

        sweep(settings, store)
        sweep(settings, store)

    (information,) = got
    assert information.TransactionUID == "1.2.9"
    assert [(role.scu_role, role.scp_role) for role in roles] == [(False, True)]
    (kept,) = store.commitments.list()
    assert (kept.state, kept.attempt, kept.committed_count) == (CommitmentState.ANSWERED, 2, 1)


@pytest.mark.parametrize("known", [True, False])
def test_a_peer_that_is_not_there_is_tried_again_later(
    settings: Settings, store: Store, archive: Archive, known: bool
) -> None:
    """Nobody listens, or where is not known: the answer stays, not due yet, with a cause that says what is wrong."""
    settings = settings.model_copy(
        update={"commitment": settings.commitment.model_copy(update={"same_association": False})}
    )
    service = CommitmentService(settings=settings.commitment, store=store, archive=archive)
    line = Line()
    service.serve(SCANNER, action(asking((CT, "1.2.1"))), line.send)
    assert len(line.heard) == 1
    if known:
        with listening("CT1") as (port, _, _):
            closed = port
        store.peers.allow(at(closed))

    sweep(settings, store)
    sweep(settings, store)

    (kept,) = store.commitments.list()
    assert (kept.state, kept.attempt) == (CommitmentState.PENDING, 1)
    assert ("cannot be reached" if known else "is not known") in kept.cause


def test_a_report_that_is_refused_is_tried_again(settings: Settings, store: Store, service: CommitmentService) -> None:
    """A failure status, on either association, is no confirmation."""
    line = Line()
    service.serve(SCANNER, action(asking((CT, "1.2.1"))), line.send)
    service.serve(SCANNER, confirmation(line.heard[1][0].MessageID, status=0x0110), line.send)
    with listening("CT1", status=0x0110) as (port, got, _):
        store.peers.allow(at(port))
        sweep(settings, store)

    assert len(got) == 1
    (kept,) = store.commitments.list()
    assert (kept.state, kept.attempt) == (CommitmentState.PENDING, 2)
    assert "0x0110" in kept.cause


@pytest.fixture
def node(settings: Settings, store: Store, receiving: Callable[..., Any]) -> Iterator[int]:
    """A running receiver that lets anybody in; its port."""
    assert store.status()
    receiver = settings.receiver.model_copy(
        update={
            "host": "127.0.0.1",
            "port": free_port(),
            "disk_watermark_bytes": 0,
            "accept_unknown_peers": True,
            "processes": 1,
        }
    )
    with receiving(settings.model_copy(update={"receiver": receiver})) as port:
        yield port


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Slices of a phantom."""
    return write_series(build_phantom(PhantomSpec.cardiac_ctac(matrix=128)), tmp_path_factory.mktemp("ct"))[:4]


def test_a_scanner_that_waits_gets_its_answer_on_its_association(
    node: int, store: Store, slices: list[Path], until: Callable[..., None]
) -> None:
    """Send, ask, wait: every slice just acknowledged is safe, told on the association that asked."""
    told: list[Dataset] = []
    heard = threading.Event()

    def take(event: evt.Event) -> tuple[int, None]:
        told.append(event.event_information)
        heard.set()
        return 0x0000, None

    datasets = [dcmread(path) for path in slices]
    scanner = AE(ae_title="CT1")
    scanner.add_requested_context(CT, ExplicitVRLittleEndian)
    scanner.add_requested_context(PUSH_MODEL)
    assoc = scanner.associate("127.0.0.1", node, ae_title="LUNGSENTRY", evt_handlers=[(evt.EVT_N_EVENT_REPORT, take)])
    with held_reactor(assoc):
        for dataset in datasets:
            assert assoc.send_c_store(dataset).Status == 0
    asked = asking(*((CT, dataset.SOPInstanceUID) for dataset in datasets))
    status, _ = assoc.send_n_action(asked, 1, PUSH_MODEL, PUSH_MODEL_INSTANCE)
    assert status.Status == 0
    assert heard.wait(20)
    until(lambda: store.commitments.list()[0].state is CommitmentState.ANSWERED, "the answer is confirmed")
    assoc.release()

    (information,) = told
    assert len(information.ReferencedSOPSequence) == len(slices)
    assert "FailedSOPSequence" not in information


def test_operation_that_is_not_served_gets_its_own_response(node: int) -> None:
    """A peer that asks for attributes (N-GET) hears that this is not done, as the response to what it asked."""
    heard: list[str] = []
    listen = [(evt.EVT_DIMSE_RECV, lambda event: heard.append(type(event.message).__name__))]
    scanner = AE(ae_title="CT1")
    scanner.add_requested_context(PUSH_MODEL)
    assoc = scanner.associate("127.0.0.1", node, ae_title="LUNGSENTRY", evt_handlers=listen)
    with held_reactor(assoc):
        status, _ = assoc.send_n_get([], PUSH_MODEL, PUSH_MODEL_INSTANCE)
    assoc.release()
    assert (heard, status.Status) == (["N_GET_RSP"], 0x0211)


def test_orthanc_is_answered(  # noqa: PLR0917 - fixtures
    node: int,
    settings: Settings,
    store: Store,
    slices: list[Path],
    orthanc: Callable[..., Any],
    until: Callable[..., None],
    tmp_path: Path,
) -> None:
    """A PACS that sends, asks and hangs up is called back, and then knows which instances are safe."""
    port, http = free_port(), free_port()
    store.peers.allow(Peer(ae_title="PACS", called_ae_title=None, cidr=None, host="127.0.0.1", port=port))
    known = {"node": {"AET": "LUNGSENTRY", "Host": "127.0.0.1", "Port": node}}

    def rest(path: str, body: bytes | None = None) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{http}{path}", data=body, timeout=20) as answer:
            return json.load(answer)

    with orthanc(
        tmp_path, port, DicomModalities=known, HttpServerEnabled=True, HttpPort=http, AuthenticationEnabled=False
    ):
        ids = [rest("/instances", path.read_bytes())["ID"] for path in slices]
        rest("/modalities/node/store", json.dumps(ids).encode())
        uids = [str(dcmread(path).SOPInstanceUID) for path in slices]
        asked = [{"SOPClassUID": CT, "SOPInstanceUID": uid} for uid in [*uids, "1.2.404"]]
        ticket = rest("/modalities/node/storage-commitment", json.dumps({"DicomInstances": asked}).encode())

        def answered() -> bool:
            sweep(settings, store)
            return rest(ticket["Path"])["Status"] != "Pending"

        until(answered, "Orthanc has its answer")
        report = rest(ticket["Path"])

    assert {one["SOPInstanceUID"] for one in report["Success"]} == set(uids)
    assert [(one["SOPInstanceUID"], one["FailureReason"]) for one in report["Failures"]] == [("1.2.404", 0x0112)]


@pytest.fixture
def until() -> Callable[..., None]:
    """Wait until a condition holds; fail with its name after the deadline."""

    def wait(condition: Callable[[], bool], what: str) -> None:
        ends = time.monotonic() + 30
        pause = threading.Event()
        while not condition():
            assert time.monotonic() < ends, f"did not happen: {what}"
            pause.wait(0.05)

    return wait


def test_a_silent_peer_holds_up_no_other(
    settings: Settings, store: Store, service: CommitmentService, until: Callable[..., None]
) -> None:
    """While a peer takes the connection and says nothing, the scheduler's next peer gets all of its answers."""
    for title in ("AAA", "CT1", "CT1"):
        caller = AssociationInfo(
            association_id=uuid.uuid4().hex, calling_ae_title=title, called_ae_title="LUNGSENTRY", address="127.0.0.1"
        )
        uid = f"1.2.{uuid.uuid4().int}"
        service.serve(caller, action(asking((CT, "1.2.1"), transaction=uid)), Line().send)
        service.ended(caller)
    (one,) = [sweep for sweep in node_sweeps(settings, store, {}) if sweep.name == "commitments"]
    with socket.create_server(("127.0.0.1", 0)) as silent, listening("CT1") as (port, got, _):
        store.peers.allow(at(silent.getsockname()[1], "AAA"))
        store.peers.allow(at(port))
        Sweeps([one], leads=lambda: True, failing=FailingUnits(store.failing_units)).tick(one)
        until(lambda: len(got) == 2, "both answers of the peer that listens")
    assert {kept.calling_ae_title for kept in store.commitments.list([CommitmentState.ANSWERED])} == {"CT1"}
