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
    """The most there may be: associations; connections that have not asked for one, in total and from one address."""

    associations: int
    silent: int
    silent_per_address: int


@dataclass(slots=True, kw_only=True)
class _Waiting:
    address: str
    connection: socket.socket


class Connections:
    """Counts connections. Where the silent ones are too many, the oldest that has sent nothing makes way.

    A peer that asks at once is never kept out by peers that only connect; one whose request lies unread is not
    closed for a newer one.
    """

    def __init__(self, room: ConnectionLimits) -> None:
        self._room = room
        self._numbers = count(1)
        self._waiting: dict[int, _Waiting] = {}
        self._per_address: dict[str, dict[int, None]] = {}
        self._associations: set[int] = set()
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
            return number

    def enter(self, number: int) -> bool:
        """The connection asks for an association: is there room?"""
        with self._mutex:
            self._forget(number)
            if len(self._associations) >= self._room.associations:
                return False
            self._associations.add(number)
            return True

    def leave(self, number: int) -> None:
        """The connection is over."""
        with self._mutex:
            self._forget(number)
            self._associations.discard(number)

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
        waiting = self._waiting.pop(number, None)
        if waiting is None:
            return
        waiting.connection.close()
        own = self._per_address[waiting.address]
        own.pop(number, None)
        if not own:
            del self._per_address[waiting.address]


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
