"""The listening sockets: who comes in is counted and handed on; this thread reads nothing and waits for nobody."""

import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from dicom_node.network.wire import address_of
from dicom_node.receiver.children import NoChild
from dicom_node.receiver.connections import Connections

__all__ = ["Acceptor", "listen"]

_log = structlog.get_logger(__name__)

BACKLOG = 512
_PAUSE_S = 0.05
"""After the system would not accept: no descriptor is free."""

_Take = Callable[..., None]


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one.

    Raises:
        OSError: the port cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listener:
    socket: socket.socket
    secure: bool


class Acceptor:
    """Accepts on each of its sockets, plain or secure, and hands connections on."""

    def __init__(
        self, connections: Connections, take: _Take, *, plain: socket.socket, secure: socket.socket | None = None
    ) -> None:
        self._connections = connections
        self._take = take
        self._listeners = [_Listener(socket=plain, secure=False)]
        if secure is not None:
            self._listeners.append(_Listener(socket=secure, secure=True))
        self._closing = threading.Event()
        self._threads = [
            threading.Thread(target=self._accept, args=(listener,), name="acceptor", daemon=True)
            for listener in self._listeners
        ]

    def open(self) -> None:
        """Begin to accept."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Accept nothing more; what is open stays open."""
        self._closing.set()
        for listener in self._listeners:
            try:
                listener.socket.shutdown(socket.SHUT_RDWR)  # wakes its thread
            except OSError:
                """It never listened."""
            listener.socket.close()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def _accept(self, listener: _Listener) -> None:
        while not self._closing.is_set():
            try:
                connection, address = listener.socket.accept()
            except OSError as error:
                if not self._closing.wait(_PAUSE_S):
                    _log.warning("connection.unaccepted", error=error.strerror)
                continue
            with connection:
                self._admit(connection, address_of(address[0]), secure=listener.secure)

    def _admit(self, connection: socket.socket, address: str, *, secure: bool) -> None:
        try:
            number = self._connections.arrive(connection, address)
            if number is None:
                _log.info("connection.turned_away", address=address)
                return
        except OSError as error:
            _log.warning("connection.unaccepted", error=error.strerror)
            return
        try:
            self._take(connection, number, secure=secure)
        except (NoChild, OSError) as error:
            _log.warning("connection.lost", address=address, error=type(error).__name__)
            self._connections.leave(number)
