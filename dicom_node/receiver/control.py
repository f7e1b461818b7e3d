"""What passes between the receiver's parent and its children: connections one way, where they are the other."""

import socket
import struct
from dataclasses import dataclass
from enum import IntEnum

__all__ = ["Control", "Message", "Verb"]

_MESSAGE = struct.Struct(">BQ16s")


class Verb(IntEnum):
    """What is said of a connection."""

    TAKE = 1
    """Parent: serve it; its descriptor comes along."""
    TAKE_SECURE = 2
    """Parent: likewise, after a TLS handshake."""
    ROOM = 3
    NO_ROOM = 4
    """Parent: the answers to ENTER."""
    READY = 5
    """Child: it serves (of no connection)."""
    ENTER = 6
    """Child: its peer, whose AE title comes along, was admitted."""
    JUDGE = 7
    TURN_DOWN = 8
    """Child: its request is being judged; it was turned down."""
    LEAVE = 9
    """Child: it is over."""
    ALIVE = 10
    """Child: a sign of life (of no connection)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A verb about a connection, and the connection itself where it is handed over."""

    verb: Verb
    number: int
    title: str
    descriptor: int | None


class Control:
    """One end of the socket between the two. Its end is the other's death, or its wish that this one ends."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def patience(self, seconds: float) -> None:
        """So long is waited for a message, and for room to send one."""
        self._end.settimeout(seconds)

    def say(self, verb: Verb, number: int = 0, *, title: str = "", connection: socket.socket | None = None) -> None:
        """Send a message; whole, as it is far smaller than what a local socket takes at once.

        Raises:
            OSError: the other is gone.
        """
        message = _MESSAGE.pack(verb, number, title.encode())
        if connection is None:
            self._end.sendall(message)
        else:
            socket.send_fds(self._end, [message], [connection.fileno()])

    def hear(self) -> Message | None:
        """Wait for the next message; None once there is nobody to send one.

        Raises:
            TimeoutError: nothing came in the time that `patience` gave.
        """
        try:
            data, descriptors, _, _ = socket.recv_fds(self._end, _MESSAGE.size, 1)
            while data and len(data) < _MESSAGE.size:
                more = self._end.recv(_MESSAGE.size - len(data))
                if not more:
                    return None
                data += more
        except TimeoutError:
            raise
        except OSError:
            return None
        if not data:
            return None
        verb, number, title = _MESSAGE.unpack(data)
        return Message(
            verb=Verb(verb),
            number=number,
            title=title.rstrip(b"\0").decode(),
            descriptor=descriptors[0] if descriptors else None,
        )

    def hang_up(self) -> None:
        """Say that this was all."""
        try:
            self._end.shutdown(socket.SHUT_WR)
        except OSError:
            """The other is gone."""

    def close(self) -> None:
        """Give the descriptor back."""
        self._end.close()
