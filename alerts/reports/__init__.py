"""Results as DICOM objects."""

from alerts.reports.sr import structured_report

__all__ = ["structured_report"]
