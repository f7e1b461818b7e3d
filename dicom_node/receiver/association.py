"""One connection from its first byte to its last: negotiated, served, ended, all on a thread of its own."""

import socket
import threading
import uuid
from collections.abc import Callable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final

import structlog

from dicom_node.network.contexts import VERIFICATION_SOP_CLASS
from dicom_node.network.dimse import C_ECHO_RQ, C_STORE_RQ, Command, read_command, reply
from dicom_node.network.errors import ConnectionEnded, InvalidPdu, PeerGone
from dicom_node.network.protocol import (
    AssociationInfo,
    Limits,
    Message,
    MessageService,
    Reception,
    Service,
    Slots,
    StoreCommand,
)
from dicom_node.network.status import SUCCESS, UNRECOGNISED_OPERATION
from dicom_node.network.tls import TlsError
from dicom_node.network.upper_layer import (
    AcceptedContext,
    Agreement,
    Negotiator,
    Proposal,
    read_proposal,
    rejection,
)
from dicom_node.network.wire import PduType, Piece, Wire

__all__ = ["Association", "Phase"]

_log = structlog.get_logger(__name__)

RELEASE_RP = b"\x06\0\0\0\0\x04\0\0\0\0"
ABORT_BY_NODE = b"\x07\0\0\0\0\x04\0\0\x02\x00"
"""A-RELEASE-RP, and A-ABORT by the service provider without a reason (PS3.8 sections 9.3.7 and 9.3.8)."""
NO_ROOM = (2, 3, 2)
"""Rejected for now: local limit exceeded (PS3.8 table 9-21)."""
COMMAND_LIMIT = 16_384
MESSAGE_LIMIT = 4_194_304
"""Bytes of a request for storage commitment of some 30,000 instances."""
LINGER_S = 2.0
"""Time a peer has to close after the last PDU, before its connection is closed under it."""


class Phase(Enum):
    """Where a connection is; each leads to the next, and any to ENDED."""

    SILENT = "silent"
    ESTABLISHED = "established"
    ENDED = "ended"


class Association:
    """A connection that asks for an association, and gets it or not."""

    def __init__(
        self,
        connection: socket.socket,
        address: str,
        number: int,
        *,
        service: Service,
        negotiator: Negotiator,
        limits: Limits,
        slots: Slots,
        others: Mapping[str, MessageService] = MappingProxyType({}),
        secure: Callable[[socket.socket], socket.socket] | None = None,
        on_end: Callable[["Association"], None] | None = None,
    ) -> None:
        self._connection = connection
        self._address: Final = address
        self._number: Final = number
        self._service: Final = service
        self._negotiator: Final = negotiator
        self._limits: Final = limits
        self._slots: Final = slots
        self._others: Final = others
        self._secure: Final = secure
        self._on_end: Final = on_end
        self._contexts: Mapping[int, AcceptedContext] = {}
        self._info: AssociationInfo | None = None
        self._wire = Wire(connection, limits)
        self._between_requests = threading.Lock()
        self._released = False
        self.phase = Phase.SILENT
        self.thread = threading.Thread(target=self._run, name=f"association-{number}", daemon=True)

    def start(self) -> None:
        """Begin, on a thread of its own."""
        self.thread.start()

    def end(self, grace_s: float) -> None:
        """End it from outside: a request that is being served gets its reply first, within the grace."""
        finished = self._between_requests.acquire(timeout=grace_s) if self.phase is Phase.ESTABLISHED else False
        try:
            if self.phase is Phase.ESTABLISHED:
                self._wire.abort(ABORT_BY_NODE)
            self.phase = Phase.ENDED
            self._connection.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads
        except OSError:
            """The peer was quicker."""
        finally:
            if finished:
                self._between_requests.release()

    def _run(self) -> None:
        try:
            if self._secure is not None:
                self._connection = self._secure(self._connection)
                self._wire = Wire(self._connection, self._limits)
            with self._connection:
                self._converse()
        except TlsError as error:
            self._connection.close()
            _log.warning("association.unencrypted", address=self._address, reason=str(error))
        except Exception:  # noqa: BLE001 - the SCP handler is a boundary: no peer may end more than its connection
            _log.exception("association.failed", address=self._address)
        finally:
            self.phase = Phase.ENDED
            try:
                if self._info is not None:
                    self._service.ended(self._info, released=self._released)
                    for other in self._others.values():
                        other.ended(self._info)
            finally:
                self._slots.leave(self._number)
                if self._on_end is not None:
                    self._on_end(self)

    def _converse(self) -> None:
        try:
            if self._negotiate():
                self._serve()
        except ConnectionEnded as end:
            if self.phase is Phase.ENDED:
                return
            if not isinstance(end, PeerGone):
                _log.warning("association.aborted", address=self._address, reason=str(end))
            if end.abort is not None:
                self._wire.abort(end.abort)
                self._wire.linger(LINGER_S)

    def _negotiate(self) -> bool:
        """The peer asks, and is answered; whether there is an association."""
        encoded = self._wire.read_request(self._limits.acse_timeout_s)
        self._slots.judge(self._number)
        try:
            return self._answer_proposal(read_proposal(encoded))
        except InvalidPdu as error:
            self._service.refused(str(error), address=self._address)
            raise

    def _answer_proposal(self, proposal: Proposal) -> bool:
        info = AssociationInfo(
            association_id=uuid.uuid4().hex,
            calling_ae_title=proposal.calling_ae_title,
            called_ae_title=proposal.called_ae_title,
            address=self._address,
        )
        if proposal.refusal is not None:
            return self._refuse(info, "it speaks another version of the protocol", proposal.refusal)
        if (refusal := self._service.admit(info)) is not None:
            return self._reject(refusal)
        answer = self._negotiator.negotiate(proposal)
        if not isinstance(answer, Agreement):
            return self._refuse(info, "it asks for another application context", answer)
        if not self._slots.enter(self._number, proposal.calling_ae_title):
            return self._refuse(info, "there are as many associations as may be, of all peers or of this one", NO_ROOM)
        self._info = info
        self._contexts = answer.contexts
        self.phase = Phase.ESTABLISHED
        self._wire.send(answer.reply)
        return True

    def _refuse(self, info: AssociationInfo, reason: str, why: tuple[int, int, int]) -> bool:
        self._service.refused(reason, **info.titles)
        return self._reject(why)

    def _reject(self, why: tuple[int, int, int]) -> bool:
        self._wire.abort(rejection(*why))
        self._slots.turn_down(self._number)
        self._wire.linger(LINGER_S)
        return False

    def _serve(self) -> None:
        while True:
            piece = self._wire.next_piece()
            if piece is PduType.RELEASE_RQ:
                assert self._info is not None  # noqa: S101 - set before anything is served
                self._released = True
                self._service.settle(self._info)
                self._wire.abort(RELEASE_RP)
                self._wire.linger(LINGER_S)
                return
            if not isinstance(piece, Piece):
                raise PeerGone
            with self._between_requests:
                if self.phase is Phase.ENDED:
                    return
                self._serve_message(piece)

    def _serve_message(self, first: Piece) -> None:
        command, context_id = self._read_command(first)
        context = self._contexts.get(context_id)
        if context is None:
            raise InvalidPdu(f"presentation context {context_id}, which was not agreed on")
        other = self._others.get(context.abstract_syntax)
        if other is not None:
            self._serve_other(other, command, context, context_id)
            return
        if command.operation == C_STORE_RQ:
            self._store(command, context, context_id)
            return
        if command.has_dataset:
            self._drain(context_id)
        if command.wants_reply:
            self._wire.send(reply(context_id, command, self._answer(command, context)))

    def _serve_other(self, other: MessageService, command: Command, context: AcceptedContext, context_id: int) -> None:
        assert self._info is not None  # noqa: S101 - set before anything is served
        message = Message(
            context_id=context_id,
            transfer_syntax_uid=context.transfer_syntax,
            command=command.encoded,
            dataset=self._collect(context_id) if command.has_dataset else b"",
        )
        self._service.settle(self._info)  # who asks about instances means those that came before, too
        other.serve(self._info, message, self._wire.send)

    @staticmethod
    def _answer(command: Command, context: AcceptedContext) -> int:
        """The status of a request without a data set of interest."""
        if command.operation == C_ECHO_RQ and context.abstract_syntax == VERIFICATION_SOP_CLASS:
            return SUCCESS
        return UNRECOGNISED_OPERATION

    def _store(self, command: Command, context: AcceptedContext, context_id: int) -> None:
        assert self._info is not None  # noqa: S101 - set before anything is served
        reception = self._service.begin(
            self._info,
            StoreCommand(
                sop_class_uid=command.sop_class_uid,
                sop_instance_uid=command.sop_instance_uid,
                context_sop_class_uid=context.abstract_syntax,
                transfer_syntax_uid=context.transfer_syntax,
            ),
        )
        whole = False
        try:
            if command.has_dataset:
                self._receive(reception, context_id)
            whole = True
        finally:
            if not whole:
                reception.abandon()
        status = reception.finish()
        try:
            self._wire.send(reply(context_id, command, status))
        finally:
            reception.conclude()

    def _receive(self, reception: Reception, context_id: int) -> None:
        """Hand a data set on, as many pieces at once as one read brought."""
        held: list[memoryview] = []

        def hand_on() -> None:
            if held:
                reception.write(held)
                held.clear()

        self._wire.before_reading = hand_on
        try:
            while True:
                piece = self._dataset_piece(context_id)
                held.append(piece.data)
                if piece.ends_message:
                    hand_on()
                    return
        finally:
            self._wire.before_reading = _nothing

    def _collect(self, context_id: int) -> bytes:
        """A data set that is small by its nature, whole."""
        collected = bytearray()
        while True:
            piece = self._dataset_piece(context_id)
            collected += piece.data
            if len(collected) > MESSAGE_LIMIT:
                raise InvalidPdu(f"a message of more than {MESSAGE_LIMIT} bytes")
            if piece.ends_message:
                return bytes(collected)

    def _drain(self, context_id: int) -> None:
        while not self._dataset_piece(context_id).ends_message:
            """What nobody asked for is read, and forgotten."""

    def _dataset_piece(self, context_id: int) -> Piece:
        piece = self._wire.next_piece()
        if not isinstance(piece, Piece):
            raise PeerGone if piece is PduType.ABORT else InvalidPdu("a release within a data set")
        if piece.is_command or piece.context_id != context_id:
            raise InvalidPdu("a command within a data set")
        return piece

    def _read_command(self, piece: Piece) -> tuple[Command, int]:
        encoded = bytearray()
        context_id = piece.context_id
        while True:
            if not piece.is_command or piece.context_id != context_id:
                raise InvalidPdu("a data set without its command")
            encoded += piece.data
            if len(encoded) > COMMAND_LIMIT:
                raise InvalidPdu("a command set beyond every length")
            if piece.ends_message:
                return read_command(encoded), context_id
            following = self._wire.next_piece()
            if not isinstance(following, Piece):
                raise PeerGone
            piece = following


def _nothing() -> None:
    """Nobody holds a piece."""
