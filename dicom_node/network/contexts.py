"""What the node accepts as Storage and Verification SCP: SOP classes (PS3.4 B.5) and transfer syntaxes (PS3.5 A)."""

from collections.abc import Mapping

from pynetdicom import build_context
from pynetdicom.presentation import PresentationContext

__all__ = [
    "IMPLEMENTATION_CLASS_UID",
    "IMPLEMENTATION_VERSION_NAME",
    "PERFORMED_PROCEDURE_STEP",
    "STORAGE_COMMITMENT_PUSH_MODEL",
    "STORAGE_SOP_CLASSES",
    "TRANSFER_SYNTAXES",
    "UNCOMPRESSED",
    "VERIFICATION_SOP_CLASS",
    "supported_contexts",
]

IMPLEMENTATION_CLASS_UID = "2.25.204925041234768571914520138716422503437"
IMPLEMENTATION_VERSION_NAME = "LUNGSENTRY_0_1"
"""Who this software is to its peers, in associations and files (PS3.7 annex D.3.3.2, PS3.10 section 7.1)."""

VERIFICATION_SOP_CLASS = "1.2.840.10008.1.1"
STORAGE_COMMITMENT_PUSH_MODEL = "1.2.840.10008.1.20.1"
PERFORMED_PROCEDURE_STEP = "1.2.840.10008.3.1.2.3.3"

UNCOMPRESSED = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")
"""Explicit and Implicit VR Little Endian: for what carries no pixels."""

STORAGE_SOP_CLASSES: Mapping[str, str] = {
    "1.2.840.10008.5.1.4.1.1.2": "CT Image Storage",
    "1.2.840.10008.5.1.4.1.1.2.1": "Enhanced CT Image Storage",
    "1.2.840.10008.5.1.4.1.1.2.2": "Legacy Converted Enhanced CT Image Storage",
    "1.2.840.10008.5.1.4.1.1.128": "Positron Emission Tomography Image Storage",
    "1.2.840.10008.5.1.4.1.1.130": "Enhanced PET Image Storage",
    "1.2.840.10008.5.1.4.1.1.128.1": "Legacy Converted Enhanced PET Image Storage",
    "1.2.840.10008.5.1.4.1.1.20": "Nuclear Medicine Image Storage",
}
"""CT is analysed; PET and NM are kept as the context that tells an attenuation-correction map."""

TRANSFER_SYNTAXES: Mapping[str, str] = {
    "1.2.840.10008.1.2.1": "Explicit VR Little Endian",
    "1.2.840.10008.1.2": "Implicit VR Little Endian",
    "1.2.840.10008.1.2.1.99": "Deflated Explicit VR Little Endian",
    "1.2.840.10008.1.2.2": "Explicit VR Big Endian (retired)",
    "1.2.840.10008.1.2.5": "RLE Lossless",
    "1.2.840.10008.1.2.4.70": "JPEG Lossless, first-order prediction",
    "1.2.840.10008.1.2.4.57": "JPEG Lossless",
    "1.2.840.10008.1.2.4.80": "JPEG-LS Lossless",
    "1.2.840.10008.1.2.4.81": "JPEG-LS Near-Lossless",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 (lossless only)",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
    "1.2.840.10008.1.2.4.201": "High-Throughput JPEG 2000 (lossless only)",
    "1.2.840.10008.1.2.4.202": "High-Throughput JPEG 2000 with RPCL options (lossless only)",
    "1.2.840.10008.1.2.4.203": "High-Throughput JPEG 2000",
    "1.2.840.10008.1.2.4.50": "JPEG Baseline",
    "1.2.840.10008.1.2.4.51": "JPEG Extended",
}
"""Kept as received, whichever it is."""


def supported_contexts(*, commitment: bool = False, mpps: bool = False) -> list[PresentationContext]:
    """One presentation context a SOP class, with every transfer syntax; what carries no pixels uncompressed."""
    plain = [VERIFICATION_SOP_CLASS]
    plain += [STORAGE_COMMITMENT_PUSH_MODEL] if commitment else []
    plain += [PERFORMED_PROCEDURE_STEP] if mpps else []
    return [
        *(build_context(abstract_syntax, list(UNCOMPRESSED)) for abstract_syntax in plain),
        *(build_context(sop_class, list(TRANSFER_SYNTAXES)) for sop_class in STORAGE_SOP_CLASSES),
    ]
