"""What an analysed series gives: the decision, the files of its result, and what of it is to be delivered."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from alerts import (
    PNG,
    ZIP,
    AlertPolicy,
    ArtefactKind,
    Delivery,
    Draft,
    PolicyDecision,
    Prior,
    ProfileThresholds,
    RequestContext,
    choose_prior,
    evaluate,
)
from alerts.reports import structured_report
from analysis.findings import Profile
from analysis.measure import QualityLimits
from analysis.pictures import coronal_png, key_slice_png, lobes_png
from analysis.pipeline import AnalysedSeries
from analysis.series import Series
from analysis.view_pack import view_pack
from dicom_node.settings import Destination, Policy, Quality

if TYPE_CHECKING:
    from db import EarlierResult  # a folder is analysed without a database

__all__ = ["Publication", "alert_policy", "deliveries_of", "publish", "quality_limits", "request_context"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """What was decided, and the files that tell it, the report first; nothing is written yet."""

    decision: PolicyDecision
    drafts: tuple[Draft, ...]


def publish(
    analysed: AnalysedSeries,
    series: Series,
    *,
    policy: Policy,
    results_dir: Path | None = None,
    earlier: "Sequence[EarlierResult]" = (),
    in_force: Path | None = None,
    not_compared: str | None = None,
) -> Publication:
    """Evaluate the findings, and make the report and the pictures.

    Of the ``earlier`` results of the patient, whose files lie in ``results_dir``, the report is compared with the one
    that is most like this; ``not_compared`` says why there are none. ``in_force`` is the report that stands for the
    series so far.
    """
    findings = analysed.findings
    decision = evaluate(findings, request_context(series), alert_policy(policy))
    if not_compared:
        decision = replace(decision, explanation=f"{decision.explanation} {not_compared}")
    report = structured_report(
        findings,
        decision,
        evidence=[header.path for header in series.headers],
        derived={header.path: header.identifiers for header in series.headers if header.derived},
        prior=choose_prior(findings, tuple(_prior(one, results_dir) for one in earlier)),
        in_force=in_force,
    )
    view = () if decision.alert is None else (_view(analysed),)
    return Publication(decision=decision, drafts=(report, *_pictures(analysed), *view))


def deliveries_of(drafts: Iterable[Draft], destinations: Iterable[Destination]) -> tuple[Delivery, ...]:
    """What each destination gets, in the order in which it is sent."""
    files = tuple(drafts)
    return tuple(
        Delivery(destination=destination.name, artefact=draft.name)
        for destination in destinations
        for draft in files
        if draft.kind in destination.kinds
    )


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
        requested_procedure=told("requested_procedure"),
        reason_for_request=told("reason_for_request"),
    )
