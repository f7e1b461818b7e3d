"""Results as DICOM objects."""

from alerts.reports.sr import WrittenReport, write_sr

__all__ = ["WrittenReport", "write_sr"]
