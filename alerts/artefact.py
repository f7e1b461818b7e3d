"""The files of a result: each is written once, under the hash of its content, and rows point at it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath

from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EncapsulatedPDFStorage,
    EnhancedSRStorage,
    KeyObjectSelectionDocumentStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

DICOM = "application/dicom"
PNG = "image/png"
ZIP = "application/zip"
_SUFFIXES = {DICOM: "dcm", PNG: "png", ZIP: "zip"}


class ArtefactKind(StrEnum):
    """What a file of a result is; in the order in which a destination gets them, as a report refers to segments."""

    OPACITIES = "opacities"
    """The segmentation of the opacities."""
    LOBES = "lobes"
    """The segmentation of lungs and lobes."""
    LABEL_MAP = "label_map"
    """The segmentation of the opacities as one map of labels."""
    SUMMARY = "summary"
    """The page of the result as a secondary capture."""
    KEY_SLICES = "key_slices"
    """The slices with most opacity as secondary captures."""
    PDF = "pdf"
    """The page of the result as an encapsulated document."""
    SR = "sr"
    KEY_OBJECTS = "key_objects"
    """The key object selection: what of the study is worth looking at."""
    PICTURE = "picture"
    VIEW = "view"
    """The images of a flagged series as the worklist shows them."""


SOP_CLASSES: Mapping[ArtefactKind, UID] = {
    ArtefactKind.OPACITIES: SegmentationStorage,
    ArtefactKind.LOBES: SegmentationStorage,
    ArtefactKind.LABEL_MAP: UID("1.2.840.10008.5.1.4.1.1.66.7"),  # Label Map Segmentation Storage, supplement 243
    ArtefactKind.SUMMARY: SecondaryCaptureImageStorage,
    ArtefactKind.KEY_SLICES: SecondaryCaptureImageStorage,
    ArtefactKind.PDF: EncapsulatedPDFStorage,
    ArtefactKind.SR: Comprehensive3DSRStorage,
    ArtefactKind.KEY_OBJECTS: KeyObjectSelectionDocumentStorage,
}
"""The kinds that are DICOM objects, with what they are."""

REPORT_CLASSES = (Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage)
"""What a report may go as, the first that its destination takes; none of its content is lost in any of them."""

DEFAULT_KINDS = (ArtefactKind.OPACITIES, ArtefactKind.SUMMARY, ArtefactKind.KEY_SLICES, ArtefactKind.SR)
"""What a destination gets where its settings say nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A DICOM object as another one refers to it."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A file that is not written yet; ``name`` is what people call it, and no other of its result has it.

    A DICOM object names its SOP class, instance and series.
    """

    kind: ArtefactKind
    name: str
    media_type: str
    content: bytes
    sop_class_uid: str | None = None
    sop_instance_uid: str | None = None
    series_instance_uid: str | None = None

    @property
    def sha256(self) -> str:
        """The hash of the content."""
        return hashlib.sha256(self.content).hexdigest()

    def artefact(self) -> "Artefact":
        """What refers to the file once it is written: its path comes from its content alone."""
        digest = self.sha256
        return Artefact(
            kind=self.kind,
            name=self.name,
            media_type=self.media_type,
            sha256=digest,
            size_bytes=len(self.content),
            path=f"{digest[:2]}/{digest[2:4]}/{digest}.{_SUFFIXES[self.media_type]}",
            sop_class_uid=self.sop_class_uid,
            sop_instance_uid=self.sop_instance_uid,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefact:
    """A file of a result; ``path`` is POSIX and relative to the folder of results.

    Files of before their content was hashed have no ``sha256`` or no ``size_bytes``. ``ValueError`` for a path that
    leaves the folder.
    """

    kind: ArtefactKind
    name: str
    media_type: str
    sha256: str | None
    size_bytes: int | None
    path: str
    sop_class_uid: str | None = None
    sop_instance_uid: str | None = None

    def __post_init__(self) -> None:
        path = PurePosixPath(self.path)
        if not path.parts or path.is_absolute() or ".." in path.parts:
            raise ValueError("an artefact's path is relative to the folder of results")
