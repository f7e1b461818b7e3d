"""The structured report of a series: Comprehensive 3D SR, TID 1500 Measurement Report."""

import contextlib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import Comprehensive3DSR
from pydicom.uid import ExplicitVRLittleEndian

from alerts.change import Prior
from alerts.errors import UnusableEvidence
from alerts.policy import PolicyDecision
from alerts.reports import codes
from alerts.reports.content import MANUFACTURER, PRODUCT, Comparison, build_content
from alerts.reports.durable import write_durably
from alerts.reports.evidence import Evidence, as_received, copy_patient_and_study, read_evidence, read_instance
from alerts.reports.identity import ReportIdentity
from analysis.findings import Findings

SERIES_DESCRIPTION = "Lungsentry opacity measurement (research use)"
SERIES_NUMBER = 9701


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenReport:
    """A report that lies durable on disk."""

    sop_instance_uid: str
    sop_class_uid: str
    path: Path
    sha256: str


def write_sr(
    findings: Findings, decision: PolicyDecision, *, evidence: Sequence[Path], out: Path, prior: Prior | None = None
) -> WrittenReport:
    """The report on ``findings`` lies in the file ``out``; the same input gives the same bytes.

    With a ``prior`` it tells what has changed since, and refers to the report of then where that file can be read.

    ``evidence`` is one file for each source instance, in any order. Patient and study are taken over from it as they
    are, even where they do not conform (UIDs with letters, values outside a value set, bytes outside the character
    set): a report that names another study or patient than its images would be lost. What the Standard requires
    and the source lacks is present and empty. Dates and times are those of the last image, 1900-01-01 where no image
    tells, because the time of writing would make each run another report.

    Raises:
        UnusableEvidence: an instance is unreadable or of another series, or a key slice is not among them.
        ReportNotWritten: the disk refuses (transient).
    """
    with as_received():
        sources = read_evidence(evidence, series_instance_uid=findings.series_instance_uid)
        report = _build(findings, decision, sources, prior)
        buffer = BytesIO()
        report.save_as(buffer, enforce_file_format=True)
    content = buffer.getvalue()
    write_durably(content, out)
    return WrittenReport(
        sop_instance_uid=str(report.SOPInstanceUID),
        sop_class_uid=str(report.SOPClassUID),
        path=out,
        sha256=hashlib.sha256(content).hexdigest(),
    )


def _build(findings: Findings, decision: PolicyDecision, sources: Evidence, prior: Prior | None) -> Comprehensive3DSR:
    sop_classes = {instance.sop_instance_uid: instance.sop_class_uid for instance in sources.instances}
    if any(slice_.sop_instance_uid not in sop_classes for slice_ in findings.key_slices):
        raise UnusableEvidence("A key slice is not among the instances.")
    if findings.study_instance_uid != sources.instances[0].study_instance_uid:
        raise UnusableEvidence("The instances belong to another study.")
    identity = ReportIdentity.of(findings, decision)
    date, time = sources.moment
    comparison = None if prior is None else _comparison(prior, date)
    referred = (*sources.instances, *([comparison.report] if comparison and comparison.report else []))
    report = Comprehensive3DSR(
        evidence=[instance.stand_in() for instance in referred],
        content=build_content(findings, decision, identity, sop_classes, comparison)[0],
        series_instance_uid=identity.series_instance_uid,
        series_number=SERIES_NUMBER,
        series_description=SERIES_DESCRIPTION,
        sop_instance_uid=identity.sop_instance_uid,
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
    return report


def _comparison(prior: Prior, study_date: str) -> Comparison:
    """The prior with its report, where that is kept and can be read; what it found is told all the same."""
    report = None
    if prior.report_path is not None:
        with contextlib.suppress(UnusableEvidence):
            report = read_instance(prior.report_path)
    return Comparison(prior=prior, report=report, study_date=study_date)
