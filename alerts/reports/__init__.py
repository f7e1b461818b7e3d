"""Results as DICOM objects."""

from alerts.reports.document import summary_document
from alerts.reports.evidence import Evidence, SegmentReference, read_evidence
from alerts.reports.key_objects import key_object_selection
from alerts.reports.page import result_page
from alerts.reports.secondary_capture import key_slice_captures, summary_capture
from alerts.reports.segmentation import (
    WrittenSegmentation,
    lobes_segmentation,
    opacities_label_map,
    opacities_segmentation,
)
from alerts.reports.sr import structured_report

__all__ = [
    "Evidence",
    "SegmentReference",
    "WrittenSegmentation",
    "key_object_selection",
    "key_slice_captures",
    "lobes_segmentation",
    "opacities_label_map",
    "opacities_segmentation",
    "read_evidence",
    "result_page",
    "structured_report",
    "summary_capture",
    "summary_document",
]
