"""Storage and Verification SCP: takes instances from known peers and answers success only when they are durable."""

from dicom_node.network.contexts import STORAGE_SOP_CLASSES, TRANSFER_SYNTAXES
from dicom_node.receiver.server import run_receiver

__all__ = ["STORAGE_SOP_CLASSES", "TRANSFER_SYNTAXES", "run_receiver"]
