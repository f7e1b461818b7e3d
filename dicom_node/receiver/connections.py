"""How many connections there are, over all processes: who may wait silently, and who may have an association."""

import select
import socket
import threading
from dataclasses import dataclass
from itertools import count

import structlog

__all__ = ["ConnectionLimits", "Connections"]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """The most there may be: associations, in total and of one peer; connections without one, likewise.

    A peer is whoever calls with one AE title, and whoever calls from one address.
    """

    associations: int
    associations_per_peer: int
    silent: int
    silent_per_address: int


@dataclass(slots=True, kw_only=True)
class _Waiting:
    address: str
    connection: socket.socket


class Connections:
    """Counts connections. Where the silent ones are too many, the oldest that has sent nothing makes way.

    A peer that asks at once is never kept out by peers that only connect; one whose request lies unread is not closed
    for a newer one. Who asked counts no more among the silent ones; of those that were turned down, and take their time
    to go, there are as many as of silent ones, then the oldest is closed.
    """

    def __init__(self, room: ConnectionLimits) -> None:
        self._room = room
        self._numbers = count(1)
        self._waiting: dict[int, _Waiting] = {}
        self._per_address: dict[str, dict[int, None]] = {}
        self._judged: dict[int, socket.socket] = {}
        self._turned_down: dict[int, socket.socket] = {}
        self._addresses: dict[int, str] = {}
        self._associations: dict[int, str] = {}
        """The calling AE title of each."""
        self._mutex = threading.Lock()

    def arrive(self, connection: socket.socket, address: str) -> int | None:
        """A connection came: its number, or None where even the silent ones may not make way.

        The connections keeps a descriptor of its own until the connection asks or is over.
        """
        with self._mutex:
            own = self._per_address.get(address, {})
            if len(own) >= self._room.silent_per_address:
                if not self._make_way(list(own)):
                    return None
            elif len(self._waiting) >= self._room.silent and not self._make_way(list(self._waiting)):
                return None
            number = next(self._numbers)
            self._waiting[number] = _Waiting(address=address, connection=connection.dup())
            self._per_address.setdefault(address, {})[number] = None
            self._addresses[number] = address
            return number

    def judge(self, number: int) -> None:
        """The connection's request is being judged."""
        with self._mutex:
            if number in self._waiting:
                self._judged[number] = self._take(number)

    def turn_down(self, number: int) -> None:
        """The request was turned down: its peer is to go."""
        with self._mutex:
            if (connection := self._judged.pop(number, None)) is None:
                return
            self._turned_down[number] = connection
            if len(self._turned_down) > self._room.silent:
                oldest = self._turned_down.pop(next(iter(self._turned_down)))
                _shut(oldest)
                oldest.close()

    def enter(self, number: int, calling_ae_title: str) -> bool:
        """The connection's peer was admitted: is there room for its association?"""
        with self._mutex:
            address = self._addresses.get(number)
            titled = sum(title == calling_ae_title for title in self._associations.values())
            beside = sum(self._addresses.get(other) == address for other in self._associations)
            most = self._room.associations_per_peer
            if len(self._associations) >= self._room.associations or titled >= most or beside >= most:
                return False
            self._forget(number)
            self._associations[number] = calling_ae_title
            return True

    def leave(self, number: int) -> None:
        """The connection is over."""
        with self._mutex:
            self._forget(number)
            self._addresses.pop(number, None)
            self._associations.pop(number, None)

    @property
    def counts(self) -> tuple[int, int]:
        """Silent connections, and associations."""
        with self._mutex:
            return len(self._waiting), len(self._associations)

    def _make_way(self, numbers: list[int]) -> bool:
        for number in numbers:
            waiting = self._waiting[number]
            if not _has_unread(waiting.connection):
                _log.info("connection.evicted", address=waiting.address)
                _shut(waiting.connection)
                self._forget(number)
                return True
        return False

    def _forget(self, number: int) -> None:
        """Give up the descriptor of a connection that has no association, or has one now."""
        if number in self._waiting:
            self._take(number).close()
        for kept in (self._judged, self._turned_down):
            if (connection := kept.pop(number, None)) is not None:
                connection.close()

    def _take(self, number: int) -> socket.socket:
        """The descriptor of a silent connection, which is silent no more."""
        waiting = self._waiting.pop(number)
        own = self._per_address[waiting.address]
        own.pop(number, None)
        if not own:
            del self._per_address[waiting.address]
        return waiting.connection


def _has_unread(connection: socket.socket) -> bool:
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))


def _shut(connection: socket.socket) -> None:
    """Whoever reads from it sees its end."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        """The peer was quicker."""
