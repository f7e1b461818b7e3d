"""Predecessor documents: the report that another one supersedes (PS3.3, C.17.2)."""

from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.sequence import Sequence


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StandingReport:
    """The report that stands so far, and the predecessors that it names itself."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    predecessors: Sequence | None

    def as_predecessor(self) -> Sequence:
        """The reference to this report."""
        instance, series, study = Dataset(), Dataset(), Dataset()
        instance.ReferencedSOPClassUID = self.sop_class_uid
        instance.ReferencedSOPInstanceUID = self.sop_instance_uid
        series.SeriesInstanceUID = self.series_instance_uid
        series.ReferencedSOPSequence = [instance]
        study.StudyInstanceUID = self.study_instance_uid
        study.ReferencedSeriesSequence = [series]
        return Sequence([study])


def read_predecessor(path: Path) -> StandingReport | None:
    """The report in the file; None where it is gone or cannot be read: the next one then names none."""
    try:
        report = pydicom.dcmread(path)
        return StandingReport(
            sop_class_uid=str(report.SOPClassUID),
            sop_instance_uid=str(report.SOPInstanceUID),
            study_instance_uid=str(report.StudyInstanceUID),
            series_instance_uid=str(report.SeriesInstanceUID),
            predecessors=report.get("PredecessorDocumentsSequence"),
        )
    except (OSError, InvalidDicomError, EOFError, AttributeError):
        return None


def name_predecessor(report: Dataset, predecessors: Sequence | None) -> None:
    """``report`` names these predecessors, and no others."""
    if predecessors:
        report.PredecessorDocumentsSequence = predecessors
    elif "PredecessorDocumentsSequence" in report:
        del report.PredecessorDocumentsSequence
