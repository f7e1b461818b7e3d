"""What a scanner says and hears when it asks for storage commitment."""

import io
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom.dimse_messages import N_ACTION_RQ, N_EVENT_REPORT_RSP
from pynetdicom.dimse_primitives import N_ACTION, N_EVENT_REPORT
from pynetdicom.dsutils import decode, encode
from pynetdicom.pdu import P_DATA_TF

from dicom_node.commitment.messages import PUSH_MODEL, PUSH_MODEL_INSTANCE
from dicom_node.network.protocol import AssociationInfo, Message

CT, PET = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.128"
SCANNER = AssociationInfo(association_id="a", calling_ae_title="CT1", called_ae_title="LUNGSENTRY", address="127.0.0.1")


def asking(*references: tuple[str, str], transaction: str | None = "1.2.9") -> Dataset:
    """The data set of a request."""
    dataset = Dataset()
    if transaction:
        dataset.TransactionUID = transaction
    items = []
    for sop_class, instance in references:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, instance
        items.append(item)
    dataset.ReferencedSOPSequence = items
    return dataset


def message(primitive: Any, wire: Any) -> Message:
    """A message as the receiver hands it over."""
    wire.primitive_to_message(primitive)
    dataset = wire.data_set.getvalue() if wire.data_set else b""
    return Message(
        context_id=1,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        command=encode(wire.command_set, True, True),
        dataset=dataset,
    )


def action(dataset: Dataset | bytes, *, kind: int = 1, instance: str = PUSH_MODEL_INSTANCE) -> Message:
    """An N-ACTION request."""
    request = N_ACTION()
    request.MessageID = 7
    request.RequestedSOPClassUID, request.RequestedSOPInstanceUID, request.ActionTypeID = PUSH_MODEL, instance, kind
    encoded = dataset if isinstance(dataset, bytes) else encode(dataset, False, True)
    request.ActionInformation = io.BytesIO(encoded)
    return message(request, N_ACTION_RQ())


def confirmation(message_id: int, status: int = 0) -> Message:
    """The peer's N-EVENT-REPORT response."""
    response = N_EVENT_REPORT()
    response.MessageIDBeingRespondedTo, response.Status = message_id, status
    return message(response, N_EVENT_REPORT_RSP())


class Line:
    """What a peer hears: command sets and data sets, put together from PDUs."""

    def __init__(self) -> None:
        self.heard: list[tuple[Dataset, Dataset | None]] = []

    def send(self, pdus: bytes) -> None:
        """Take PDUs, none longer than every peer takes."""
        parts = {True: b"", False: b""}
        while pdus:
            length = 6 + int.from_bytes(pdus[2:6], "big")
            pdu = P_DATA_TF()
            pdu.decode(pdus[:length])
            pdus = pdus[length:]
            assert length <= 4096 + 6
            for item in pdu.presentation_data_value_items:
                value = item.presentation_data_value
                is_command, is_last = bool(value[0] & 1), bool(value[0] & 2)
                parts[is_command] += value[1:]
                if is_last and not is_command:
                    self.heard[-1] = (self.heard[-1][0], decode(io.BytesIO(parts[False]), False, True))
                    parts[False] = b""
                elif is_last:
                    self.heard.append((decode(io.BytesIO(parts[True]), True, True), None))
                    parts[True] = b""

    @property
    def statuses(self) -> list[int]:
        """The statuses of the responses."""
        return [command.Status for command, _ in self.heard if "Status" in command]
