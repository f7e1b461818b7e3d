"""Results as DICOM objects."""

from alerts.reports.evidence import Evidence, SegmentReference, read_evidence
from alerts.reports.segmentation import WrittenSegmentation, lobes_segmentation, opacities_segmentation
from alerts.reports.sr import structured_report

__all__ = [
    "Evidence",
    "SegmentReference",
    "WrittenSegmentation",
    "lobes_segmentation",
    "opacities_segmentation",
    "read_evidence",
    "structured_report",
]
