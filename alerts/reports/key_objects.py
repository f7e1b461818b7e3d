"""The key object selection: the report, the pictures and the source images of the key slices."""

from collections.abc import Sequence
from typing import Final

from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian

from alerts.artefact import REPORT_CLASSES, ArtefactKind, Draft
from alerts.reports.content import device_observer
from alerts.reports.equipment import MANUFACTURER
from alerts.reports.evidence import Evidence, SourceInstance, as_received, stand_ins
from alerts.reports.identity import UNNAMED, name_object
from alerts.reports.result_object import complete
from analysis.findings import Findings

NUMBER: Final = 9707
_OF_INTEREST = Code("113000", "DCM", "Of Interest")


def key_object_selection(findings: Findings, drafts: Sequence[Draft], sources: Evidence) -> Draft:
    """What to look at: ``drafts``, that are reports and pictures of the result, and the images of the key slices."""
    shown = {one.sop_instance_uid for one in findings.key_slices}
    results = [_instance(draft, findings, sources) for draft in drafts]
    referred = stand_ins([*results, *(one for one in sources.instances if one.sop_instance_uid in shown)])
    for one in referred:
        if one.SOPClassUID not in REPORT_CLASSES:  # taken for an image, whose size is not told on
            one.Rows = one.Columns = 1
    date, time = sources.moment
    with as_received():
        document = KeyObjectSelectionDocument(
            evidence=referred,
            content=KeyObjectSelection(
                document_title=_OF_INTEREST,
                referenced_objects=referred,
                observer_device_context=device_observer(findings.provenance),
                description="Slices with opacities, and the result of Lungsentry (research use only)",
            ),
            series_instance_uid=UNNAMED,
            series_number=NUMBER,
            series_description="Lungsentry key images (research)",
            sop_instance_uid=UNNAMED,
            instance_number=1,
            manufacturer=MANUFACTURER,
            transfer_syntax_uid=ExplicitVRLittleEndian,
            series_date=date,
            series_time=time,
            content_date=date,
            content_time=time,
        )
        complete(document, findings, sources)
        named = name_object(document, ArtefactKind.KEY_OBJECTS.value)
    return named.draft(ArtefactKind.KEY_OBJECTS, "key-objects.dcm")


def _instance(draft: Draft, findings: Findings, sources: Evidence) -> SourceInstance:
    return SourceInstance(
        sop_class_uid=draft.sop_class_uid or "",
        sop_instance_uid=draft.sop_instance_uid or "",
        study_instance_uid=findings.study_instance_uid,
        series_instance_uid=draft.series_instance_uid or "",
        moment=sources.last,
    )
