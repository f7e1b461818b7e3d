"""PDUs from a socket (PS3.8 section 9.3): every one with a deadline and a longest length, none kept whole.

The memory of a connection is one buffer of `BUFFER_BYTES` whatever is sent: P-DATA is handed on piece by piece as it
arrives, in the buffer itself. An instance on its way adds a block of its file and its first bytes (`block_file`).
"""

import ipaddress
import socket
import struct
import time
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from dicom_node.network.errors import InvalidPdu, Overdue, PeerGone
from dicom_node.network.protocol import Limits

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ASSOCIATE_LIMIT", "BUFFER_BYTES", "PduType", "Piece", "Wire", "address_of"]

ASSOCIATE_LIMIT = 131_072
"""Bytes of an A-ASSOCIATE-RQ with 128 contexts of 16 transfer syntaxes and long UIDs."""
BUFFER_BYTES = 262_144
LINGER_BYTES = 4 << 20
"""What a peer may have under way when it is told to go: more than that is not waited for."""
_ITEM = struct.Struct(">IBB")
_HEADER = struct.Struct(">BBI")
_FIRST_READ = 4096
_SLACK_S = 0.1
"""So much longer than asked may be waited: each change of a socket's timeout is a system call."""
_COMMAND, _LAST = 0x01, 0x02
"""Bits of the message control header (PS3.8 annex E.2)."""


def address_of(host: str) -> str:
    """A peer's address as people write it: IPv4 that came over IPv6 is IPv4, without the interface's name."""
    address = ipaddress.ip_address(host.partition("%")[0])
    return str(getattr(address, "ipv4_mapped", None) or address)


class PduType(IntEnum):
    """PS3.8 section 9.3.1."""

    ASSOCIATE_RQ = 0x01
    P_DATA = 0x04
    RELEASE_RQ = 0x05
    RELEASE_RP = 0x06
    ABORT = 0x07


@dataclass(slots=True, kw_only=True)
class Piece:
    """Consecutive bytes of one presentation data value; ``data`` holds until the wire reads on."""

    context_id: int
    is_command: bool
    data: memoryview
    ends_message: bool
    """These are the last bytes of the command set or data set."""


class Wire:
    """One connection, read and written by one thread."""

    def __init__(self, connection: socket.socket, limits: Limits) -> None:
        self._socket = connection
        self._max_pdu_bytes = limits.max_pdu_bytes
        self._pdu_timeout_s = limits.pdu_timeout_s
        self._idle_timeout_s = limits.network_timeout_s
        self._view = memoryview(b"")
        self._start = self._end = 0
        self._pdu_left = self._item_left = 0
        self._item_context, self._item_control = 0, 0
        self._deadline = 0.0
        self._timeout_s = -1.0
        self.before_reading: Callable[[], None] = lambda: None
        """Called before the buffer changes: whoever holds pieces has to be done with them."""

    def read_request(self, deadline_s: float) -> bytes:
        """The first PDU, whole, if it asks for an association. The time is for all of it, from now on.

        Raises:
            ConnectionEnded: it does not, or not in time, or is too long.
        """
        deadline = time.monotonic() + deadline_s
        head = self._exactly(_HEADER.size, deadline)
        kind, _, length = _HEADER.unpack(head)
        if kind == PduType.ABORT:
            raise PeerGone
        if kind != PduType.ASSOCIATE_RQ:
            raise InvalidPdu(f"PDU type {kind:02x} before an association")
        if length > ASSOCIATE_LIMIT:
            raise InvalidPdu(f"an association request of {length} bytes")
        return bytes(head + self._exactly(length, deadline))

    def send(self, data: bytes) -> None:
        """Send it all.

        Raises:
            ConnectionEnded: the peer takes it no more, or too slowly.
        """
        try:
            self._wait_at_most(self._pdu_timeout_s)
            self._socket.sendall(data)
        except TimeoutError as error:
            raise Overdue("to take a reply") from error
        except OSError as error:
            raise PeerGone from error

    def abort(self, pdu: bytes) -> None:
        """Send a last PDU if the peer takes it at once, and let it arrive before the connection is closed."""
        try:
            self._wait_at_most(0)
            self._socket.send(pdu)
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            """The peer is gone already."""

    def linger(self, seconds: float) -> None:
        """Wait until the peer has closed, as who is rejected or released does; not longer, nor for more than a bit."""
        deadline = time.monotonic() + seconds
        scrap = bytearray(_FIRST_READ)
        bytes_left = LINGER_BYTES
        try:
            while bytes_left > 0 and (left := deadline - time.monotonic()) > 0:
                self._wait_at_most(left)
                count = self._socket.recv_into(scrap)
                if not count:
                    return
                bytes_left -= count
        except OSError:
            """It closed in its own way, or takes its time."""

    def next_piece(self) -> Piece | PduType:
        """The next bytes of a data value, or the type of a PDU that is not P-DATA (read to its end).

        Raises:
            ConnectionEnded: the peer is gone, late, or breaks the protocol.
        """
        if not self._item_left:
            while not self._pdu_left:
                if (kind := self._begin_pdu()) is not None:
                    return kind
            self._begin_item()
        if self._item_left and self._start == self._end:
            self._read()
        start = self._start
        count = min(self._item_left, self._end - start)
        self._start = start + count
        self._item_left -= count
        control = self._item_control
        return Piece(
            context_id=self._item_context,
            is_command=bool(control & _COMMAND),
            data=self._view[start : start + count],
            ends_message=bool(control & _LAST) and not self._item_left,
        )

    def _begin_item(self) -> None:
        if self._pdu_left < _ITEM.size:
            raise InvalidPdu("a presentation data value without its head")
        self._need(_ITEM.size)
        length, self._item_context, self._item_control = _ITEM.unpack_from(self._view, self._start)
        self._start += _ITEM.size
        self._pdu_left -= length + 4
        self._item_left = length - 2
        if length < 2 or self._pdu_left < 0:
            raise InvalidPdu(f"a presentation data value of {length} bytes")

    def _begin_pdu(self) -> PduType | None:
        """Read a PDU's head; None where P-DATA begins."""
        if self._start == self._end:
            self._wait()
        self._deadline = time.monotonic() + self._pdu_timeout_s
        self._need(_HEADER.size)
        kind, _, length = _HEADER.unpack_from(self._view, self._start)
        self._start += _HEADER.size
        if kind == PduType.P_DATA:
            if length > self._max_pdu_bytes:
                raise InvalidPdu(f"a PDU of {length} bytes, where {self._max_pdu_bytes} are allowed")
            self._pdu_left = length
            return None
        if kind not in {PduType.RELEASE_RQ, PduType.RELEASE_RP, PduType.ABORT} or length != 4:
            raise InvalidPdu(f"PDU type {kind:02x} of {length} bytes on an association")
        self._need(4)
        self._start += 4
        return PduType(kind)

    def _need(self, count: int) -> None:
        while self._end - self._start < count:
            self._read()

    def _wait(self) -> None:
        """The first bytes of a PDU, in the idle time."""
        self._deadline = time.monotonic() + self._idle_timeout_s
        self._read()

    def _read(self) -> None:
        """Fill the buffer with what is there, at least one byte."""
        self.before_reading()
        if not self._view:
            self._view = memoryview(bytearray(BUFFER_BYTES))
        held = self._end - self._start
        if held:
            self._view[:held] = bytes(self._view[self._start : self._end])
        self._start = 0
        self._end = held + self._receive(self._view[held:])

    def _receive(self, room: memoryview) -> int:
        """Bytes from the socket before the deadline, at least one."""
        while (left := self._deadline - time.monotonic()) > 0:
            try:
                self._wait_at_most(min(left, self._pdu_timeout_s))
                count = self._socket.recv_into(room)
            except TimeoutError:  # or only a part of the idle time, which is waited for in parts of one length
                continue
            except OSError as error:
                raise PeerGone from error
            if not count:
                raise PeerGone
            return count
        raise Overdue("for a PDU")

    def _wait_at_most(self, seconds: float) -> None:
        """Give the socket's next call that time, unless it has it already, or a trifle more."""
        if not seconds <= self._timeout_s <= seconds + _SLACK_S:
            self._socket.settimeout(seconds)
            self._timeout_s = seconds

    def _exactly(self, count: int, deadline: float) -> bytes:
        """So many bytes from the socket; memory grows with what has come, not with what was announced."""
        parts = bytearray()
        while len(parts) < count:
            left = deadline - time.monotonic()
            if left <= 0:
                raise Overdue("to ask for an association")
            try:
                self._wait_at_most(left)
                part = self._socket.recv(min(count - len(parts), _FIRST_READ))
            except TimeoutError as error:
                raise Overdue("to ask for an association") from error
            except OSError as error:
                raise PeerGone from error
            if not part:
                raise PeerGone
            parts += part
        return bytes(parts)
