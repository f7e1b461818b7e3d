"""A connection to a peer, with the limits that the receiver has: each PDU a longest length and a deadline.

pynetdicom as a client reads as much as a PDU announces, without a time limit, and takes in what nobody asked for. Here
a PDU that is too long, a message that does not end, a peer that trickles and a message that answers no request all end
the connection, and what is not taken yet by whoever asked is left in the peer's hands (TCP's flow control). Leans on
names that pynetdicom keeps to itself (3.0.x; pyproject.toml pins it).
"""

import socket
import ssl
import time
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.transport import T_CONNECT, AddressInformation, AssociationSocket

from dicom_node.network.tls import reason_of
from dicom_node.peers.errors import Unreachable
from dicom_node.peers.remote import MAX_PDU_BYTES, Remote

__all__ = ["CallingEntity", "Transport", "connect"]

_HEADER_BYTES = 6
_WAITING_MESSAGES = 2
"""Messages that wait for whoever asked, before no more are read."""
_C_STORE_RQ, _C_GET_RQ, _RESPONSE = 0x0001, 0x0010, 0x8000  # Command Field, PS3.7 table E.1-1
_PENDING = frozenset({0xFF00, 0xFF01})
_TRANSPORT_CLOSED = "Evt17"  # PS3.8 table 9-10
_TRANSPORT_CONFIRMED = "Evt2"


def connect(remote: Remote) -> socket.socket:
    """A connection to the peer, encrypted where the remote says so.

    Raises:
        Unreachable: the name is not known, nothing listens, or TLS does not come about.
    """
    try:
        connection = socket.create_connection((remote.host, remote.port), timeout=remote.timeout_s)
    except socket.gaierror as error:
        raise Unreachable(f"The name {remote.host} is not known here ({error.strerror}); check the host.") from error
    except (OSError, UnicodeError) as error:
        raise Unreachable(
            f"Nothing answers as {remote} ({reason_of(error)}): check host and port, that the node runs "
            "(`lungsentry status` there) and that no firewall is in between."
        ) from error
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if remote.tls is None:
        return connection
    try:
        return remote.tls.wrap_socket(connection, server_hostname=remote.host)
    except (OSError, ValueError) as error:
        connection.close()
        raise Unreachable(f"{remote} answers, but not by TLS: {reason_of(error)}.") from error


class Transport(AssociationSocket):
    """Carries an association over a connection that stands already."""

    def __init__(
        self, association: Association, connection: socket.socket, remote: Remote, max_message_bytes: int
    ) -> None:
        self._connection = connection
        super().__init__(association, address=AddressInformation.from_tuple(connection.getpeername()[:2]))
        self._remote = remote
        self._max_message_bytes = max_message_bytes
        self._message_bytes = 0
        self._deadline = 0.0
        self._awaited: int | None = None
        association.bind(evt.EVT_DIMSE_SENT, self._message_went)
        association.bind(evt.EVT_DIMSE_RECV, self._message_came)

    def _create_socket(self, address: AddressInformation) -> socket.socket:  # noqa: ARG002 - it is bound already
        return self._connection

    def connect(self, primitive: T_CONNECT) -> None:
        """Say that the connection stands."""
        self._is_connected = True
        primitive.result = _TRANSPORT_CONFIRMED
        self.provider_queue.put(primitive)
        self._ready.set()

    @property
    def ready(self) -> bool:
        """Whether there is something to read, and nobody has to read what came before."""
        return self.assoc.dimse.msg_queue.qsize() < _WAITING_MESSAGES and super().ready

    def recv(self, nr_bytes: int) -> bytearray:
        """So many bytes: a PDU's head, or what it announces. ``OSError`` ends the connection."""
        connection = self._open_socket()
        if nr_bytes == _HEADER_BYTES:
            self._deadline = time.monotonic() + self._remote.pdu_timeout_s
        self._message_bytes += nr_bytes
        if nr_bytes > MAX_PDU_BYTES or self._message_bytes > self._max_message_bytes:
            raise OSError(f"a PDU of {nr_bytes} bytes, after {self._message_bytes - nr_bytes} of its message")
        received = bytearray(nr_bytes)
        view, count = memoryview(received), 0
        while count < nr_bytes:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("a PDU took too long")
            connection.settimeout(left)
            more = connection.recv_into(view[count:])
            if not more:
                return received[:count]
            count += more
        return received

    def send(self, bytestream: bytes) -> None:
        """A PDU; the peer has its time limit to take it."""
        try:
            connection = self._open_socket()
            connection.settimeout(self._remote.timeout_s)
            connection.sendall(bytestream)
        except OSError:
            self.event_queue.put(_TRANSPORT_CLOSED)

    def _message_went(self, event: evt.Event) -> None:
        field = int(event.message.command_set.CommandField)
        if not field & _RESPONSE:
            self._awaited = field

    def _message_came(self, event: evt.Event) -> None:
        """What is neither the response that is awaited, nor what C-GET brings, ends the connection."""
        self._message_bytes = 0
        command = event.message.command_set
        field = int(command.get("CommandField") or 0)
        if self._awaited is not None and field == self._awaited | _RESPONSE:
            if command.get("Status") not in _PENDING:
                self._awaited = None
        elif (self._awaited, field) != (_C_GET_RQ, _C_STORE_RQ):
            self.event_queue.put(_TRANSPORT_CLOSED)
            event.message.message_to_primitive = _unasked

    def _open_socket(self) -> socket.socket:
        if self.socket is None:
            raise OSError("the connection is closed")
        return self.socket


def _unasked() -> Any:
    """Called by pynetdicom in place of the message's decoding, so that nobody gets to see it."""
    raise ValueError("a message that answers no request")


class CallingEntity(AE):
    """The node as it calls a peer, over a connection that stands."""

    def __init__(self, remote: Remote, connection: socket.socket, *, max_message_bytes: int) -> None:
        super().__init__(ae_title=remote.calling_ae_title)
        self.acse_timeout = self.dimse_timeout = self.network_timeout = self.connection_timeout = remote.timeout_s
        self._remote = remote
        self._connection = connection
        self._max_message_bytes = max_message_bytes

    def _create_socket(
        self,
        assoc: Association,
        address: AddressInformation,  # noqa: ARG002 - to bind to, where there is no connection yet
        tls_args: tuple[ssl.SSLContext, str] | None,  # noqa: ARG002 - TLS stands already
    ) -> Transport:
        return Transport(assoc, self._connection, self._remote, self._max_message_bytes)
