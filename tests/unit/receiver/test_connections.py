"""Who may wait, who makes way, who gets in."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from dicom_node.receiver.connections import ConnectionLimits, Connections

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Callable[[], Pair]]:
    """Connected sockets: the peer's end, the node's end."""
    with ExitStack() as stack:

        def make() -> Pair:
            ends = socket.socketpair()
            for end in ends:
                stack.callback(end.close)
            return ends

        yield make


@pytest.fixture
def service() -> Iterator[Connections]:
    """ConnectionLimits for two associations, three silent connections, two of them from one address."""
    connections = Connections(ConnectionLimits(associations=2, associations_per_peer=2, silent=3, silent_per_address=2))
    yield connections
    for number in range(1, 10):
        connections.leave(number)


def test_oldest_silent_one_makes_way(service: Connections, pair: Callable[[], Pair]) -> None:
    """Beyond the limit of an address its oldest connection that said nothing is closed, and the new one waits."""
    (first_peer, first), (second_peer, second), (_, third) = pair(), pair(), pair()
    for connection in (first, second, third):
        assert service.arrive(connection, "10.0.0.1") is not None

    assert first_peer.recv(1) == b""
    second_peer.setblocking(False)
    with pytest.raises(BlockingIOError):
        second_peer.recv(1)
    assert service.counts == (2, 0)


def test_one_whose_request_is_unread_does_not_make_way(service: Connections, pair: Callable[[], Pair]) -> None:
    """Where all that wait have spoken, the newcomer is turned away instead."""
    for _ in range(2):
        peer, connection = pair()
        peer.sendall(b"request")
        assert service.arrive(connection, "10.0.0.1") is not None

    assert service.arrive(pair()[1], "10.0.0.1") is None
    assert service.arrive(pair()[1], "10.0.0.2") is not None


def test_total_is_limited_over_addresses(service: Connections, pair: Callable[[], Pair]) -> None:
    """Many addresses share the total; the oldest of all makes way."""
    oldest, connection = pair()
    service.arrive(connection, "10.0.0.0")
    for number in range(1, 4):
        assert service.arrive(pair()[1], f"10.0.0.{number}") is not None

    assert oldest.recv(1) == b""
    assert service.counts == (3, 0)


def test_associations_are_limited_and_given_back(service: Connections, pair: Callable[[], Pair]) -> None:
    """As many enter as there is room for; one that leaves makes room."""
    numbers = [service.arrive(pair()[1], f"10.0.0.{number}") for number in range(3)]

    assert [service.enter(number, "CT1") for number in numbers if number is not None] == [True, True, False]
    service.leave(numbers[0] or 0)
    assert service.enter(numbers[2] or 0, "CT1")
    assert service.counts == (0, 2)


def test_leaving_twice_or_unknown_changes_nothing(service: Connections) -> None:
    """A process that dies may tell of a connection twice."""
    service.leave(99)
    assert service.counts == (0, 0)


@pytest.mark.parametrize("same", ["title", "address"])
def test_one_peer_never_has_all(same: str, pair: Callable[[], Pair]) -> None:
    """By its title, or by its address, a peer has its share; whoever else comes gets in."""
    connections = Connections(ConnectionLimits(associations=4, associations_per_peer=2, silent=9, silent_per_address=9))
    titles = ["CT1"] * 3 if same == "title" else ["CT1", "CT2", "CT3"]
    addresses = [f"10.0.0.{number}" for number in range(3)] if same == "title" else ["10.0.0.1"] * 3
    numbers = [connections.arrive(pair()[1], address) or 0 for address in addresses]
    other = connections.arrive(pair()[1], "10.0.0.9") or 0

    entered = [connections.enter(number, title) for number, title in zip(numbers, titles, strict=True)]

    assert entered == [True, True, False]
    assert connections.enter(other, "CT9")
    connections.leave(numbers[0])
    assert connections.enter(numbers[2], titles[2])
    for number in (*numbers, other):
        connections.leave(number)


def test_who_was_turned_down_takes_nobodys_place(pair: Callable[[], Pair]) -> None:
    """More callers than there may be silent ones are turned down and stay: newcomers wait, the oldest is closed."""
    connections = Connections(ConnectionLimits(associations=2, associations_per_peer=2, silent=3, silent_per_address=2))
    peers: list[socket.socket] = []
    numbers: list[int] = []
    for _ in range(5):
        peer, connection = pair()
        number = connections.arrive(connection, "10.0.0.1") or 0
        connections.judge(number)
        connections.turn_down(number)
        peers.append(peer)
        numbers.append(number)

    assert connections.counts == (0, 0)
    assert [peer.recv(1) for peer in peers[:2]] == [b"", b""]
    peers[2].setblocking(False)
    with pytest.raises(BlockingIOError):
        peers[2].recv(1)
    for number in numbers:
        connections.leave(number)
