"""DIMSE-N responses answer the operation that was asked, for the object that it was asked about."""

import io

import pytest
from commitment_peers import Line, confirmation
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import dimse_messages, dimse_primitives
from pynetdicom.dsutils import decode, encode

from dicom_node.network import dimse_n
from dicom_node.network.protocol import Message
from dicom_node.network.status import UNRECOGNISED_OPERATION

SOP_CLASS, INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
REQUESTS = {
    "N_EVENT_REPORT": {"EventTypeID": 1},
    "N_GET": {},
    "N_SET": {"ModificationList": io.BytesIO()},
    "N_ACTION": {"ActionTypeID": 1},
    "N_CREATE": {},
    "N_DELETE": {},
}


def request(operation: str) -> Message:
    """A request of the operation, as pynetdicom writes it."""
    primitive = getattr(dimse_primitives, operation)()
    primitive.MessageID = 7
    asks = "Affected" if operation in {"N_EVENT_REPORT", "N_CREATE"} else "Requested"
    setattr(primitive, f"{asks}SOPClassUID", SOP_CLASS)
    setattr(primitive, f"{asks}SOPInstanceUID", INSTANCE)
    for keyword, value in REQUESTS[operation].items():
        setattr(primitive, keyword, value)
    wire = getattr(dimse_messages, f"{operation}_RQ")()
    wire.primitive_to_message(primitive)
    return Message(
        context_id=3,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        command=encode(wire.command_set, True, True) or b"",
        dataset=b"",
    )


@pytest.mark.parametrize("operation", REQUESTS)
def test_response_is_of_the_operation_that_was_asked(operation: str) -> None:
    """Each of the six requests gets its own response, about the class and instance it named."""
    message = request(operation)
    command = dimse_n.read_command(message)
    line = Line()

    line.send(dimse_n.response(command, message.context_id, UNRECOGNISED_OPERATION))

    ((answer, _),) = line.heard
    assert answer.CommandField == command.CommandField | 0x8000
    assert (answer.MessageIDBeingRespondedTo, answer.Status, answer.CommandDataSetType) == (7, 0x0211, 0x0101)
    assert (answer.AffectedSOPClassUID, answer.AffectedSOPInstanceUID) == (SOP_CLASS, INSTANCE)
    assert dimse_n.is_response(answer)


def test_event_report_carries_its_data_set_in_short_pdus() -> None:
    """A long data set comes together again, in PDUs that every peer takes; the command says that one follows."""
    dataset = Dataset()
    dataset.TransactionUID = "1.2.9"
    dataset.ReferencedSOPSequence = [_reference(number) for number in range(300)]
    line = Line()

    line.send(
        dimse_n.event_report(
            4,
            request("N_ACTION"),
            sop_class_uid=SOP_CLASS,
            sop_instance_uid=INSTANCE,
            event_type=1,
            dataset=dataset,
        )
    )

    ((command, told),) = line.heard
    assert (command.CommandField, command.MessageID, command.EventTypeID) == (0x0100, 4, 1)
    assert command.CommandDataSetType != 0x0101
    assert told == dataset


def test_command_has_its_length() -> None:
    """The group length counts what follows it (PS3.7 section 6.3.1)."""
    pdu = dimse_n.response(dimse_n.read_command(request("N_SET")), 3, 0)
    encoded = pdu[6 + 6 :]
    assert decode(io.BytesIO(encoded), True, True).CommandGroupLength == len(encoded) - 12


def test_confirmation_is_a_response_to_an_event_report() -> None:
    """It is told from requests, and from responses to others."""
    command = dimse_n.read_command(confirmation(1))
    assert dimse_n.is_response(command, dimse_n.Operation.N_EVENT_REPORT)
    assert not dimse_n.is_response(command, dimse_n.Operation.N_ACTION)
    assert not dimse_n.is_response(dimse_n.read_command(request("N_EVENT_REPORT")))


def _reference(number: int) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", f"1.2.3.{number}"
    return item
