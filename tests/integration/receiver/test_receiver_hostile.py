"""Bytes that no honest peer sends: one test a row of what receivers let through."""

import contextlib
import resource
import struct
import zlib
from collections.abc import Callable
from typing import Any

import psutil
import pytest
from raw_peer import (
    ABORT,
    ACCEPT,
    DATA,
    MAX_PDU,
    RawPeer,
    associate_request,
    data_pdu,
    encode,
    fragments,
    store_command,
)

Call = Callable[..., Any]
DEFLATED = "1.2.840.10008.1.2.1.99"


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


@pytest.mark.parametrize(
    ("damage", "status"),
    [(lambda z: z, 0), (lambda z: z[:-30], 0xC210), (lambda _: b"\xff" * 64, 0xC210), (lambda z: z + b"junk", 0xC210)],
    ids=["whole", "cut off", "nonsense", "followed by more"],
)
def test_deflated_stream_is_whole_or_cannot_be_parsed(
    damage: Call, status: int, start_receiver: Call, connect: Call, make_slice: Call
) -> None:
    """A deflated data set that breaks off, or is none, gets 0xC210 as any other does."""
    receiver = start_receiver()
    dataset = make_slice()
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    deflated = deflater.compress(encode(dataset)) + deflater.flush()
    peer = connect(receiver)
    assert peer.associate(syntax=DEFLATED) == ACCEPT

    command = data_pdu(store_command(str(dataset.SOPInstanceUID)), 3)
    peer.socket.sendall(command + b"".join(fragments(damage(deflated + b"\0" * (len(deflated) % 2)))))

    assert peer.status() == status


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
