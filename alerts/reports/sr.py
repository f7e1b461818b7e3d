"""The structured report of a series: Comprehensive 3D SR, TID 1500 Measurement Report."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import Comprehensive3DSR
from pydicom.uid import ExplicitVRLittleEndian

from alerts.artefact import DICOM, ArtefactKind, Draft
from alerts.change import Prior
from alerts.errors import UnusableEvidence
from alerts.policy import PolicyDecision
from alerts.reports import codes
from alerts.reports.content import MANUFACTURER, PRODUCT, Comparison, build_content
from alerts.reports.evidence import Evidence, as_received, copy_patient_and_study, read_evidence, read_instance
from alerts.reports.identity import UNNAMED, name_object
from alerts.reports.predecessor import name_predecessor, read_predecessor
from analysis.findings import Findings

SERIES_DESCRIPTION = "Lungsentry opacity measurement (research use)"
SERIES_NUMBER = 9701


def structured_report(
    findings: Findings,
    decision: PolicyDecision,
    *,
    evidence: Sequence[Path],
    prior: Prior | None = None,
    in_force: Path | None = None,
    derived: Mapping[Path, Mapping[str, str]] | None = None,
) -> Draft:
    """The report on ``findings``; the same input gives the same bytes, and its UIDs are those of its content.

    With a ``prior`` it tells what has changed since, and refers to the report of then where that file can be read.
    ``in_force`` is the report that stands for the series so far: where this one says the same it is that report again,
    byte for byte; else it names it as its predecessor (PS3.3, C.17.2).

    ``evidence`` is one file for each source instance, in any order. Patient and study are taken over from it as they
    are, even where they do not conform (UIDs with letters, values outside a value set, bytes outside the character
    set): a report that names another study or patient than its images would be lost. What the Standard requires
    and the source lacks is present and empty. Dates and times are those of the last image, or of its file where no
    image tells, because the time of writing would make each run another report. ``derived`` are the identifiers of
    files that lack their own.

    Raises:
        UnusableEvidence: an instance is unreadable or of another series, or a key slice is not among them.
    """
    with as_received():
        sources = read_evidence(evidence, series_instance_uid=findings.series_instance_uid, derived=derived)
        report = _build(findings, decision, sources, prior)
        standing = None if in_force is None else read_predecessor(in_force)
        if standing is None:
            named = name_object(report, "sr")
        else:
            name_predecessor(report, standing.predecessors)
            named = name_object(report, "sr")
            if named.sop_instance_uid != standing.sop_instance_uid:
                name_predecessor(report, standing.as_predecessor())
                named = name_object(report, "sr")
    return Draft(
        kind=ArtefactKind.SR,
        name="report.dcm",
        media_type=DICOM,
        content=named.content,
        sop_class_uid=named.sop_class_uid,
        sop_instance_uid=named.sop_instance_uid,
    )


def _build(findings: Findings, decision: PolicyDecision, sources: Evidence, prior: Prior | None) -> Comprehensive3DSR:
    sop_classes = {instance.sop_instance_uid: instance.sop_class_uid for instance in sources.instances}
    if any(slice_.sop_instance_uid not in sop_classes for slice_ in findings.key_slices):
        raise UnusableEvidence("A key slice is not among the instances.")
    if findings.study_instance_uid != sources.instances[0].study_instance_uid:
        raise UnusableEvidence("The instances belong to another study.")
    date, time = sources.moment
    comparison = None if prior is None else _comparison(prior, date)
    referred = (*sources.instances, *([comparison.report] if comparison and comparison.report else []))
    report = Comprehensive3DSR(
        evidence=[instance.stand_in() for instance in referred],
        content=build_content(findings, decision, sop_classes, comparison)[0],
        series_instance_uid=UNNAMED,
        series_number=SERIES_NUMBER,
        series_description=SERIES_DESCRIPTION,
        sop_instance_uid=UNNAMED,
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=PRODUCT,
        software_versions=findings.provenance.software_version,
        device_serial_number="none",
        content_date=date,
        content_time=time,
        series_date=date,
        series_time=time,
        is_complete=True,
        is_verified=False,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        coding_schemes=[
            CodingSchemeIdentificationItem(
                designator=codes.PRIVATE_SCHEME,
                name=codes.PRIVATE_SCHEME_NAME,
                version=codes.PRIVATE_SCHEME_VERSION,
                responsible_organization=codes.PRIVATE_SCHEME_ORGANIZATION,
            )
        ],
    )
    # the time of writing: optional, and different on every run
    del report.InstanceCreationDate
    del report.InstanceCreationTime
    for equipment in report.ContributingEquipmentSequence:
        equipment.pop("ContributionDateTime", None)
    copy_patient_and_study(report, sources.first_path)
    report.StudyInstanceUID = findings.study_instance_uid
    return report


def _comparison(prior: Prior, study_date: str) -> Comparison:
    """The prior with its report, where that is kept and can be read; what it found is told all the same."""
    report = None
    if prior.report_path is not None:
        with contextlib.suppress(UnusableEvidence):
            report = read_instance(prior.report_path)
    return Comparison(prior=prior, report=report, study_date=study_date)
