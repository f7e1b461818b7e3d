"""The comparison with an earlier examination as a report holds it: a TID 1501 group of its own, and the reference."""

from collections.abc import Iterator

from highdicom.sr import (
    CompositeContentItem,
    FindingSite,
    Measurement,
    MeasurementsAndQualitativeEvaluations,
    RelationshipTypeValues,
    TimePointContext,
    TrackingIdentifier,
)

from alerts.change import Change, Prior, compare, readable_date
from alerts.reports import codes
from alerts.reports.evidence import SourceInstance
from alerts.reports.identity import tracking_uid
from analysis.findings import Findings

_DECIMALS = 3
_IDENTIFIER = "Change since an earlier examination"


def change_group(findings: Findings, prior: Prior) -> MeasurementsAndQualitativeEvaluations | None:
    """The figures of then and what has changed, with the date of then as time point; None where neither can be told.

    They have codes of their own, so that no reader takes the earlier burden for the present one.
    """
    change = compare(findings, prior.findings)
    if change is None:
        return None
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=tracking_uid(findings.series_instance_uid, _IDENTIFIER), identifier=_IDENTIFIER
        ),
        finding_category=codes.MORPHOLOGICALLY_ABNORMAL,
        finding_type=codes.ABNORMAL_OPACITY,
        finding_sites=[FindingSite(anatomic_location=codes.LUNG, laterality=codes.BOTH)],
        time_point_context=TimePointContext(time_point=readable_date(prior.study_date)),
        measurements=list(_numbers(change, prior)),
    )


def prior_report_item(report: SourceInstance) -> CompositeContentItem:
    """The reference to the report of then, which is listed as pertinent other evidence."""
    return CompositeContentItem(
        name=codes.PRIOR_REPORT,
        referenced_sop_class_uid=report.sop_class_uid,
        referenced_sop_instance_uid=report.sop_instance_uid,
        relationship_type=RelationshipTypeValues.CONTAINS,
    )


def _numbers(change: Change, prior: Prior) -> Iterator[Measurement]:
    earlier = prior.findings.both_lungs
    figures = (
        (codes.EARLIER_BURDEN, earlier.burden_percent, codes.PERCENT),
        (codes.BURDEN_CHANGE, change.burden_points, codes.PERCENT),
        (codes.LUNG_CHANGE, change.lung_volume_ml, codes.CUBIC_CENTIMETER),
        (codes.GGO_CHANGE, change.ggo_volume_ml, codes.CUBIC_CENTIMETER),
        (codes.HIGH_OPACITY_CHANGE, change.high_opacity_volume_ml, codes.CUBIC_CENTIMETER),
    )
    for name, value, unit in figures:
        yield Measurement(name=name, value=round(value, _DECIMALS), unit=unit)
