"""The content tree of a report: TID 1500 Measurement Report, its measurement groups and its image library."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from highdicom.sr import (
    CodeContentItem,
    CodedConcept,
    ContainerContentItem,
    ContentSequence,
    DeviceObserverIdentifyingAttributes,
    ImageContentItem,
    MeasurementReport,
    ObservationContext,
    ObserverContext,
    RelationshipTypeValues,
    TextContentItem,
)
from pydicom.sr.coding import Code

from alerts import wording
from alerts.change import Prior
from alerts.impression import impression
from alerts.policy import PolicyDecision
from alerts.reports import codes
from alerts.reports.comparison import change_group, prior_report_item
from alerts.reports.equipment import MANUFACTURER, PRODUCT, ascii_text, device_uid
from alerts.reports.evidence import SegmentReference, SourceInstance
from alerts.reports.groups import measurement_groups
from analysis.findings import Findings, KeySlice, Provenance


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """An earlier examination to compare with, its report where that is kept, and the date of the present one (DA)."""

    prior: Prior
    report: SourceInstance | None
    study_date: str


def build_content(
    findings: Findings,
    decision: PolicyDecision,
    sop_classes: Mapping[str, str],
    *,
    segments: Mapping[str, SegmentReference],
    comparison: Comparison | None = None,
) -> MeasurementReport:
    """The whole tree. ``sop_classes`` gives the SOP Class UID of every instance that may be referred to.

    ``segments`` are those of the segmentations beside the report, by the identifiers that their findings are tracked
    by.
    """
    groups = measurement_groups(findings, decision, sop_classes, segments)
    if comparison and (changed := change_group(findings, comparison.prior)):
        groups.append(changed)
    report = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=device_observer(findings.provenance)),
        procedure_reported=codes.PROCEDURE,
        imaging_measurements=groups,
        title=codes.REPORT,
    )
    root = report[0].ContentSequence
    if findings.key_slices:
        # TID 1500 has the library before the measurements, which are last so far
        root.insert(len(root) - 1, _image_library(findings.key_slices, sop_classes))
    root.append(_evaluations(findings, decision, comparison))
    return report


def device_observer(provenance: Provenance) -> ObserverContext:
    """This software with its weights, which observed what an object tells."""
    return ObserverContext(
        observer_type=CodedConcept.from_code(codes.DEVICE),
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=device_uid(provenance),
            name=PRODUCT,
            manufacturer_name=MANUFACTURER,
            model_name=f"{PRODUCT} {provenance.software_version}",
        ),
    )


def _evaluations(findings: Findings, decision: PolicyDecision, comparison: Comparison | None) -> ContainerContentItem:
    """What a person should read: conclusion, why, change, quality, what is missing, and what this report is not."""
    change = None
    if comparison:
        change = wording.change_sentence(findings, comparison.prior, study_date=comparison.study_date)
    texts = impression(findings, decision, change=change)
    container = _container(codes.QUALITATIVE_EVALUATIONS)
    # viewers that show no tree show the first text
    container.ContentSequence.append(_text(codes.IMPRESSION, " ".join(texts)))
    container.ContentSequence.extend(_text(codes.COMMENT, text) for text in texts)
    if comparison and comparison.report:
        container.ContentSequence.append(prior_report_item(comparison.report))
    return container


def _image_library(key_slices: Iterable[KeySlice], sop_classes: Mapping[str, str]) -> ContainerContentItem:
    """One entry for each instance that the report refers to, not one for each of the series."""
    group = _container(codes.IMAGE_LIBRARY_GROUP)
    group.ContentSequence.append(
        CodeContentItem(
            name=codes.MODALITY,
            value=codes.COMPUTED_TOMOGRAPHY,
            relationship_type=RelationshipTypeValues.HAS_ACQ_CONTEXT,
        )
    )
    for uid in dict.fromkeys(slice_.sop_instance_uid for slice_ in key_slices):
        group.ContentSequence.append(
            ImageContentItem(
                name=codes.SOURCE,
                referenced_sop_class_uid=sop_classes[uid],
                referenced_sop_instance_uid=uid,
                relationship_type=RelationshipTypeValues.CONTAINS,
            )
        )
    library = _container(codes.IMAGE_LIBRARY)
    library.ContentSequence.append(group)
    return library


def _text(name: Code, text: str) -> TextContentItem:
    return TextContentItem(name=name, value=ascii_text(text), relationship_type=RelationshipTypeValues.CONTAINS)


def _container(name: Code) -> ContainerContentItem:
    container = ContainerContentItem(name=name, relationship_type=RelationshipTypeValues.CONTAINS)
    container.ContentSequence = ContentSequence()
    return container
