"""A report in a simpler form, for a destination that does not take it as it is."""

from collections.abc import Collection, Iterator
from io import BytesIO

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import UID

from alerts.reports.identity import NamedObject, derived_uid

_REFERENCED_SEGMENT, _SOURCE_SERIES = "121191", "121232"
_WITH_SEGMENT, _WITHOUT_SEGMENT = "1411", "1501"


def report_variant(content: bytes, *, sop_class_uid: str, absent: Collection[str] = ()) -> NamedObject | None:
    """The report as an object of this class, and without its segments if one of the ``absent`` instances holds any.

    None where it is so already. A variant is an object of its own: its UIDs, and those of its predecessors, follow from
    the ones of the reports that they are made of. So a destination that takes variants gets a chain of variants.
    """
    report = pydicom.dcmread(BytesIO(content))
    without = any(uid in absent for uid in _segmentations(report))
    if report.SOPClassUID == sop_class_uid and not without:
        return None
    if without:
        _drop_segments(report)
    own_class = str(report.SOPClassUID)
    key = (sop_class_uid, "without segments" if without else "as it is")
    report.SOPClassUID = UID(sop_class_uid)
    report.SOPInstanceUID = UID(derived_uid("report variant", *key, report.SOPInstanceUID))
    report.SeriesInstanceUID = UID(derived_uid("report variant series", *key, report.SeriesInstanceUID))
    for study in report.get("PredecessorDocumentsSequence", []):
        for series in study.ReferencedSeriesSequence:
            series.SeriesInstanceUID = derived_uid("report variant series", *key, series.SeriesInstanceUID)
            for one in series.ReferencedSOPSequence:
                if own_class == one.ReferencedSOPClassUID:
                    one.ReferencedSOPClassUID = sop_class_uid
                    one.ReferencedSOPInstanceUID = derived_uid("report variant", *key, one.ReferencedSOPInstanceUID)
    report.file_meta.MediaStorageSOPClassUID = report.SOPClassUID
    report.file_meta.MediaStorageSOPInstanceUID = report.SOPInstanceUID
    buffer = BytesIO()
    report.save_as(buffer, enforce_file_format=True)
    return NamedObject(
        sop_class_uid=str(report.SOPClassUID),
        sop_instance_uid=str(report.SOPInstanceUID),
        series_instance_uid=str(report.SeriesInstanceUID),
        content=buffer.getvalue(),
    )


def _segmentations(item: Dataset) -> Iterator[str]:
    """The instances whose segments the tree refers to."""
    for child in item.get("ContentSequence", []):
        if _is_named(child, _REFERENCED_SEGMENT):
            yield child.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        yield from _segmentations(child)


def _drop_segments(report: Dataset) -> None:
    """Groups of TID 1411 become groups of TID 1501, and the evidence is left with what is still referred to."""
    dropped = set(_segmentations(report))
    for container in report.ContentSequence:
        for group in container.get("ContentSequence", []):
            template = group.get("ContentTemplateSequence")
            if template and template[0].TemplateIdentifier == _WITH_SEGMENT:
                template[0].TemplateIdentifier = _WITHOUT_SEGMENT
                group.ContentSequence = [
                    child
                    for child in group.ContentSequence
                    if not (_is_named(child, _REFERENCED_SEGMENT) or _is_named(child, _SOURCE_SERIES))
                ]
    for study in report.get("CurrentRequestedProcedureEvidenceSequence", []):
        study.ReferencedSeriesSequence = [
            series
            for series in study.ReferencedSeriesSequence
            if not dropped.intersection(one.ReferencedSOPInstanceUID for one in series.ReferencedSOPSequence)
        ]


def _is_named(item: Dataset, code: str) -> bool:
    name = item.get("ConceptNameCodeSequence")
    return bool(name) and name[0].get("CodeValue") == code
