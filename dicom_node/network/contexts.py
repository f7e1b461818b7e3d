"""What the node accepts as Storage and Verification SCP: SOP classes (PS3.4 B.5) and transfer syntaxes (PS3.5 A)."""

from pydicom import uid
from pydicom.uid import UID
from pynetdicom import build_context, sop_class
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

VERIFICATION_SOP_CLASS: UID = sop_class.Verification  # pyright: ignore[reportAttributeAccessIssue]
STORAGE_COMMITMENT_PUSH_MODEL: UID = sop_class.StorageCommitmentPushModel  # pyright: ignore[reportAttributeAccessIssue]
PERFORMED_PROCEDURE_STEP: UID = sop_class.ModalityPerformedProcedureStep  # pyright: ignore[reportAttributeAccessIssue]
"""pynetdicom makes these names when it is imported."""

UNCOMPRESSED = (uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian)
"""Explicit and Implicit VR Little Endian: for what carries no pixels."""

STORAGE_SOP_CLASSES: tuple[UID, ...] = (
    uid.CTImageStorage,
    uid.EnhancedCTImageStorage,
    uid.LegacyConvertedEnhancedCTImageStorage,
    uid.PositronEmissionTomographyImageStorage,
    uid.EnhancedPETImageStorage,
    uid.LegacyConvertedEnhancedPETImageStorage,
    uid.NuclearMedicineImageStorage,
)
"""CT is analysed; PET and NM are kept as the context that tells an attenuation-correction map."""

TRANSFER_SYNTAXES: tuple[UID, ...] = (
    uid.ExplicitVRLittleEndian,
    uid.ImplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.RLELossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLossless,
    uid.JPEGLSLossless,
    uid.JPEGLSNearLossless,
    uid.JPEG2000Lossless,
    uid.JPEG2000,
    uid.HTJ2KLossless,
    uid.HTJ2KLosslessRPCL,
    uid.HTJ2K,
    uid.JPEGBaseline8Bit,
    uid.JPEGExtended12Bit,
)
"""Kept as received, whichever it is."""


def supported_contexts(*, commitment: bool = False, mpps: bool = False) -> list[PresentationContext]:
    """One presentation context a SOP class, with every transfer syntax; what carries no pixels uncompressed."""
    plain = [VERIFICATION_SOP_CLASS]
    plain += [STORAGE_COMMITMENT_PUSH_MODEL] if commitment else []
    plain += [PERFORMED_PROCEDURE_STEP] if mpps else []
    return [
        *(build_context(abstract_syntax, list(UNCOMPRESSED)) for abstract_syntax in plain),
        *(build_context(storage, list(TRANSFER_SYNTAXES)) for storage in STORAGE_SOP_CLASSES),
    ]
