"""The structured report of a series: Comprehensive 3D SR, TID 1500 Measurement Report."""

import contextlib
from collections.abc import Mapping
from pathlib import Path

from highdicom.sr import Comprehensive3DSR
from pydicom.uid import ExplicitVRLittleEndian

from alerts.artefact import ArtefactKind, Draft
from alerts.change import Prior
from alerts.errors import UnusableEvidence
from alerts.policy import PolicyDecision
from alerts.reports.content import Comparison, build_content
from alerts.reports.equipment import MANUFACTURER, NO_SERIAL_NUMBER, PRODUCT
from alerts.reports.evidence import Evidence, SegmentReference, as_received, read_instance, stand_ins
from alerts.reports.identity import UNNAMED, name_object
from alerts.reports.predecessor import name_predecessor, read_predecessor
from alerts.reports.result_object import complete, private_scheme
from analysis.findings import Findings

SERIES_DESCRIPTION = "Lungsentry report (research)"
SERIES_NUMBER = 9701
_NO_SEGMENTS: Mapping[str, SegmentReference] = {}


def structured_report(
    findings: Findings,
    decision: PolicyDecision,
    *,
    sources: Evidence,
    segments: Mapping[str, SegmentReference] = _NO_SEGMENTS,
    prior: Prior | None = None,
    in_force: Path | None = None,
) -> Draft:
    """The report on ``findings``; the same input gives the same bytes, and its UIDs are those of its content.

    With a ``prior`` it tells what has changed since, and refers to the report of then where that file can be read.
    ``in_force`` is the report that stands for the series so far: where this one says the same it is that report again,
    byte for byte; else it names it as its predecessor (PS3.3, C.17.2). ``segments`` are those of the segmentations
    beside it, by the identifiers that their findings are tracked by.

    Patient and study are taken over from the sources as they
    are, even where they do not conform (UIDs with letters, values outside a value set, bytes outside the character
    set): a report that names another study or patient than its images would be lost. What the Standard requires
    and the source lacks is present and empty. Dates and times are those of the last image, or of its file where no
    image tells, because the time of writing would make each run another report.

    Raises:
        UnusableEvidence: the instances are of another study, or a key slice is not among them.
    """
    with as_received():
        report = _build(findings, decision, sources, segments, prior)
        standing = None if in_force is None else read_predecessor(in_force)
        if standing is None:
            named = name_object(report, "sr")
        else:
            name_predecessor(report, standing.predecessors)
            named = name_object(report, "sr")
            if named.sop_instance_uid != standing.sop_instance_uid:
                name_predecessor(report, standing.as_predecessor())
                named = name_object(report, "sr")
    return named.draft(ArtefactKind.SR, "report.dcm")


def _build(
    findings: Findings,
    decision: PolicyDecision,
    sources: Evidence,
    segments: Mapping[str, SegmentReference],
    prior: Prior | None,
) -> Comprehensive3DSR:
    sop_classes = {instance.sop_instance_uid: instance.sop_class_uid for instance in sources.instances}
    if any(slice_.sop_instance_uid not in sop_classes for slice_ in findings.key_slices):
        raise UnusableEvidence("A key slice is not among the instances.")
    if findings.study_instance_uid != sources.instances[0].study_instance_uid:
        raise UnusableEvidence("The instances belong to another study.")
    date, time = sources.moment
    comparison = None if prior is None else _comparison(prior, date)
    beside = {one.instance.sop_instance_uid: one.instance for one in segments.values()}
    referred = [*sources.instances, *beside.values()]
    if comparison and comparison.report:
        referred.append(comparison.report)
    report = Comprehensive3DSR(
        evidence=stand_ins(referred),
        content=build_content(findings, decision, sop_classes, segments=segments, comparison=comparison)[0],
        series_instance_uid=UNNAMED,
        series_number=SERIES_NUMBER,
        series_description=SERIES_DESCRIPTION,
        sop_instance_uid=UNNAMED,
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=PRODUCT,
        software_versions=findings.provenance.software_version,
        device_serial_number=NO_SERIAL_NUMBER,
        content_date=date,
        content_time=time,
        series_date=date,
        series_time=time,
        is_complete=True,
        is_verified=False,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        coding_schemes=[private_scheme()],
    )
    complete(report, findings, sources)
    return report


def _comparison(prior: Prior, study_date: str) -> Comparison:
    """The prior with its report, where that is kept and can be read; what it found is told all the same."""
    report = None
    if prior.report_path is not None:
        with contextlib.suppress(UnusableEvidence):
            report = read_instance(prior.report_path)
    return Comparison(prior=prior, report=report, study_date=study_date)
