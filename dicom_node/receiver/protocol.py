"""The one module that leans on pynetdicom's insides (written for 3.0.4): its socket, association and server, bounded.

What is overridden, and why:

- ``AssociationSocket.recv``: a deadline on every PDU, a cap on its length before it is read, large reads;
- ``AssociationSocket._shutdown_socket``: the descriptor is closed, which pynetdicom skips when the peer was quicker;
- ``DIMSEServiceProvider.receive_primitive``: a cap on the size of one message;
- ``Association._serve_request``: a C-STORE goes to the node's own intake, so that every request gets its reply;
- ``Association.run``: one place where an association ends, however it ends;
- ``ACSE`` through EVT_REQUESTED: peers are judged before anything is negotiated;
- ``AE.active_associations``: sockets that have not asked for an association do not count against those that have;
- ``RequestHandler._create_association``: builds that association.
"""

import socket
import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, cast

from pynetdicom import AE, evt
from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import A_ASSOCIATE, P_DATA
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["AssociationInfo", "Limits", "Service", "StorageServer", "StoreRequest"]

_ASSOCIATE_LIMIT = 262_144
"""Bytes of an A-ASSOCIATE-RQ with 128 contexts of 16 transfer syntaxes, twice over."""
_COMMAND_LIMIT = 16_384
_READ_BYTES = 262_144
_INVALID_PDU_ABORT = b"\x07\0\0\0\0\x04\0\0\x02\x06"
"""A-ABORT by the service provider, invalid PDU parameter value (PS3.8 table 9-26)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one peer may take: seconds, bytes, associations."""

    acse_timeout_s: float
    network_timeout_s: float
    max_pdu_bytes: int
    max_instance_bytes: int
    max_associations: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociationInfo:
    """Who is on the other end."""

    association_id: str
    calling_ae_title: str
    called_ae_title: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRequest:
    """A C-STORE request as it came: the command's UIDs, its presentation context, and the data set's bytes."""

    sop_class_uid: str
    sop_instance_uid: str
    context_sop_class_uid: str
    transfer_syntax_uid: str
    encoded: bytes = field(repr=False)


class Service(Protocol):
    """What the node does with associations and requests; the network knows no more of it."""

    def admit(self, info: AssociationInfo) -> tuple[int, int, int] | None:
        """None to accept, or result, source and diagnostic of the rejection."""
        ...

    def store(self, info: AssociationInfo, request: StoreRequest) -> int:
        """Take an instance; return the status."""
        ...

    def ended(self, info: AssociationInfo) -> None:
        """The association is over, and no request of it is running."""
        ...


class _BoundedSocket(AssociationSocket):
    """A socket whose peer has a deadline for each PDU and no say in how much memory it takes."""

    limits: Limits

    def recv(self, nr_bytes: int) -> bytearray:
        """Read exactly that many bytes (fewer if the peer closes), in time, or raise OSError."""
        established = self.assoc.is_established
        longest = self.limits.max_pdu_bytes if established else max(_ASSOCIATE_LIMIT, self.limits.max_pdu_bytes)
        if nr_bytes > longest:
            self.send(_INVALID_PDU_ABORT)
            raise ConnectionAbortedError(f"a PDU of {nr_bytes} bytes, where {longest} are allowed")
        deadline = time.monotonic() + (self.limits.network_timeout_s if established else self.limits.acse_timeout_s)
        buffer = bytearray(nr_bytes)
        view = memoryview(buffer)
        read = 0
        connection = cast("socket.socket", self.socket)
        while read < nr_bytes:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("a PDU that does not end")
            connection.settimeout(left)
            count = connection.recv_into(view[read:], min(nr_bytes - read, _READ_BYTES))
            if not count:
                view.release()
                return buffer[:read]
            read += count
        connection.settimeout(self.limits.network_timeout_s)
        view.release()
        return buffer

    def _shutdown_socket(self) -> None:
        """Close the socket even where the peer is gone and there is nothing to shut down."""
        connection = self.socket
        super()._shutdown_socket()
        if connection is not None:
            connection.close()


class _BoundedDimse(DIMSEServiceProvider):
    """Assembles messages up to a size; beyond it the association is aborted."""

    def __init__(self, assoc: Association, limits: Limits) -> None:
        super().__init__(assoc)
        self._limits = limits
        self._command_bytes = 0
        self._dataset_bytes = 0

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Count what the message holds so far before pynetdicom keeps it."""
        for _, fragment in primitive.presentation_data_value_list:
            if fragment[0] & 1:
                self._command_bytes += len(fragment)
            else:
                self._dataset_bytes += len(fragment)
        if self._command_bytes > _COMMAND_LIMIT or self._dataset_bytes > self._limits.max_instance_bytes:
            self.message = None
            self.dul.event_queue.put("Evt19")
            return
        super().receive_primitive(primitive)
        if self.message is None:
            self._command_bytes = self._dataset_bytes = 0


class _NodeAssociation(Association):
    """An association that belongs to a `Service`."""

    def __init__(self, ae: AE, limits: Limits, service: Service) -> None:
        super().__init__(ae, MODE_ACCEPTOR)
        self.dimse = _BoundedDimse(self, limits)
        self.service = service
        self.association_id = uuid.uuid4().hex
        self.asked = False
        self.bind(evt.EVT_REQUESTED, self._judge)

    @property
    def info(self) -> AssociationInfo:
        """Who asked, once the request has come."""
        request = cast("A_ASSOCIATE", self.requestor.primitive)
        return AssociationInfo(
            association_id=self.association_id,
            calling_ae_title=request.calling_ae_title.strip(),
            called_ae_title=request.called_ae_title.strip(),
            address=cast("Any", self.requestor.address_info).address,
        )

    def belongs_to(self, server: "_Server") -> None:
        """Name the server that accepted the connection, as pynetdicom's own handler does."""
        self._server = server

    def end(self, grace_s: float) -> None:
        """Let the request that is being served get its reply, then abort; nothing more is served."""
        if not self.is_established:
            self.kill()
            return
        self._reactor_checkpoint.clear()
        deadline = time.monotonic() + grace_s
        while not self._is_paused and self.is_alive() and time.monotonic() < deadline:
            time.sleep(0.001)
        self.abort()

    def run(self) -> None:
        """Serve until the association is over, then say so once."""
        try:
            super().run()
        finally:
            if self.asked:
                self.service.ended(self.info)

    def _judge(self, _event: evt.Event) -> None:
        """Reject before negotiation. Unless the service says yes, the answer is no: an error must not let a peer in."""
        self.asked = True
        rejection: tuple[int, int, int] | None = (2, 3, 1)
        try:
            rejection = self.service.admit(self.info)
        finally:
            if rejection is not None:
                self.acse.send_reject(*rejection)
                self.kill()

    def _serve_request(self, msg: Any, context_id: int) -> None:
        """C-STORE requests are the node's; everything else (C-ECHO) is pynetdicom's."""
        if not isinstance(msg, C_STORE) or msg.MessageIDBeingRespondedTo is not None:
            super()._serve_request(msg, context_id)
            return
        context = self._accepted_cx.get(context_id)
        if context is None or msg.MessageID is None:
            self.abort()
            return
        status = self.service.store(self.info, _store_request(msg, context))
        reply = C_STORE()
        reply.MessageID = msg.MessageID
        reply.MessageIDBeingRespondedTo = msg.MessageID
        reply.AffectedSOPClassUID = msg.AffectedSOPClassUID
        reply.AffectedSOPInstanceUID = msg.AffectedSOPInstanceUID
        reply.Status = status
        self.dimse.send_msg(reply, context_id)


def _store_request(message: C_STORE, context: PresentationContext) -> StoreRequest:
    return StoreRequest(
        sop_class_uid=str(message.AffectedSOPClassUID or ""),
        sop_instance_uid=str(message.AffectedSOPInstanceUID or ""),
        context_sop_class_uid=str(context.abstract_syntax),
        transfer_syntax_uid=str(context.transfer_syntax[0]),
        encoded=message.DataSet.getvalue() if message.DataSet is not None else b"",
    )


class _Entity(AE):
    """An AE that counts only the sockets that have asked for an association."""

    def adopt(self, server: ThreadedAssociationServer) -> None:
        """Keep account of the server, as ``start_server`` does."""
        self._servers.append(server)

    @property
    def active_associations(self) -> list[Association]:
        """Associations asked for or established; silent sockets have the handshake's deadline instead."""
        return [assoc for assoc in super().active_associations if getattr(assoc, "asked", True)]


class _Handler(RequestHandler):
    """Turns an accepted connection into a `_NodeAssociation`."""

    def _create_association(self) -> Association:
        server = cast("_Server", self.server)
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request.settimeout(server.limits.acse_timeout_s)
        assoc = _NodeAssociation(self.ae, server.limits, server.service)
        assoc.belongs_to(server)
        assoc.name = f"AcceptorThread-{assoc.association_id[:8]}"
        connection = _BoundedSocket(assoc, client_socket=self.request)
        connection.limits = server.limits
        assoc.set_socket(connection)
        assoc.acceptor.maximum_length = self.ae.maximum_pdu_size
        assoc.acceptor.ae_title = server.ae_title
        assoc.acceptor.address_info = self.local
        assoc.acceptor.implementation_class_uid = self.ae.implementation_class_uid
        assoc.acceptor.implementation_version_name = self.ae.implementation_version_name
        assoc.acceptor.supported_contexts = server.contexts
        assoc.requestor.address_info = self.remote
        return assoc


class _Server(ThreadedAssociationServer):
    """A listening socket with limits and a service."""

    limits: Limits
    service: Service
    request_queue_size = 128
    daemon_threads = True


class StorageServer:
    """Listens, and hands what comes to a `Service`."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        ae_title: str,
        contexts: list[PresentationContext],
        limits: Limits,
        service: Service,
    ) -> None:
        self._entity = _Entity(ae_title)
        self._entity.acse_timeout = limits.acse_timeout_s
        self._entity.dimse_timeout = limits.network_timeout_s
        self._entity.network_timeout = limits.network_timeout_s
        self._entity.maximum_associations = limits.max_associations
        self._entity.maximum_pdu_size = limits.max_pdu_bytes
        self._entity.supported_contexts = contexts
        make = cast("Callable[..., _Server]", self._entity.make_server)
        self._server = make((host, port), server_class=_Server, request_handler=_Handler)
        self._server.limits = limits
        self._server.service = service
        self._entity.adopt(self._server)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="acceptor", daemon=True)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self._server.server_address[1]

    def start(self) -> None:
        """Accept connections, on a thread of its own."""
        self._thread.start()

    def stop_accepting(self) -> None:
        """Close the listening socket; what is open stays open."""
        self._server.shutdown()
        self._thread.join()

    def end_associations(self, grace_s: float) -> None:
        """Abort what is open. A request that is being served gets its reply first, within the grace."""
        associations = [
            tt for tt in threading.enumerate() if isinstance(tt, _NodeAssociation) and tt.ae is self._entity
        ]
        enders = [threading.Thread(target=assoc.end, args=(grace_s,), daemon=True) for assoc in associations]
        for ender in enders:
            ender.start()
        deadline = time.monotonic() + grace_s
        for thread in (*enders, *associations):
            thread.join(max(0.0, deadline - time.monotonic()))
