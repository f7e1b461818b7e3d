"""Results on their way out: the channel to a PACS, and the sender that works through what is due."""

from dicom_node.delivery.dicom import Receipt, store
from dicom_node.delivery.errors import Busy, DeliveryError, Refused, Undeliverable, Unreachable

__all__ = ["Busy", "DeliveryError", "Receipt", "Refused", "Undeliverable", "Unreachable", "store"]
