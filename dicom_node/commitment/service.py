"""Takes requests on an association and answers on it, if the peer waits for it; what it does not confirm is due again.

Everything here runs in the association's own thread. The receiver hands over each message of the push model's
presentation context, and tells when an association is over.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from pydicom.dataset import Dataset

from db import CommitmentRequest, CommitmentState, StaleState, Store, StoredCommitment, StoreError
from dicom_node.commitment.errors import ActionRefused, BadRequest, Unavailable
from dicom_node.commitment.judgement import judge
from dicom_node.commitment.messages import action_response, event_report, read_request
from dicom_node.network import dimse_n
from dicom_node.network.dimse_n import Operation
from dicom_node.network.protocol import AssociationInfo, Message
from dicom_node.network.status import SUCCESS, UNRECOGNISED_OPERATION
from dicom_node.settings import Commitment
from dicom_node.storage.archive import Archive

__all__ = ["CommitmentService"]

_log = structlog.get_logger(__name__)

PATIENCE_S = 1.0
"""Time that the index has to catch up with what was just acknowledged."""
_LAST_MESSAGE_ID = 0xFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sent:
    """An answer that was sent and is not confirmed yet."""

    commitment: StoredCommitment
    committed: int
    failed: int


class CommitmentService:
    """Storage commitment on the associations of one receiver process."""

    def __init__(self, *, settings: Commitment, store: Store, archive: Archive) -> None:
        self._settings = settings
        self._store = store
        self._archive = archive
        self._sent: dict[str, dict[int, _Sent]] = {}
        self._mutex = threading.Lock()

    def serve(self, info: AssociationInfo, message: Message, send: Callable[[bytes], None]) -> None:
        """Serve one message; ``send`` takes PDUs for the peer, and its errors are the association's end."""
        command = dimse_n.read_command(message)
        if dimse_n.is_response(command, Operation.N_EVENT_REPORT):
            self._confirmed(info, command)
        elif command.CommandField == Operation.N_ACTION:
            self._act(info, command, message, send)
        elif not dimse_n.is_response(command):
            send(dimse_n.response(command, message.context_id, UNRECOGNISED_OPERATION))

    def ended(self, info: AssociationInfo) -> None:
        """The association is over: what it left unconfirmed is answered on a new one."""
        with self._mutex:
            left = self._sent.pop(info.association_id, {})
        for sent in left.values():
            self._later(sent.commitment, "the association ended before the answer was confirmed")

    def _act(self, info: AssociationInfo, command: Dataset, message: Message, send: Callable[[bytes], None]) -> None:
        try:
            commitment = self._take(info, command, message)
        except ActionRefused as refusal:
            _log.warning("commitment.refused", reason=str(refusal), status=f"0x{refusal.status:04X}", **info.titles)
            send(action_response(command, message.context_id, refusal.status))
            return
        _log.info(
            "commitment.requested",
            transaction_uid=commitment.transaction_uid,
            instances=len(commitment.references),
            **info.titles,
        )
        send(action_response(command, message.context_id, SUCCESS))
        if commitment.state is CommitmentState.ANSWERING and self._settings.same_association:
            self._answer(info, commitment, message, send)

    def _take(self, info: AssociationInfo, command: Dataset, message: Message) -> StoredCommitment:
        """Write the request down: the response promises an answer, so it has to outlive this process."""
        transaction_uid, references = read_request(command, message)
        request = CommitmentRequest(
            transaction_uid=transaction_uid,
            calling_ae_title=info.calling_ae_title,
            called_ae_title=info.called_ae_title,
            address=info.address,
            references=references,
        )
        try:
            return self._store.commitments.request(
                request, max_attempts=self._settings.max_attempts, begin=self._settings.same_association
            )
        except StaleState as error:
            raise BadRequest("(the transaction's UID was used for other instances)") from error
        except StoreError as error:
            raise Unavailable from error

    def _answer(
        self, info: AssociationInfo, commitment: StoredCommitment, message: Message, send: Callable[[bytes], None]
    ) -> None:
        try:
            judgement = judge(self._store, self._archive, commitment.references, patience_s=PATIENCE_S)
        except StoreError:
            self._later(commitment, "the index could not be read")
            return
        sent = _Sent(commitment=commitment, committed=len(judgement.committed), failed=len(judgement.failed))
        with self._mutex:
            waiting = self._sent.setdefault(info.association_id, {})
            message_id = next(number for number in range(1, _LAST_MESSAGE_ID + 1) if number not in waiting)
            waiting[message_id] = sent
        send(event_report(message_id, message, commitment.transaction_uid, judgement))

    def _confirmed(self, info: AssociationInfo, command: Dataset) -> None:
        with self._mutex:
            sent = self._sent.get(info.association_id, {}).pop(command.get("MessageIDBeingRespondedTo", 0), None)
        if sent is None:
            return
        status = command.get("Status", UNRECOGNISED_OPERATION)
        if status != SUCCESS:
            self._later(sent.commitment, f"the peer answered 0x{status:04X} on the association of its request")
            return
        try:
            self._store.commitments.answered(sent.commitment, committed=sent.committed, failed=sent.failed)
        except StoreError as error:  # its lease lapses, and the peer is told once more
            _log.warning("commitment.unrecorded", error=type(error).__name__)
            return
        _log.info(
            "commitment.answered",
            transaction_uid=sent.commitment.transaction_uid,
            committed=sent.committed,
            failed=sent.failed,
            same_association=True,
            **info.titles,
        )

    def _later(self, commitment: StoredCommitment, cause: str) -> None:
        try:
            self._store.commitments.failed(commitment, cause, transient=True, retry_delay_s=0)
        except StoreError as error:  # its lease lapses, and it is due then
            _log.warning("commitment.unrecorded", error=type(error).__name__)
