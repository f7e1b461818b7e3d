"""The statuses that the node answers with, by the names of PS3.7 annex C; numbers come from pynetdicom's table."""

from typing import Final

from pynetdicom.status import GENERAL_STATUS, Status

__all__ = [
    "CANNOT_UNDERSTAND",
    "CLASS_INSTANCE_CONFLICT",
    "DATA_SET_DOES_NOT_MATCH",
    "DUPLICATE_SOP_INSTANCE",
    "INVALID_ARGUMENT_VALUE",
    "INVALID_ATTRIBUTE_VALUE",
    "NO_SUCH_ACTION",
    "NO_SUCH_INSTANCE",
    "OUT_OF_RESOURCES",
    "PROCESSING_FAILURE",
    "RESOURCE_LIMITATION",
    "SOP_CLASS_NOT_SUPPORTED",
    "SUCCESS",
    "UNPARSABLE",
    "UNRECOGNISED_OPERATION",
]

_CODES: Final = {name: code for code, (_category, name) in GENERAL_STATUS.items()}

SUCCESS: Final = int(Status.SUCCESS)
INVALID_ATTRIBUTE_VALUE: Final = _CODES["Invalid Attribute Value"]
PROCESSING_FAILURE: Final = _CODES["Processing Failure"]
DUPLICATE_SOP_INSTANCE: Final = _CODES["Duplication SOP Instance"]
SOP_CLASS_NOT_SUPPORTED: Final = _CODES["Refused: SOP Class Not Supported"]
NO_SUCH_INSTANCE: Final = _CODES["No Such SOP Instance"]
INVALID_ARGUMENT_VALUE: Final = _CODES["Invalid Argument Value"]
CLASS_INSTANCE_CONFLICT: Final = _CODES["Class-Instance Conflict"]
NO_SUCH_ACTION: Final = _CODES["No Such Action"]
UNRECOGNISED_OPERATION: Final = _CODES["Unrecognised Operation"]
RESOURCE_LIMITATION: Final = _CODES["Resource Limitation"]

OUT_OF_RESOURCES: Final = 0xA700
DATA_SET_DOES_NOT_MATCH: Final = 0xA900
CANNOT_UNDERSTAND: Final = 0xC000
UNPARSABLE: Final = 0xC210
"""Of a C-STORE (PS3.4 table B.2-1), which leaves the last digits to the node."""
