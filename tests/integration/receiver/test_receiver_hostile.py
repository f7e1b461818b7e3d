"""Bytes that no honest peer sends (and too many that honest peers may): one test a row of what receivers let through.

The peers here are plain sockets: what goes over the wire is written down in the test.
"""

import contextlib
import resource
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

Call = Callable[..., Any]

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
ABORT, RELEASE_RQ, RELEASE_RP, REJECT, ACCEPT, DATA = 7, 5, 6, 3, 2, 4
MAX_PDU = 16_384


def item(kind: int, content: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(content)) + content


def associate_request(called: str = "LUNGSENTRY", calling: str = "SCANNER", syntax: str = EXPLICIT) -> bytes:
    """An A-ASSOCIATE-RQ for CT storage in context 1 (PS3.8 section 9.3.2)."""
    context = bytes((1, 0, 0, 0)) + item(0x30, CT.encode()) + item(0x40, syntax.encode())
    user = item(0x51, struct.pack(">I", 131072)) + item(0x52, b"1.2.3.4")
    body = struct.pack(">HH16s16s32x", 1, 0, called.ljust(16).encode(), calling.ljust(16).encode())
    body += item(0x10, b"1.2.840.10008.3.1.1.1") + item(0x20, context) + item(0x50, user)
    return struct.pack(">BBI", 1, 0, len(body)) + body


def data_pdu(fragment: bytes, control: int, context_id: int = 1) -> bytes:
    value = struct.pack(">IBB", len(fragment) + 2, context_id, control) + fragment
    return struct.pack(">BBI", DATA, 0, len(value)) + value


def store_command(uid: str, sop_class: str = CT, message_id: int = 1) -> bytes:
    """A C-STORE request's command set (PS3.7 table 9.3-1)."""

    def element(number: int, value: bytes) -> bytes:
        value += b"\0" * (len(value) % 2)
        return struct.pack("<HHI", 0, number, len(value)) + value

    elements = (
        element(0x0002, sop_class.encode())
        + element(0x0100, b"\x01\x00")
        + element(0x0110, struct.pack("<H", message_id))
        + element(0x0700, b"\x02\x00")
        + element(0x0800, b"\x00\x00")
        + element(0x1000, uid.encode())
    )
    return struct.pack("<HHII", 0, 0, 4, len(elements)) + elements


def encode(dataset: Any) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, dataset)
    return buffer.getvalue()


def fragments(encoded: bytes, size: int = MAX_PDU - 6) -> Iterator[bytes]:
    for start in range(0, len(encoded), size):
        yield data_pdu(encoded[start : start + size], 2 if start + size >= len(encoded) else 0)


class RawPeer:
    """A socket that says what it is told to."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.socket.settimeout(10)

    def read_pdu(self) -> tuple[int, bytes] | None:
        """The next PDU's type and content; None at the end of the connection."""
        head = self._read(6)
        if head is None:
            return None
        content = self._read(struct.unpack(">I", head[2:])[0])
        return None if content is None else (head[0], content)

    def associate(self, **names: str) -> int:
        """Ask; the type of the answer."""
        self.socket.sendall(associate_request(**names))
        answer = self.read_pdu()
        assert answer is not None
        return answer[0]

    def status(self) -> int:
        """The status of the C-STORE response that comes."""
        answer = self.read_pdu()
        assert answer is not None
        assert answer[0] == DATA
        position = answer[1].index(struct.pack("<HHI", 0, 0x0900, 2))
        return struct.unpack_from("<H", answer[1], position + 8)[0]

    def is_closed(self) -> bool:
        """The other end says nothing more, and closes."""
        while (pdu := self.read_pdu()) is not None:
            assert pdu[0] in {ABORT, REJECT}
        return True

    def _read(self, count: int) -> bytes | None:
        data = b""
        while len(data) < count:
            try:
                part = self.socket.recv(count - len(data))
            except ConnectionError:
                return None
            if not part:
                return None
            data += part
        return data


@pytest.fixture
def connect() -> Iterator[Call]:
    """Connect raw peers, which the test need not close."""
    with contextlib.ExitStack() as stack:

        def make(receiver: Any) -> RawPeer:
            peer = RawPeer(receiver.port)
            stack.callback(peer.socket.close)
            return peer

        yield make


def test_silent_socket_is_closed_in_time(start_receiver: Call, connect: Call) -> None:
    """A socket that never asks is closed after the handshake's time, as is one that stops within its request."""
    receiver = start_receiver(acse_timeout_s=0.5)
    silent, half, trickling = (connect(receiver) for _ in range(3))
    half.socket.sendall(associate_request()[:40])
    started = time.monotonic()
    with contextlib.suppress(ConnectionError):
        for byte in associate_request():
            trickling.socket.sendall(bytes((byte,)))
            threading.Event().wait(0.01)  # a byte now and then is not progress

    assert all(peer.is_closed() for peer in (silent, half, trickling))
    assert time.monotonic() - started < 8


def test_half_a_pdu_is_aborted_in_time(start_receiver: Call, connect: Call) -> None:
    """A PDU that does not end is given up after its time, whatever its announced length."""
    receiver = start_receiver(pdu_timeout_s=0.5)
    peer = connect(receiver)
    assert peer.associate() == ACCEPT
    peer.socket.sendall(data_pdu(store_command("1.2.3"), 3)[:50])

    assert peer.read_pdu() == (ABORT, b"\0\0\2\0")
    assert peer.is_closed()


def test_idle_association_is_aborted_in_time(start_receiver: Call, connect: Call) -> None:
    """An association on which nothing is said is aborted."""
    receiver = start_receiver(network_timeout_s=0.5)
    peer = connect(receiver)
    assert peer.associate() == ACCEPT

    assert peer.read_pdu() == (ABORT, b"\0\0\2\0")
    assert peer.is_closed()


@pytest.mark.parametrize("asked_first", [False, True])
def test_pdu_of_four_gibibytes_costs_no_memory(start_receiver: Call, connect: Call, asked_first: bool) -> None:
    """A length of 4 GiB is refused when it is announced, before and within an association."""
    receiver = start_receiver()
    peer = connect(receiver)
    if asked_first:
        assert peer.associate() == ACCEPT
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    peer.socket.sendall(struct.pack(">BBI", DATA if asked_first else 1, 0, 0xFFFFFFFF) + bytes(1000))

    assert peer.read_pdu() == (ABORT, b"\0\0\2\6")
    assert peer.is_closed()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000


def test_pdu_above_the_negotiated_maximum_is_aborted(start_receiver: Call, connect: Call) -> None:
    """One byte more than was agreed on ends the association; as much as was agreed on does not."""
    receiver = start_receiver(max_pdu_bytes=MAX_PDU)
    peer = connect(receiver)
    assert peer.associate() == ACCEPT
    peer.socket.sendall(data_pdu(store_command("1.2.3"), 3) + data_pdu(bytes(MAX_PDU - 6), 2))
    assert peer.status() == 0xC210

    peer.socket.sendall(data_pdu(store_command("1.2.3"), 3) + data_pdu(bytes(MAX_PDU - 5), 2))

    assert peer.read_pdu() == (ABORT, b"\0\0\2\6")
    assert peer.is_closed()


def test_endless_dataset_is_cut_off_and_leaves_nothing(start_receiver: Call, connect: Call) -> None:
    """A data set beyond the limit is aborted while it comes; memory does not grow with it, and no file stays."""
    limit = 64 << 20
    receiver = start_receiver(max_instance_bytes=limit)
    peer = connect(receiver)
    assert peer.associate() == ACCEPT
    before = psutil.Process().memory_info().rss
    peer.socket.sendall(data_pdu(store_command("1.2.3"), 3))
    chunk, sent = data_pdu(bytes(100_000), 0), 0

    with contextlib.suppress(ConnectionError):
        while sent < 2 * limit:
            peer.socket.sendall(chunk)
            sent += len(chunk)

    assert sent < 2 * limit
    assert psutil.Process().memory_info().rss - before < 16 << 20
    assert peer.is_closed()
    assert (receiver.archived(), receiver.temporary()) == ([], [])


def test_deflated_bomb_is_refused_without_memory(start_receiver: Call, connect: Call) -> None:
    """A small deflated data set that inflates beyond the limit gets 0xC210; it is never in memory."""
    receiver = start_receiver(max_instance_bytes=32 << 20)
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bomb = deflater.compress(bytes(200 << 20)) + deflater.flush()
    peer = connect(receiver)
    assert peer.associate(syntax=DEFLATED) == ACCEPT
    before = psutil.Process().memory_info().rss

    peer.socket.sendall(data_pdu(store_command("1.2.3"), 3) + b"".join(fragments(bomb)))

    assert peer.status() == 0xC210
    assert psutil.Process().memory_info().rss - before < 24 << 20
    assert (receiver.archived(), receiver.temporary()) == ([], [])


def test_millions_of_elements_do_not_hold_the_others(
    start_receiver: Call, connect: Call, associate: Call, send: Call, make_slice: Call
) -> None:
    """A data set of two million empty elements is refused; meanwhile another association is served."""
    receiver = start_receiver()
    peer = connect(receiver)
    assert peer.associate() == ACCEPT
    elements = b"".join(struct.pack("<HH2sH", 0x0009, number & 0xFFFF, b"LO", 0) for number in range(1 << 16)) * 32
    peer.socket.sendall(data_pdu(store_command("1.2.3"), 3) + b"".join(fragments(elements)))
    dataset = make_slice()
    started = time.monotonic()

    assoc = associate(receiver)
    assert send(assoc, encode(dataset), sop_instance_uid=dataset.SOPInstanceUID) == 0x0000
    assoc.release()

    assert time.monotonic() - started < 5
    assert peer.status() == 0xC210


def test_abort_within_a_dataset_leaves_nothing(
    start_receiver: Call, connect: Call, make_slice: Call, eventually: Call
) -> None:
    """A peer that aborts, or goes, in the middle of an instance leaves no temporary file and no descriptor."""
    receiver = start_receiver()
    encoded = encode(make_slice())
    me = psutil.Process()
    with RawPeer(receiver.port).socket:
        """Whatever is opened once is opened now."""
    before = me.num_fds()

    for farewell in (struct.pack(">BBI", ABORT, 0, 4) + bytes(4), b""):
        peer = connect(receiver)
        assert peer.associate() == ACCEPT
        peer.socket.sendall(data_pdu(store_command("1.2.3"), 3) + data_pdu(encoded[:3000], 0))
        eventually(receiver.temporary, "a temporary file")
        peer.socket.sendall(farewell)
        peer.socket.close()
        eventually(lambda: not receiver.temporary(), "no temporary file")

    eventually(lambda: me.num_fds() <= before + 1, "descriptors given back")
    assert receiver.archived() == []


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(data_pdu(b"\0" * 40, 3), id="a command set of zeros"),
        pytest.param(data_pdu(store_command("1.2.3"), 3, context_id=9), id="a context that was not agreed on"),
        pytest.param(data_pdu(b"\x08\x00", 2), id="a data set without a command"),
        pytest.param(struct.pack(">BBIIBB", DATA, 0, 6, 1, 1, 3), id="a data value shorter than its head"),
        pytest.param(struct.pack(">BBIIBB", DATA, 0, 6, 9999, 1, 3), id="a data value longer than its PDU"),
        pytest.param(struct.pack(">BBI", DATA, 0, 3) + b"\0\0\0", id="a PDU shorter than a data value's head"),
        pytest.param(struct.pack(">BBI", 9, 0, 4) + bytes(4), id="a PDU of no known type"),
        pytest.param(associate_request(), id="a second request"),
        pytest.param(data_pdu(store_command("1.2.3"), 3) + data_pdu(store_command("1.2.4"), 3), id="two commands"),
        pytest.param(b"".join(data_pdu(bytes(10_000), 1) for _ in range(3)), id="an endless command set"),
    ],
)
def test_broken_protocol_is_aborted(wrong: bytes, start_receiver: Call, connect: Call) -> None:
    """What the protocol does not allow ends the association with an A-ABORT (invalid parameter), and nothing else."""
    receiver = start_receiver()
    peer = connect(receiver)
    assert peer.associate() == ACCEPT

    peer.socket.sendall(wrong)

    assert peer.read_pdu() == (ABORT, b"\0\0\2\6")
    assert peer.is_closed()
    assert connect(receiver).associate() == ACCEPT


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00" + bytes(600),
        struct.pack(">BBI", 1, 0, 20) + bytes(20),
        associate_request()[:70] + b"\xff" * (len(associate_request()) - 70),
    ],
    ids=["http", "tls", "short", "garbled items"],
)
def test_no_association_request_is_no_association(request_: bytes, start_receiver: Call, connect: Call) -> None:
    """Whatever else speaks to the port is closed, and the next peer is served."""
    receiver = start_receiver()
    peer = connect(receiver)

    peer.socket.sendall(request_)

    assert peer.is_closed()
    assert connect(receiver).associate() == ACCEPT


@pytest.mark.parametrize("splits", [1, 7, 4096])
def test_instance_in_pieces_of_any_size_is_one_instance(
    splits: int, start_receiver: Call, connect: Call, make_slice: Call
) -> None:
    """However the network and the peer cut a data set up, an empty last fragment included, it arrives whole."""
    receiver = start_receiver()
    dataset = make_slice()
    encoded = encode(dataset)
    peer = connect(receiver)
    assert peer.associate() == ACCEPT
    stream = data_pdu(store_command(dataset.SOPInstanceUID), 3)
    stream += b"".join(data_pdu(encoded[start : start + 999], 0) for start in range(0, len(encoded), 999))
    stream += data_pdu(b"", 2)

    for start in range(0, len(stream), splits * 100):
        peer.socket.sendall(stream[start : start + splits * 100])

    assert peer.status() == 0x0000
    (file,) = receiver.archived()
    assert file.read_bytes().endswith(encoded)


def test_surplus_association_is_rejected_for_now(start_receiver: Call, connect: Call) -> None:
    """Beyond the limit the answer is transient, local limit exceeded; when one ends the next gets in."""
    receiver = start_receiver(max_associations=2)
    first, second, third = (connect(receiver) for _ in range(3))
    assert (first.associate(), second.associate()) == (ACCEPT, ACCEPT)

    third.socket.sendall(associate_request())

    assert third.read_pdu() == (REJECT, b"\0\2\3\2")
    first.socket.sendall(struct.pack(">BBI", RELEASE_RQ, 0, 4) + bytes(4))
    assert first.read_pdu() == (RELEASE_RP, bytes(4))
    first.socket.close()
    ends = time.monotonic() + 10
    while connect(receiver).associate() != ACCEPT:
        assert time.monotonic() < ends


@pytest.mark.parametrize("processes", [1, 2])
def test_real_client_gets_in_past_a_crowd(processes: int, start_receiver: Call, connect: Call) -> None:
    """With 200 connections at once, 12 silent ones and half a PDU, a real client has its association within 1 s."""
    receiver = start_receiver(processes=processes, max_silent_per_address=32, max_silent=64)
    silent = [connect(receiver) for _ in range(12)]
    half = connect(receiver)
    half.socket.sendall(associate_request()[:50])
    crowd = [threading.Thread(target=connect, args=(receiver,)) for _ in range(200)]
    for one in crowd:
        one.start()
    started = time.monotonic()

    real = connect(receiver)
    answer = real.associate()
    seconds = time.monotonic() - started
    for one in crowd:
        one.join(20)

    assert answer == ACCEPT
    assert seconds < 1
    assert len(silent) == 12


def test_two_hundred_real_clients_all_get_an_answer(start_receiver: Call, connect: Call) -> None:
    """Of 200 that ask at once, those within the limit get in, the others are rejected for now; none is left hanging."""
    receiver = start_receiver(max_associations=50)
    answers: list[int] = []

    def ask() -> None:
        answers.append(connect(receiver).associate())

    clients = [threading.Thread(target=ask) for _ in range(200)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(60)

    assert len(answers) == 200
    assert answers.count(ACCEPT) == 50
    assert answers.count(REJECT) == 150


def test_reply_that_was_lost_is_asked_for_again(
    start_receiver: Call, connect: Call, make_slice: Call, eventually: Call
) -> None:
    """A peer that goes before its reply has been stored; sent again it gets success, and there is one file."""
    receiver = start_receiver()
    dataset = make_slice()
    stream = data_pdu(store_command(dataset.SOPInstanceUID), 3) + b"".join(fragments(encode(dataset)))
    gone = connect(receiver)
    assert gone.associate() == ACCEPT
    gone.socket.sendall(stream)
    gone.socket.close()
    eventually(receiver.archived, "stored")

    again = connect(receiver)
    assert again.associate() == ACCEPT
    again.socket.sendall(stream)

    assert again.status() == 0x0000
    assert len(receiver.archived()) == 1
