"""Storage commitment: what is asked, what is answered, and that the answer arrives."""

import io
import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.dimse_messages import N_ACTION_RQ, N_EVENT_REPORT_RSP
from pynetdicom.dimse_primitives import N_ACTION, N_EVENT_REPORT
from pynetdicom.dsutils import decode, encode
from pynetdicom.pdu import P_DATA_TF
from typer.testing import CliRunner

from db import CommitmentState, Peer, Store
from dicom_node.archive import Archive
from dicom_node.cli.app import app
from dicom_node.commitment import CommitmentDesk, Reporter, judge
from dicom_node.commitment.messages import PUSH_MODEL, PUSH_MODEL_INSTANCE
from dicom_node.receiver.protocol import AssociationInfo, Message
from dicom_node.settings import Settings
from dicom_node.simulator import PhantomSpec, build_phantom, write_series
from dicom_node.simulator.reactor import held_reactor

pytestmark = [
    pytest.mark.usefixtures("dropped_sockets"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

CT, PET = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.128"
SCANNER = AssociationInfo(association_id="a", calling_ae_title="CT1", called_ae_title="LUNGSENTRY", address="127.0.0.1")


def asking(*references: tuple[str, str], transaction: str | None = "1.2.9") -> Dataset:
    """The data set of a request."""
    dataset = Dataset()
    if transaction:
        dataset.TransactionUID = transaction
    items = []
    for sop_class, instance in references:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, instance
        items.append(item)
    dataset.ReferencedSOPSequence = items
    return dataset


def message(primitive: Any, wire: Any) -> Message:
    """A message as the receiver hands it over."""
    wire.primitive_to_message(primitive)
    dataset = wire.data_set.getvalue() if wire.data_set else b""
    return Message(
        context_id=1,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        command=encode(wire.command_set, True, True),
        dataset=dataset,
    )


def action(dataset: Dataset | bytes, *, kind: int = 1, instance: str = PUSH_MODEL_INSTANCE) -> Message:
    """An N-ACTION request."""
    request = N_ACTION()
    request.MessageID = 7
    request.RequestedSOPClassUID, request.RequestedSOPInstanceUID, request.ActionTypeID = PUSH_MODEL, instance, kind
    encoded = dataset if isinstance(dataset, bytes) else encode(dataset, False, True)
    request.ActionInformation = io.BytesIO(encoded)
    return message(request, N_ACTION_RQ())


def confirmation(message_id: int, status: int = 0) -> Message:
    """The peer's N-EVENT-REPORT response."""
    response = N_EVENT_REPORT()
    response.MessageIDBeingRespondedTo, response.Status = message_id, status
    return message(response, N_EVENT_REPORT_RSP())


class Line:
    """What a peer hears: command sets and data sets, put together from PDUs."""

    def __init__(self) -> None:
        self.heard: list[tuple[Dataset, Dataset | None]] = []

    def send(self, pdus: bytes) -> None:
        """Take PDUs, none longer than every peer takes."""
        parts = {True: b"", False: b""}
        while pdus:
            length = 6 + int.from_bytes(pdus[2:6], "big")
            pdu = P_DATA_TF()
            pdu.decode(pdus[:length])
            pdus = pdus[length:]
            assert length <= 4096 + 6
            for item in pdu.presentation_data_value_items:
                value = item.presentation_data_value
                is_command, is_last = bool(value[0] & 1), bool(value[0] & 2)
                parts[is_command] += value[1:]
                if is_last and not is_command:
                    self.heard[-1] = (self.heard[-1][0], decode(io.BytesIO(parts[False]), False, True))
                    parts[False] = b""
                elif is_last:
                    self.heard.append((decode(io.BytesIO(parts[True]), True, True), None))
                    parts[True] = b""

    @property
    def statuses(self) -> list[int]:
        """The statuses of the responses."""
        return [command.Status for command, _ in self.heard if "Status" in command]


@pytest.fixture
def desk(settings: Settings, store: Store, archive: Archive) -> CommitmentDesk:
    return CommitmentDesk(settings=settings, store=store, archive=archive)


def test_only_what_is_durable_is_confirmed(store: Store, archive: Archive, keep: Callable[..., Path]) -> None:
    """Whole: safe. Never seen, of another class, altered on disk, or gone from disk: not safe, each with its reason."""
    keep("1.2.1", b"a" * 64)
    keep("1.2.2", b"b" * 64).write_bytes(b"altered")
    keep("1.2.3", b"c" * 64).unlink()
    references = [(CT, "1.2.1"), (CT, "1.2.404"), (PET, "1.2.1"), (CT, "1.2.2"), (CT, "1.2.3")]

    judgement = judge(store, archive, references)

    assert judgement.committed == ((CT, "1.2.1"),)
    assert dict(judgement.failed) == {
        (CT, "1.2.404"): 0x0112,
        (PET, "1.2.1"): 0x0119,
        (CT, "1.2.2"): 0x0110,
        (CT, "1.2.3"): 0x0110,
    }


def test_the_newest_version_is_judged(store: Store, archive: Archive, keep: Callable[..., Path]) -> None:
    """Sent twice with other bytes: that the first is whole does not make the second safe."""
    keep("1.2.1", b"a" * 64)
    keep("1.2.1", b"b" * 64).unlink()
    assert not judge(store, archive, [(CT, "1.2.1")]).committed


def test_answer_on_the_same_association(desk: CommitmentDesk, store: Store, keep: Callable[..., Path]) -> None:
    """The response comes first, then the report with what is safe and what is not; confirmed, it is over."""
    keep("1.2.1", b"a" * 64)
    line = Line()

    desk.serve(SCANNER, action(asking((CT, "1.2.1"), (CT, "1.2.404"))), line.send)
    (response, _), (report, information) = line.heard
    desk.serve(SCANNER, confirmation(report.MessageID), line.send)
    desk.ended(SCANNER)

    assert (response.CommandField, response.Status, response.MessageIDBeingRespondedTo) == (0x8130, 0, 7)
    assert (report.CommandField, report.EventTypeID, report.AffectedSOPInstanceUID) == (0x0100, 2, PUSH_MODEL_INSTANCE)
    assert information.TransactionUID == "1.2.9"
    assert [item.ReferencedSOPInstanceUID for item in information.ReferencedSOPSequence] == ["1.2.1"]
    (failed,) = information.FailedSOPSequence
    assert (failed.ReferencedSOPInstanceUID, failed.FailureReason) == ("1.2.404", 0x0112)
    (kept,) = store.commitments.list()
    assert (kept.state, kept.committed_count, kept.failed_count) == (CommitmentState.ANSWERED, 1, 1)


def test_all_safe_is_event_one_and_a_long_answer_is_fragmented(desk: CommitmentDesk, keep: Callable[..., Path]) -> None:
    """Two hundred instances, all safe: event type 1, no failed sequence, in PDUs that every peer takes."""
    uids = [f"1.2.3.{number}" for number in range(200)]
    for uid in uids:
        keep(uid, uid.encode())
    line = Line()

    desk.serve(SCANNER, action(asking(*((CT, uid) for uid in uids))), line.send)

    report, information = line.heard[1]
    assert report.EventTypeID == 1
    assert [item.ReferencedSOPInstanceUID for item in information.ReferencedSOPSequence] == uids
    assert "FailedSOPSequence" not in information


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (action(asking((CT, "1.2")), kind=2), 0x0123),
        (action(asking((CT, "1.2")), instance="1.2.3"), 0x0112),
        (action(asking((CT, "1.2"), transaction=None)), 0x0115),
        (action(asking()), 0x0115),
        (action(asking((CT, ""))), 0x0115),
        (action(b"\x08\x00garbage"), 0x0115),
        (action(b""), 0x0115),
    ],
)
def test_what_is_no_request_is_refused(desk: CommitmentDesk, store: Store, request_: Message, status: int) -> None:
    """Another action or object, no transaction, no references, an impossible UID, garbage: a status, and no row."""
    line = Line()
    desk.serve(SCANNER, request_, line.send)
    assert line.statuses == [status]
    assert not store.commitments.list()


def test_a_transaction_for_other_instances_is_refused(desk: CommitmentDesk) -> None:
    """The second use of a Transaction UID with other instances is answered 0x0115."""
    line = Line()
    for uid in ("1.2.1", "1.2.2"):
        desk.serve(SCANNER, action(asking((CT, uid))), line.send)
    assert line.statuses == [0, 0x0115]


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
    for unit in Reporter(settings=settings, store=store).units():
        unit.run()


def at(port: int) -> Peer:
    return Peer(ae_title="CT1", called_ae_title=None, cidr=None, host="127.0.0.1", port=port)


def test_answer_on_a_new_association_when_the_first_has_ended(
    desk: CommitmentDesk, settings: Settings, store: Store, keep: Callable[..., Path]
) -> None:
    """The scanner hung up before it confirmed: the node calls it, offers itself as SCP, and is heard, once."""
    keep("1.2.1", b"a" * 64)
    desk.serve(SCANNER, action(asking((CT, "1.2.1"))), Line().send)
    desk.ended(SCANNER)
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
    desk = CommitmentDesk(settings=settings, store=store, archive=archive)
    line = Line()
    desk.serve(SCANNER, action(asking((CT, "1.2.1"))), line.send)
    assert len(line.heard) == 1
    if known:
        with listening("CT1") as (port, _, _):
            closed = port
        store.peers.allow(at(closed))

    sweep(settings, store)
    sweep(settings, store)

    (kept,) = store.commitments.list()
    assert (kept.state, kept.attempt) == (CommitmentState.PENDING, 1)
    assert ("took no association" if known else "is not known") in kept.cause


def test_a_report_that_is_refused_is_tried_again(settings: Settings, store: Store, desk: CommitmentDesk) -> None:
    """A failure status, on either association, is no confirmation."""
    line = Line()
    desk.serve(SCANNER, action(asking((CT, "1.2.1"))), line.send)
    desk.serve(SCANNER, confirmation(line.heard[1][0].MessageID, status=0x0110), line.send)
    with listening("CT1", status=0x0110) as (port, got, _):
        store.peers.allow(at(port))
        sweep(settings, store)

    assert len(got) == 1
    (kept,) = store.commitments.list()
    assert (kept.state, kept.attempt) == (CommitmentState.PENDING, 2)
    assert "0x0110" in kept.cause


@pytest.fixture
def node(
    settings: Settings, store: Store, receiving: Callable[..., Any], free_port: Callable[[], int]
) -> Iterator[int]:
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


def test_orthanc_is_answered(  # noqa: PLR0917 - fixtures
    node: int,
    settings: Settings,
    store: Store,
    slices: list[Path],
    orthanc: Callable[..., Any],
    free_port: Callable[[], int],
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


def test_the_command_lists_who_asked(settings: Settings, desk: CommitmentDesk) -> None:
    """``lungsentry commitments list`` names the peer, its state and its counts; a state narrows."""
    line = Line()
    desk.serve(SCANNER, action(asking((CT, "1.2.1"))), line.send)
    desk.serve(SCANNER, confirmation(line.heard[1][0].MessageID), line.send)
    variables = {"LUNGSENTRY_NODE__DATA_DIR": str(settings.node.data_dir)}

    listed = CliRunner().invoke(app, ["commitments", "list", "--json"], env=variables)
    failed = CliRunner().invoke(app, ["commitments", "list", "--state", "failed"], env=variables)

    (one,) = json.loads(listed.stdout)["commitments"]
    assert (one["calling_ae_title"], one["state"], one["references"], one["failed_count"]) == ("CT1", "answered", 1, 1)
    assert "nobody asked" in failed.stdout


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
