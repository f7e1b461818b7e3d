"""Silent, slow, too many: peers that take time and room, and the real ones that get through beside them."""

import contextlib
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from raw_peer import (
    ABORT,
    ACCEPT,
    REJECT,
    RELEASE_RP,
    RELEASE_RQ,
    associate_request,
    data_pdu,
    encode,
    fragments,
    store_command,
)

Call = Callable[..., Any]


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
    receiver = start_receiver(max_associations=50, max_associations_per_peer=50)
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


def refusals(receiver: Any) -> dict[str, tuple[str, str]]:
    """Who was refused, from where and why."""
    return {one.calling_ae_title: (one.address, one.reason) for one in receiver.store.peers.refusals()}


@pytest.mark.parametrize("processes", [1, 2])
def test_callers_that_are_refused_take_no_place(processes: int, start_receiver: Call, connect: Call) -> None:
    """Ten unknown callers that keep their socket after the rejection: whoever is known gets in all the same."""
    receiver = start_receiver(processes=processes, max_associations=2)
    unknown = [connect(receiver) for _ in range(10)]
    for number, peer in enumerate(unknown):
        peer.socket.sendall(associate_request(calling=f"NOBODY{number}"))
        assert peer.read_pdu() == (REJECT, b"\0\1\1\3")

    assert [connect(receiver).associate() for _ in range(2)] == [ACCEPT, ACCEPT]

    assert all(f"NOBODY{number}" in refusals(receiver) for number in range(10))
    assert all(peer.is_closed() for peer in unknown)


@pytest.mark.parametrize("processes", [1, 2])
def test_one_peer_does_not_shut_out_another(processes: int, start_receiver: Call, connect: Call) -> None:
    """A known peer with idle associations has its share, and is told and listed; another's title gets in elsewhere."""
    receiver = start_receiver(processes=processes, max_associations=4, max_associations_per_peer=2)
    idle = [connect(receiver) for _ in range(3)]
    assert [peer.associate() for peer in idle] == [ACCEPT, ACCEPT, REJECT]
    assert "as many associations" in refusals(receiver)["SCANNER"][1]


def test_request_that_cannot_be_read_is_listed(start_receiver: Call, connect: Call) -> None:
    """A title with control characters is aborted; the administrator sees from where, and why."""
    receiver = start_receiver()
    peer = connect(receiver)
    peer.socket.sendall(associate_request(calling="SCAN\x07NER"))
    assert peer.is_closed()
    assert "control characters" in refusals(receiver)[""][1]


def test_address_is_ipv4_where_all_is_listened_on(start_receiver: Call, connect: Call) -> None:
    """On ``::`` an IPv4 caller is known by its IPv4 address, in rules and in the list of those refused."""
    receiver = start_receiver(host="::")
    assert connect(receiver).associate() == ACCEPT
    assert connect(receiver).associate(calling="NOBODY") == REJECT
    assert refusals(receiver)["NOBODY"][0] == "127.0.0.1"


def test_system_that_gives_no_thread_costs_one_connection(
    start_receiver: Call, connect: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller that no thread can be had for is turned away; the open association goes on, and so does the next."""
    receiver = start_receiver()
    running = connect(receiver)
    assert running.associate() == ACCEPT
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name.startswith("association-"):
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert all(connect(receiver).is_closed() for _ in range(3))

    running.socket.sendall(struct.pack(">BBI", RELEASE_RQ, 0, 4) + bytes(4))
    assert running.read_pdu() == (RELEASE_RP, bytes(4))
    assert connect(receiver).associate() == ACCEPT
