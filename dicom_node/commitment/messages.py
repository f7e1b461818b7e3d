"""The messages of the service: what an N-ACTION asks, its response, and what an N-EVENT-REPORT says."""

from pydicom.config import IGNORE
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pynetdicom.sop_class import StorageCommitmentPushModelInstance  # pyright: ignore[reportAttributeAccessIssue]

from dicom_node.commitment.errors import BadRequest, NoSuchAction, NoSuchObject
from dicom_node.commitment.judgement import Judgement, Reference
from dicom_node.network import dimse_n
from dicom_node.network.contexts import STORAGE_COMMITMENT_PUSH_MODEL
from dicom_node.network.errors import UnparsableDataset
from dicom_node.network.protocol import Message
from dicom_node.network.status import SUCCESS
from dicom_node.storage.header import is_usable_uid

__all__ = [
    "PUSH_MODEL",
    "PUSH_MODEL_INSTANCE",
    "action_response",
    "event_information",
    "event_report",
    "event_type",
    "read_request",
]

PUSH_MODEL = STORAGE_COMMITMENT_PUSH_MODEL
PUSH_MODEL_INSTANCE: str = StorageCommitmentPushModelInstance
"""Storage Commitment Push Model SOP Class and its well-known instance (PS3.4 section J.3.5)."""

_REQUEST_COMMITMENT = 1
_TRANSACTION, _REFERENCED_SOP_CLASS, _REFERENCED_SOP_INSTANCE = 0x00081195, 0x00081150, 0x00081155
_SUCCESSFUL, _FAILURES_EXIST = 1, 2


def read_request(command: Dataset, message: Message) -> tuple[str, tuple[Reference, ...]]:
    """The Transaction UID of an N-ACTION, and the instances it asks about.

    Raises:
        ActionRefused: it is another action, for another object, or has no usable data set.
    """
    if command.get("ActionTypeID") != _REQUEST_COMMITMENT:
        raise NoSuchAction
    if command.get("RequestedSOPInstanceUID") != PUSH_MODEL_INSTANCE:
        raise NoSuchObject
    try:
        dataset = dimse_n.read_dataset(message)
    except UnparsableDataset as error:
        raise BadRequest("(the data set cannot be parsed)") from error
    transaction_uid = _uid(dataset, "TransactionUID")
    items = dataset.get("ReferencedSOPSequence")
    if not isinstance(items, Sequence) or not items:
        raise BadRequest("(no Referenced SOP Sequence)")
    return transaction_uid, tuple(
        (_uid(item, "ReferencedSOPClassUID"), _uid(item, "ReferencedSOPInstanceUID")) for item in items
    )


def _uid(dataset: Dataset, keyword: str) -> str:
    uid = str(dataset.get(keyword) or "")
    if not is_usable_uid(uid):
        raise BadRequest(f"({keyword})")
    return uid


def event_type(judgement: Judgement) -> int:
    """Event Type ID: all instances are safe (1), or failures exist (2)."""
    return _FAILURES_EXIST if judgement.failed else _SUCCESSFUL


def event_information(transaction_uid: str, judgement: Judgement) -> Dataset:
    """The N-EVENT-REPORT's data set (PS3.4 table J.3-2); a UID that does not conform is answered as it was asked."""
    answer = Dataset()
    answer.add(DataElement(_TRANSACTION, "UI", transaction_uid, validation_mode=IGNORE))
    if judgement.committed:
        answer.ReferencedSOPSequence = Sequence([_item(reference) for reference in judgement.committed])
    if judgement.failed:
        answer.FailedSOPSequence = Sequence([_item(reference, reason) for reference, reason in judgement.failed])
    return answer


def _item(reference: Reference, reason: int | None = None) -> Dataset:
    item = Dataset()
    for tag, uid in zip((_REFERENCED_SOP_CLASS, _REFERENCED_SOP_INSTANCE), reference, strict=True):
        item.add(DataElement(tag, "UI", uid, validation_mode=IGNORE))
    if reason is not None:
        item.FailureReason = reason
    return item


def action_response(command: Dataset, context_id: int, status: int) -> bytes:
    """The N-ACTION response, as a PDU."""
    done = {"ActionTypeID": _REQUEST_COMMITMENT} if status == SUCCESS else {}
    return dimse_n.response(command, context_id, status, **done)


def event_report(message_id: int, message: Message, transaction_uid: str, judgement: Judgement) -> bytes:
    """The N-EVENT-REPORT request on the presentation context that ``message`` came by, as PDUs."""
    return dimse_n.event_report(
        message_id,
        message,
        sop_class_uid=PUSH_MODEL,
        sop_instance_uid=PUSH_MODEL_INSTANCE,
        event_type=event_type(judgement),
        dataset=event_information(transaction_uid, judgement),
    )
