"""Results on their way out: channels to destinations, and the sender that works through what is due."""

from dicom_node.delivery.channel import Channel, MessageChannel, ObjectChannel, Parcel, Receipt
from dicom_node.delivery.dicom import DicomChannel
from dicom_node.delivery.errors import (
    Busy,
    DeliveryError,
    NotAdmitted,
    NotTaken,
    ProcessingFailure,
    Refused,
    Undeliverable,
    Unreachable,
)

__all__ = [
    "Busy",
    "Channel",
    "DeliveryError",
    "DicomChannel",
    "MessageChannel",
    "NotAdmitted",
    "NotTaken",
    "ObjectChannel",
    "Parcel",
    "ProcessingFailure",
    "Receipt",
    "Refused",
    "Undeliverable",
    "Unreachable",
]
