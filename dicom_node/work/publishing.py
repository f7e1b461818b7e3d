"""What an analysed series gives: the decision, the files of its result, and what of it is to be delivered."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from alerts import (
    DEFAULT_KINDS,
    PNG,
    ZIP,
    AgeBand,
    AlertPolicy,
    ArtefactKind,
    Category,
    Delivery,
    Draft,
    PolicyDecision,
    Prior,
    ProfileThresholds,
    RequestContext,
    choose_prior,
    evaluate,
)
from alerts.reports import (
    Evidence,
    WrittenSegmentation,
    key_object_selection,
    key_slice_captures,
    lobes_segmentation,
    opacities_label_map,
    opacities_segmentation,
    read_evidence,
    result_page,
    structured_report,
    summary_capture,
    summary_document,
)
from alerts.wording import change_sentence
from analysis.findings import Profile
from analysis.measure import QualityLimits
from analysis.pictures import coronal_png, key_slice_png, lobes_png
from analysis.pipeline import AnalysedSeries
from analysis.series import Series
from analysis.series.acquisitions import slices_of
from analysis.view_pack import view_pack
from dicom_node.settings import Destination, Policy, Quality

if TYPE_CHECKING:
    from db import EarlierResult  # a folder is analysed without a database

__all__ = ["Publication", "alert_policy", "deliveries_of", "kinds_of", "publish", "quality_limits", "request_context"]


_ORDER = tuple(ArtefactKind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """What was decided, and the files that tell it, the report first; nothing is written yet."""

    decision: PolicyDecision
    drafts: tuple[Draft, ...]


def publish(
    analysed: AnalysedSeries,
    *,
    policy: Policy,
    kinds: Collection[ArtefactKind] = DEFAULT_KINDS,
    results_dir: Path | None = None,
    earlier: "Sequence[EarlierResult]" = (),
    in_force: Path | None = None,
    not_compared: str | None = None,
) -> Publication:
    """Evaluate the findings, and make the report and the pictures; where it alerts, the other ``kinds`` asked for too.

    All of it refers to the slices that were analysed alone, whatever else shares their series UID.

    Of the ``earlier`` results of the patient, whose files lie in ``results_dir``, the report is compared with the one
    that is most like this; ``not_compared`` says why there are none. ``in_force`` is the report that stands for the
    series so far.
    """
    findings = analysed.findings
    decision = evaluate(findings, request_context(analysed.series), alert_policy(policy))
    headers = slices_of(analysed.series).headers
    if not_compared:
        decision = replace(decision, explanation=f"{decision.explanation} {not_compared}")
    sources = read_evidence(
        [header.path for header in headers],
        series_instance_uid=findings.series_instance_uid,
        derived={header.path: header.identifiers for header in headers if header.derived},
    )
    further = frozenset(kinds) if decision.alert is not None else frozenset[ArtefactKind]()
    prior = choose_prior(findings, tuple(_prior(one, results_dir) for one in earlier))
    segmentations = tuple(_segmentations(analysed, sources, further))
    report = structured_report(
        findings,
        decision,
        sources=sources,
        segments={name: segment for one in segmentations for name, segment in one.segments.items()},
        prior=prior,
        in_force=in_force,
    )
    pages = tuple(_pages(analysed, decision, prior, sources, further))
    selection = _selection(analysed, (report, *pages), sources, further)
    view = () if decision.alert is None else (_view(analysed),)
    drafts = (report, *(one.draft for one in segmentations), *pages, *selection, *_pictures(analysed), *view)
    return Publication(decision=decision, drafts=drafts)


def kinds_of(destinations: Iterable[Destination]) -> frozenset[ArtefactKind]:
    """What the destinations get together; what a destination gets by default where there is none."""
    return frozenset(ArtefactKind(kind) for one in destinations for kind in one.kinds) or frozenset(DEFAULT_KINDS)


def deliveries_of(drafts: Iterable[Draft], destinations: Iterable[Destination]) -> tuple[Delivery, ...]:
    """What each destination gets, in the order in which it is sent: what is referred to before what refers to it."""
    files = sorted(drafts, key=lambda draft: _ORDER.index(draft.kind))
    return tuple(
        Delivery(destination=destination.name, artefact=draft.name)
        for destination in destinations
        for draft in files
        if draft.kind in destination.kinds
    )


def _segmentations(
    analysed: AnalysedSeries, sources: Evidence, kinds: frozenset[ArtefactKind]
) -> Iterator[WrittenSegmentation]:
    makers = {
        ArtefactKind.OPACITIES: opacities_segmentation,
        ArtefactKind.LOBES: lobes_segmentation,
        ArtefactKind.LABEL_MAP: opacities_label_map,
    }
    for kind, make in makers.items():
        written = make(analysed, sources) if kind in kinds else None
        if written is not None:
            yield written


def _pages(
    analysed: AnalysedSeries,
    decision: PolicyDecision,
    prior: Prior | None,
    sources: Evidence,
    kinds: frozenset[ArtefactKind],
) -> Iterator[Draft]:
    """The page of the result in the kinds that are asked for, and the key slices."""
    findings = analysed.findings
    if kinds & {ArtefactKind.SUMMARY, ArtefactKind.PDF}:
        change = None if prior is None else change_sentence(findings, prior, study_date=sources.moment[0])
        page = result_page(analysed, decision, change=change)
        if ArtefactKind.SUMMARY in kinds:
            yield summary_capture(findings, page, sources)
        if ArtefactKind.PDF in kinds:
            yield summary_document(findings, page, sources)
    if ArtefactKind.KEY_SLICES in kinds and findings.key_slices:
        yield from key_slice_captures(analysed, sources)


def _selection(
    analysed: AnalysedSeries, drafts: Iterable[Draft], sources: Evidence, kinds: frozenset[ArtefactKind]
) -> tuple[Draft, ...]:
    if ArtefactKind.KEY_OBJECTS not in kinds:
        return ()
    chosen = [draft for draft in drafts if draft.kind is not ArtefactKind.PDF]
    return (key_object_selection(analysed.findings, chosen, sources),)


def _pictures(analysed: AnalysedSeries) -> Iterator[Draft]:
    slices = analysed.findings.key_slices
    yield _picture("coronal", coronal_png(analysed.volume, analysed.lungs, analysed.labels, slices))
    yield _picture("lobes", lobes_png(analysed.volume, analysed.lungs, analysed.lobes, analysed.labels))
    for number, one in enumerate(slices, start=1):
        yield _picture(
            f"slice-{number}", key_slice_png(analysed.volume, analysed.lungs, analysed.labels, one.slice_index)
        )


def _view(analysed: AnalysedSeries) -> Draft:
    """The images of a flagged series, which a reader sees when retention has taken the instances."""
    slices = analysed.findings.key_slices
    content = view_pack(analysed.volume, analysed.lungs, analysed.lobes, analysed.labels, slices)
    return Draft(kind=ArtefactKind.VIEW, name="view.zip", media_type=ZIP, content=content)


def _picture(name: str, png: bytes) -> Draft:
    return Draft(kind=ArtefactKind.PICTURE, name=f"{name}.png", media_type=PNG, content=png)


def _prior(earlier: "EarlierResult", results_dir: Path | None) -> Prior:
    report = None if results_dir is None else results_dir / earlier.result.report.path
    return Prior(study_date=earlier.study_date, findings=earlier.result.findings, report_path=report)


def alert_policy(policy: Policy) -> AlertPolicy:
    """The policy of the settings as the alerts take it."""
    return AlertPolicy(
        thresholds={
            profile: ProfileThresholds(burden_percent=section.burden_percent, lesion_volume_ml=section.lesion_volume_ml)
            for profile, section in ((Profile.CHEST_CT, policy.chest_ct), (Profile.CTAC, policy.ctac))
        },
        expected_words=policy.expected_words,
        ages={
            profile: tuple(
                AgeBand(
                    from_years=one.from_years,
                    below_years=one.below_years,
                    thresholds=ProfileThresholds(
                        burden_percent=one.burden_percent, lesion_volume_ml=one.lesion_volume_ml
                    ),
                )
                for one in section.ages
            )
            for profile, section in ((Profile.CHEST_CT, policy.chest_ct), (Profile.CTAC, policy.ctac))
        },
        minutes_allowed={
            Category.CATEGORY_1: policy.escalation_minutes.category_1,
            Category.CATEGORY_2: policy.escalation_minutes.category_2,
            Category.CATEGORY_3: policy.escalation_minutes.category_3,
        },
    )


def quality_limits(quality: Quality) -> QualityLimits:
    """The limits of the settings as the analysis takes them."""
    return QualityLimits(**quality.model_dump())


def request_context(series: Series) -> RequestContext:
    """What the examination was asked and named for, as any of its instances tells."""

    def told(name: str) -> str:
        return "; ".join(dict.fromkeys(text for header in series.headers if (text := getattr(header, name))))

    return RequestContext(
        study_description=told("study_description"),
        series_description=told("series_description"),
        protocol_name=told("protocol_name"),
        requested_procedure=told("requested_procedure"),
        reason_for_request=told("reason_for_request"),
        age_years=next((header.age_years for header in series.headers if header.age_years is not None), None),
    )
