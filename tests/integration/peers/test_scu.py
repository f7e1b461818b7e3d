"""Calling a peer: every reply arrives, and a peer that misbehaves costs neither memory nor time without end."""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RSP
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import CTImageStorage, Verification
from tls_peers import Authority, client_context
from typer.testing import CliRunner

from dicom_node.cli import app
from dicom_node.network.tls import CertificateFolder
from dicom_node.peers.errors import Refused, Unreachable
from dicom_node.peers.remote import MAX_PDU_BYTES, Remote
from dicom_node.peers.scu import MAX_MESSAGE_BYTES, associate, echo
from dicom_node.peers.sending import Outcome, send
from dicom_node.simulator import PhantomSpec, build_phantom, write_series

TIMEOUT_S = 2.0
MEMORY_BYTES = 60_000_000


def remote(port: int, **more: object) -> Remote:
    return Remote(**{"ae_title": "PEER", "host": "127.0.0.1", "port": port, "calling_ae_title": "NODE",
                     "timeout_s": TIMEOUT_S} | more)  # type: ignore[arg-type] # fmt: skip


@contextmanager
def peer(**more: object) -> Iterator[int]:
    """A well-behaved Verification and Storage SCP."""
    entity = AE(ae_title="PEER")
    entity.add_supported_context(Verification)
    entity.add_supported_context(CTImageStorage, ImplicitVRLittleEndian)
    if "maximum_pdu_size" in more:
        entity.maximum_pdu_size = more.pop("maximum_pdu_size")  # type: ignore[assignment]
    server = entity.start_server(("127.0.0.1", 0), block=False, **more)  # type: ignore[arg-type]
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()


class _PreemptedGate(threading.Event):
    """The reactor's gate on a busy machine: who has come through is not run again until a reply lies there."""

    def __init__(self, association: Association) -> None:
        super().__init__()
        self.set()
        self.passed, self.looked = threading.Event(), threading.Event()
        self._replies = association.dimse.msg_queue
        self._came_through = False

    def wait(self, timeout: float | None = None) -> bool:
        if self._came_through:
            self.looked.set()
        open_ = super().wait(timeout)
        self.passed.set()
        self._came_through = wait_for(lambda: not self._replies.empty(), TIMEOUT_S)
        return open_


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not condition() and time.monotonic() < deadline:
        pause.wait(0.001)
    return condition()


@pytest.fixture
def racing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reply comes between a request and the wait for it, and the reactor is under way just then."""
    begin, tell = Association.__init__, DIMSEServiceProvider.send_msg

    def begin_preempted(self: Association, *arguments: object) -> None:
        begin(self, *arguments)  # type: ignore[arg-type]
        if self.is_requestor:
            self._reactor_checkpoint = _PreemptedGate(self)

    def tell_and_be_preempted(self: DIMSEServiceProvider, *arguments: object) -> None:
        tell(self, *arguments)  # type: ignore[arg-type]
        gate = self.assoc._reactor_checkpoint
        if isinstance(gate, _PreemptedGate):
            assert gate.looked.wait(10)
        elif self.assoc.is_requestor:
            assert wait_for(lambda: not self.msg_queue.empty(), 10)

    monkeypatch.setattr(Association, "__init__", begin_preempted)
    monkeypatch.setattr(DIMSEServiceProvider, "send_msg", tell_and_be_preempted)


@pytest.mark.usefixtures("racing")
def test_a_reply_at_the_racing_moment_arrives(tmp_path: Path) -> None:
    """What pynetdicom alone loses to its reactor, echo and send get."""
    path = write_series(build_phantom(PhantomSpec.cardiac_ctac(matrix=128)), tmp_path)[0]
    with peer(evt_handlers=[(evt.EVT_C_STORE, lambda _: 0x0000)]) as port:
        client = AE(ae_title="NODE")
        client.dimse_timeout = 1
        alone = client.associate("127.0.0.1", port, contexts=_verification())
        gate = alone._reactor_checkpoint
        assert isinstance(gate, _PreemptedGate)
        assert gate.passed.wait(10)
        assert alone.send_c_echo() == Dataset(), "the race is not there, so that this test shows nothing"
        assert echo(remote(port)).ok
        assert send(remote(port), [path]).ok


def _verification() -> list[PresentationContext]:
    return [build_context(Verification)]


def test_a_file_is_written_anew_for_a_peer_of_the_default_syntax(tmp_path: Path) -> None:
    """A peer that takes Implicit VR Little Endian alone gets the same data set in it."""
    path = write_series(build_phantom(PhantomSpec.cardiac_ctac(matrix=128)), tmp_path)[0]
    received: list[Dataset] = []

    def keep(event: evt.Event) -> int:
        received.append(event.dataset)
        return 0x0000

    with peer(evt_handlers=[(evt.EVT_C_STORE, keep)]) as port:
        (sent,) = send(remote(port), [path]).files
    assert sent.outcome is Outcome.STORED
    assert received[0].SOPInstanceUID == sent.sop_instance_uid


def accept(*, maximum: int = 16_384) -> bytes:
    """An A-ASSOCIATE-AC that takes the first context in Implicit VR Little Endian."""
    syntax = str(ImplicitVRLittleEndian).encode()
    chosen = struct.pack(">BBH", 0x40, 0, len(syntax)) + syntax
    context = struct.pack(">BBHBBBB", 0x21, 0, 4 + len(chosen), 1, 0, 0, 0) + chosen
    name = b"1.2.840.10008.3.1.1.1"
    application = struct.pack(">BBH", 0x10, 0, len(name)) + name
    longest = struct.pack(">BBHI", 0x51, 0, 4, maximum)
    implementation = struct.pack(">BBH", 0x52, 0, 5) + b"1.2.3"
    user = struct.pack(">BBH", 0x50, 0, len(longest + implementation)) + longest + implementation
    body = struct.pack(">HH16s16s32x", 1, 0, b"PEER".ljust(16), b"NODE".ljust(16)) + application + context + user
    return struct.pack(">BBI", 2, 0, len(body)) + body


def data(content: bytes, *, control: int) -> bytes:
    value = struct.pack(">IBB", len(content) + 2, 1, control) + content
    return struct.pack(">BBI", 4, 0, len(value)) + value


def flood(connection: socket.socket, what: bytes) -> None:
    for _ in range(100_000):
        connection.sendall(what)


def trickle(connection: socket.socket) -> None:
    for _ in range(1000):
        connection.sendall(b"\0")
        threading.Event().wait(0.2)


def huge_answer(connection: socket.socket) -> None:
    connection.sendall(struct.pack(">BBI", 2, 0, 0xFFFFFFF0))
    flood(connection, bytes(65_536))


def huge_pdu(connection: socket.socket) -> None:
    connection.sendall(accept() + struct.pack(">BBI", 4, 0, 0xFFFFFFF0))
    flood(connection, bytes(65_536))


def endless_message(connection: socket.socket) -> None:
    connection.sendall(accept())
    flood(connection, data(bytes(65_536), control=1))


def unasked_replies(connection: socket.socket) -> None:
    reply = C_STORE_RSP()
    answer = C_STORE()
    answer.MessageIDBeingRespondedTo, answer.Status, answer.AffectedSOPClassUID = 99, 0xFF00, CTImageStorage
    answer.AffectedSOPInstanceUID = "1.2.3"
    reply.primitive_to_message(answer)
    connection.sendall(accept())
    flood(connection, data(encode(reply.command_set, True, True) or b"", control=3))


def slow_pdu(connection: socket.socket) -> None:
    connection.sendall(accept() + struct.pack(">BBI", 4, 0, 1000))
    trickle(connection)


def silent_after_acceptance(connection: socket.socket) -> None:
    connection.sendall(accept())
    threading.Event().wait(60)


def tarpit(_connection: socket.socket) -> None:
    threading.Event().wait(60)


@contextmanager
def misbehaving(then: Callable[[socket.socket], None]) -> Iterator[int]:
    """A peer that takes a request for an association, and then does this."""

    def serve(listening: socket.socket) -> None:
        while True:
            try:
                connection = listening.accept()[0]
            except OSError:
                return
            with connection, suppress(OSError):
                connection.recv(100_000)
                then(connection)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        yield listening.getsockname()[1]


@pytest.mark.parametrize(
    "then", [huge_answer, huge_pdu, endless_message, unasked_replies, slow_pdu, silent_after_acceptance, tarpit]
)
def test_a_peer_that_misbehaves_costs_no_memory_and_little_time(then: Callable[[socket.socket], None]) -> None:
    """Four GiB announced, messages that do not end, replies that nobody asked for, a trickle, silence: unreachable."""
    process = psutil.Process()
    before, began = process.memory_info().rss, time.monotonic()
    with misbehaving(then) as port, pytest.raises(Unreachable):
        echo(remote(port))
    assert process.memory_info().rss - before < MEMORY_BYTES
    assert time.monotonic() - began < 5 * TIMEOUT_S
    assert MAX_PDU_BYTES < MAX_MESSAGE_BYTES < MEMORY_BYTES


def test_a_peer_of_tiny_pdus_is_refused() -> None:
    """A peer that takes seven bytes at a time would have an instance cut into millions of pieces."""
    with misbehaving(lambda connection: connection.sendall(accept(maximum=7))) as port, pytest.raises(Refused):
        echo(remote(port))


def test_an_association_leaves_no_thread_behind() -> None:
    """After a release, a refusal and a peer that breaks off, the threads of the associations end."""

    def threads() -> list[str]:
        return [one.name for one in threading.enumerate() if "Requestor" in one.name or "reactor" in one.name]

    with peer() as port:
        assert echo(remote(port)).ok
        with pytest.raises(Refused), associate(remote(port), _verification(), needed="1.2.3"):
            """The peer offers no such thing."""
    with misbehaving(lambda connection: connection.sendall(accept())) as port, pytest.raises(Unreachable):
        echo(remote(port))
    assert wait_for(lambda: not threads(), 10), threads()


@pytest.fixture
def by_tls(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """A peer that asks for TLS and for a certificate, and the folder of a node that it trusts."""
    authority = Authority.make(tmp_path / "authority")
    theirs, ours = authority.issue("peer", tmp_path / "peer"), authority.issue("node", tmp_path / "node")
    with peer(ssl_context=CertificateFolder(theirs).server_context()) as port:
        yield port, ours


def test_echo_goes_by_tls_where_results_do(
    by_tls: tuple[int, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`echo` of a destination that is called by TLS shakes hands; without the setting the same peer does not answer."""
    port, certificates = by_tls
    monkeypatch.chdir(tmp_path)
    words = ["echo", "PACS", "--host", "127.0.0.1", "--port", str(port)]
    variables = {"LUNGSENTRY_TLS__CERTIFICATES": str(certificates), "LUNGSENTRY_TLS__OUTGOING": '["PACS"]'}
    secure = CliRunner().invoke(app, words, env=variables)
    assert secure.exit_code == 0, secure.output
    assert "by TLS" in secure.stdout
    plain = CliRunner().invoke(app, words)
    assert plain.exit_code == 3, plain.output


def test_a_peer_that_is_not_trusted_is_told(by_tls: tuple[int, Path], tmp_path: Path) -> None:
    """A certificate of another authority: unreachable, and the reason is the certificate."""
    port, _ = by_tls
    stranger = Authority.make(tmp_path / "other").issue("node", tmp_path / "stranger")
    with pytest.raises(Unreachable, match="certificate"):
        echo(remote(port, tls=client_context(stranger)))
