"""A report in a simpler form, for a destination that does not take it as it is; and the selection that names it."""

from collections.abc import Collection, Iterator, Mapping
from io import BytesIO

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import UID

from alerts.artefact import Reference
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
    return _as_named(report)


def selection_variant(content: bytes, sent_as: Mapping[str, Reference]) -> NamedObject | None:
    """The key object selection with the objects that went in place of others, by the others' SOP Instance UIDs.

    None where it names none of these.
    """
    selection = pydicom.dcmread(BytesIO(content))
    named: set[str] = set()
    for item in selection.ContentSequence:
        for one in item.get("ReferencedSOPSequence", []):
            named |= _renamed(one, sent_as)
    for study in selection.CurrentRequestedProcedureEvidenceSequence:
        for series in study.ReferencedSeriesSequence:
            for one in series.ReferencedSOPSequence:  # a report is alone in its series
                other = sent_as.get(one.ReferencedSOPInstanceUID)
                if other is not None:
                    series.SeriesInstanceUID = other.series_instance_uid
                _renamed(one, sent_as)
    if not named:
        return None
    selection.SOPInstanceUID = UID(derived_uid("selection variant", *sorted(named), selection.SOPInstanceUID))
    selection.SeriesInstanceUID = UID(
        derived_uid("selection variant series", *sorted(named), selection.SeriesInstanceUID)
    )
    return _as_named(selection)


def _renamed(one: Dataset, sent_as: Mapping[str, Reference]) -> set[str]:
    """The reference names what went in place of its object; that one's UID, if there is any."""
    other = sent_as.get(one.ReferencedSOPInstanceUID)
    if other is None:
        return set()
    one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID = other.sop_class_uid, other.sop_instance_uid
    return {other.sop_instance_uid}


def _as_named(dataset: Dataset) -> NamedObject:
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return NamedObject(
        sop_class_uid=str(dataset.SOPClassUID),
        sop_instance_uid=str(dataset.SOPInstanceUID),
        series_instance_uid=str(dataset.SeriesInstanceUID),
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
