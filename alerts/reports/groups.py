"""The measurement groups of a report: the series as a whole, lungs, lobes, and each class of lesion in each of them.

A group whose finding is a segment of a segmentation beside the report refers to it and follows TID 1411; every other
one follows TID 1501, since TID 1411 would ask it for a segment.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from highdicom.sr import (
    AlgorithmIdentification,
    FindingSite,
    Measurement,
    MeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    ReferencedSegment,
    SourceImageForMeasurementGroup,
    SourceSeriesForSegmentation,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from pydicom.sr.coding import Code

from alerts import wording
from alerts.policy import PolicyDecision
from alerts.reports import codes
from alerts.reports.equipment import MANUFACTURER, PRODUCT, algorithm_of, ascii_text
from alerts.reports.evidence import SegmentReference
from alerts.reports.identity import tracking_uid
from alerts.severity import Presence
from analysis.findings import Findings, KeySlice, Provenance, Quality, RegionFindings

Group = MeasurementsAndQualitativeEvaluations | VolumetricROIMeasurementsAndQualitativeEvaluations
_DECIMALS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class _Region:
    """A part of the lungs with its findings and the codes of where it is."""

    name: str
    findings: RegionFindings
    anatomy: Code
    laterality: Code
    told_by: str = "lungs"

    def site(self) -> FindingSite:
        return FindingSite(anatomic_location=self.anatomy, laterality=self.laterality)


def measurement_groups(
    findings: Findings,
    decision: PolicyDecision,
    sop_classes: Mapping[str, str],
    segments: Mapping[str, SegmentReference],
) -> list[Group]:
    """Every group but that of the change; ``segments`` are by the identifiers that their findings are tracked by.

    Volumes and percentages are rounded to three decimals: 1 mm3, and far below what the method resolves.
    """
    groups: list[Group] = [_study_group(findings, decision, sop_classes)]
    for region in _regions(findings):
        groups.append(_region_group(region, findings, segments))
        groups += [_lesion_group(region, lesion, findings, segments) for lesion in _lesions(region.findings)]
    groups.append(_opacity_group(findings))
    return groups


def _regions(findings: Findings) -> Iterator[_Region]:
    lungs = (
        ("Both lungs", findings.both_lungs, codes.BOTH),
        ("Right lung", findings.right_lung, codes.RIGHT),
        ("Left lung", findings.left_lung, codes.LEFT),
    )
    for name, region, laterality in lungs:
        yield _Region(name=name, findings=region, anatomy=codes.LUNG, laterality=laterality)
    for lobe, (anatomy, laterality) in codes.LOBES.items():
        if lobe in findings.lobes:
            yield _Region(
                name=wording.LOBE_NAMES[lobe],
                findings=findings.lobes[lobe],
                anatomy=anatomy,
                laterality=laterality,
                told_by="lobes",
            )


def _lesions(region: RegionFindings) -> tuple[tuple[str, Code, float, float], ...]:
    """Name, code, volume (mL) and percent of the region for each class of lesion."""
    return (
        (wording.GGO, codes.GROUND_GLASS_OPACITY, region.ggo_volume_ml, region.ggo_percent),
        (wording.HIGH_OPACITY, codes.HIGH_OPACITY, region.high_opacity_volume_ml, region.pho_percent),
    )


def _group(
    identifier: str,
    findings: Findings,
    segments: Mapping[str, SegmentReference],
    *,
    finding_category: Code,
    finding_type: Code,
    finding_sites: list[FindingSite],
    algorithm_id: AlgorithmIdentification,
    measurements: list[Measurement] | None,
    qualitative_evaluations: list[QualitativeEvaluation] | None = None,
) -> Group:
    """A group of TID 1411 where a segment is what was measured, else of TID 1501."""
    segment = segments.get(identifier)
    if segment is None:
        return MeasurementsAndQualitativeEvaluations(
            tracking_identifier=_tracking(identifier, findings),
            finding_category=finding_category,
            finding_type=finding_type,
            finding_sites=finding_sites,
            algorithm_id=algorithm_id,
            measurements=measurements,
            qualitative_evaluations=qualitative_evaluations,
        )
    return VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(identifier, findings),
        referenced_segment=ReferencedSegment(
            sop_class_uid=segment.instance.sop_class_uid,
            sop_instance_uid=segment.instance.sop_instance_uid,
            segment_number=segment.number,
            source_series=SourceSeriesForSegmentation(findings.series_instance_uid),
        ),
        finding_category=finding_category,
        finding_type=finding_type,
        finding_sites=finding_sites,
        algorithm_id=algorithm_id,
        measurements=measurements,
        qualitative_evaluations=qualitative_evaluations,
    )


def _study_group(
    findings: Findings, decision: PolicyDecision, sop_classes: Mapping[str, str]
) -> MeasurementsAndQualitativeEvaluations:
    """The figures and judgements of the series as a whole, with the slices worth looking at."""
    measurements = [*_opacity_numbers(findings), *_quality_numbers(findings.quality)]
    judgements = [
        (codes.ABNORMAL_OPACITY, codes.PRESENCES[decision.presence]),
        (codes.IMAGE_QUALITY, codes.QUALITIES[findings.quality.level]),
    ]
    if decision.severity is not None:
        judgements.append((codes.SEVERITY, codes.SEVERITIES[decision.severity]))
    if decision.alert is not None:
        judgements.append((codes.ACTIONABLE, codes.CATEGORIES[decision.alert.category]))
        judgements.append((codes.INCIDENTAL, codes.YES if decision.alert.incidental else codes.NO))
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking("Lungs as a whole", findings),
        finding_category=codes.MORPHOLOGICALLY_ABNORMAL,
        finding_type=codes.ABNORMAL_OPACITY,
        finding_sites=[FindingSite(anatomic_location=codes.LUNG, laterality=codes.BOTH)],
        algorithm_id=_algorithm(findings.provenance, parameters=tuple(_parameters(findings, decision))),
        measurements=measurements or None,
        qualitative_evaluations=[QualitativeEvaluation(name=name, value=value) for name, value in judgements],
        source_images=[
            SourceImageForMeasurementGroup(
                referenced_sop_class_uid=sop_classes[slice_.sop_instance_uid],
                referenced_sop_instance_uid=slice_.sop_instance_uid,
                referenced_frame_numbers=_frames(slice_),
            )
            for slice_ in findings.key_slices
        ]
        or None,
    )


def _opacity_numbers(findings: Findings) -> Iterator[Measurement]:
    """Shares and scores of the opacities; none where the images could not be analysed."""
    if not findings.reliable:
        return
    whole = findings.both_lungs
    percentages = (
        (codes.BURDEN, whole.burden_percent),
        (codes.GGO_PERCENT, whole.ggo_percent),
        (codes.HIGH_OPACITY_PERCENT, whole.pho_percent),
        (codes.PO, whole.po_percent),
        (codes.PHO, whole.pho_percent),
        (codes.PHO_HU, whole.pho_hu_percent),
    )
    yield from _numbers(percentages, codes.PERCENT)
    yield from _numbers(((codes.LSS, findings.lss), (codes.LHOS, findings.lhos)), codes.SCORE)


def _quality_numbers(quality: Quality) -> Iterator[Measurement]:
    """The figures that the judgement of quality rests on."""
    shares = (
        (codes.LUNG_COVERAGE, quality.lung_coverage_percent),
        (codes.RIGHT_LUNG_COVERAGE, quality.right_lung_coverage_percent),
        (codes.LEFT_LUNG_COVERAGE, quality.left_lung_coverage_percent),
        (codes.FIELD_OF_VIEW_CUT, quality.cut_off_percent),
    )
    attenuations = (
        (codes.IMAGE_NOISE, quality.noise_hu),
        (codes.OUTSIDE_AIR, quality.air_hu),
        (codes.CLEAR_LUNG, quality.lung_hu),
        (codes.LUNG_SPREAD, quality.lung_spread_hu),
        (codes.BLOOD, quality.blood_hu),
    )
    lengths = ((codes.NOISE_GRAIN, quality.noise_grain_mm), (codes.MOTION_JUMP, quality.motion_jump_mm))
    yield from _numbers(shares, codes.PERCENT)
    yield from _numbers(attenuations, codes.HOUNSFIELD)
    yield from _numbers(lengths, codes.MILLIMETER)
    yield from _numbers(((codes.LUNG_AGREEMENT, quality.lung_agreement),), codes.NO_UNITS)


def _region_group(region: _Region, findings: Findings, segments: Mapping[str, SegmentReference]) -> Group:
    """A lung or lobe: its volume, lesions included, and how much of it is opaque."""
    return _group(
        region.name,
        findings,
        segments,
        finding_category=codes.ANATOMICAL_STRUCTURE,
        finding_type=region.anatomy,
        finding_sites=[region.site()],
        algorithm_id=_algorithm(findings.provenance, region.told_by),
        measurements=[
            _volume(region.findings.lung_volume_ml),
            *_numbers(
                ((codes.PERCENT_OF_LUNG, region.findings.burden_percent),), codes.PERCENT, given=findings.reliable
            ),
        ],
    )


def _lesion_group(
    region: _Region,
    lesion: tuple[str, Code, float, float],
    findings: Findings,
    segments: Mapping[str, SegmentReference],
) -> Group:
    """One class of lesion in one region: its volume and its share of that region."""
    name, finding, volume_ml, percent = lesion
    return _group(
        f"{name}, {region.name.lower()}",
        findings,
        segments,
        finding_category=codes.MORPHOLOGICALLY_ABNORMAL,
        finding_type=finding,
        finding_sites=[region.site()],
        algorithm_id=_algorithm(findings.provenance),
        measurements=[_volume(volume_ml), _number(codes.PERCENT_OF_LUNG, percent, codes.PERCENT)]
        if findings.reliable
        else None,
        qualitative_evaluations=_absence(finding, volume_ml, findings),
    )


def _opacity_group(findings: Findings) -> MeasurementsAndQualitativeEvaluations:
    """All opacities together: volume, number and, where there is any, attenuation and where they lie."""
    attenuation = ((codes.MEAN_ATTENUATION, findings.lesion_mean_hu), (codes.SD_ATTENUATION, findings.lesion_sd_hu))
    periphery = (
        (codes.PERIPHERAL_OPACITY, findings.peripheral_lesion_percent),
        (codes.PERIPHERAL_LUNG, findings.peripheral_lung_percent),
    )
    measurements = [
        _volume(findings.both_lungs.lesion_volume_ml),
        _number(codes.OPACITY_COUNT, findings.lesion_count, codes.NO_UNITS),
        *_numbers(((codes.LARGEST_OPACITY, findings.largest_lesion_ml),), codes.CUBIC_CENTIMETER),
        *_numbers(attenuation, codes.HOUNSFIELD),
        *_numbers(periphery, codes.PERCENT),
    ]
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking("All opacities, both lungs", findings),
        finding_category=codes.MORPHOLOGICALLY_ABNORMAL,
        finding_type=codes.ABNORMAL_OPACITY,
        finding_sites=[FindingSite(anatomic_location=codes.LUNG, laterality=codes.BOTH)],
        algorithm_id=_algorithm(findings.provenance),
        measurements=measurements if findings.reliable else None,
        qualitative_evaluations=_absence(codes.ABNORMAL_OPACITY, findings.both_lungs.lesion_volume_ml, findings),
    )


def _absence(finding: Code, volume_ml: float, findings: Findings) -> list[QualitativeEvaluation] | None:
    """That a finding is absent, or undetermined, for readers who look at names and not at volumes.

    Whether a volume above zero counts as present is for the policy, and is said once, in the group of the series.
    """
    if not findings.reliable:
        presence = Presence.UNDETERMINED
    elif volume_ml == 0:
        presence = Presence.ABSENT
    else:
        return None
    return [QualitativeEvaluation(name=finding, value=codes.PRESENCES[presence])]


def _algorithm(
    provenance: Provenance, part: str = "lesions", *, parameters: tuple[str, ...] | None = None
) -> AlgorithmIdentification:
    algorithm = algorithm_of(provenance, part)
    return AlgorithmIdentification(
        name=ascii_text(algorithm.name),
        version=ascii_text(algorithm.version),
        manufacturer=MANUFACTURER,
        parameters=parameters,
    )


def _parameters(findings: Findings, decision: PolicyDecision) -> Iterator[str]:
    """What is needed to make the result again; in the group of the series only, to keep the report small."""
    provenance = findings.provenance
    yield f"Weights SHA-256: {provenance.weights_sha256}"
    for name, value in sorted(provenance.thresholds.items()):
        yield ascii_text(f"Threshold {name}: {value:g}")
    yield ascii_text(f"Runtime: {provenance.runtime}; device: {provenance.device}")
    for part, one in provenance.algorithms.items():
        if part != "lesions":
            yield ascii_text(f"{part.capitalize()} by: {one.name} {one.version}; {one.runtime}")
            yield f"Weights of the {part}, SHA-256: {one.weights_sha256}"
    yield ascii_text(f"Software: {PRODUCT} {provenance.software_version}")
    yield ascii_text(f"Profile: {findings.profile.value}; cues: {', '.join(findings.profile_cues) or 'none'}")
    yield f"Revision of the series: {findings.revision}; slices: {findings.slice_count}"
    applied = decision.thresholds
    if applied is not None:
        yield f"Alert thresholds: {applied.burden_percent:g} % and {applied.lesion_volume_ml:g} mL"


def _volume(volume_ml: float) -> Measurement:
    return _number(codes.VOLUME, volume_ml, codes.CUBIC_CENTIMETER, method=codes.SUM_OF_VOXELS)


def _number(name: Code, value: float, unit: Code, *, method: Code | None = None) -> Measurement:
    exact = value if isinstance(value, int) else round(float(value), _DECIMALS)
    return Measurement(name=name, value=exact, unit=unit, method=method)


def _numbers(named: Iterable[tuple[Code, float | None]], unit: Code, *, given: bool = True) -> Iterator[Measurement]:
    """The numbers that are known; none at all where they are not to be given."""
    return (_number(name, value, unit) for name, value in named if value is not None and given)


def _tracking(identifier: str, findings: Findings) -> TrackingIdentifier:
    return TrackingIdentifier(uid=tracking_uid(findings.series_instance_uid, identifier), identifier=identifier)


def _frames(slice_: KeySlice) -> list[int] | None:
    return None if slice_.frame_number is None else [slice_.frame_number]
