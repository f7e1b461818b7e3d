"""Analysis of a folder without a node: screening, choice of reconstruction, findings, alert, and what would be sent."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alerts import ArtefactKind, evaluate
from alerts.reports.durable import write_durably
from analysis.errors import AnalysisError
from analysis.pipeline import AnalysedSeries, analyse
from analysis.series import choose_reconstruction, group_acquisitions, screen_headers, screen_series
from dicom_node.cli.failures import UsageError
from dicom_node.work.publishing import alert_policy, publish, quality_limits, request_context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from alerts import Draft
    from alerts.alert import Alert
    from alerts.policy import PolicyDecision
    from analysis.findings import Findings
    from analysis.models import ModelSet
    from analysis.series import Screening, Series
    from dicom_node.settings import Settings

ANALYSED, EXCLUDED, FAILED = "analysed", "excluded", "failed"
_DIGEST_CHARACTERS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalResult:
    """What became of one series: analysed, excluded or failed, and why; ``files`` are those written."""

    series_instance_uid: str
    status: str
    reason: str | None
    profile: str | None
    findings: Findings | None = None
    decision: PolicyDecision | None = None
    seconds: Mapping[str, float] = field(default_factory=dict[str, float])
    files: tuple[Path, ...] = ()

    @property
    def alert(self) -> Alert | None:
        """The alert that the findings raise, if they do."""
        return self.decision.alert if self.decision else None

    def document(self) -> dict[str, Any]:
        """The series as ``analyze --json`` prints it."""
        return {
            "series_instance_uid": self.series_instance_uid,
            "status": self.status,
            "reason": self.reason,
            "profile": self.profile,
            "findings": None if self.findings is None else self.findings.summary(),
            "alert": self.alert,
            "seconds": self.seconds,
        }


def analyse_locally(
    series: Sequence[Series],
    settings: Settings,
    *,
    out: Path | None,
    progress: Callable[[str], None],
    model: str | None = None,
) -> Iterator[LocalResult]:
    """Yield what became of each series; the model is loaded when the first one is eligible.

    Raises:
        UntrustedWeights: the model cannot be loaded; nothing could be analysed.
    """
    eligible: list[Series] = []
    for one in series:
        volume, screening = screen_series(one)
        if screening.eligible:
            eligible.append(volume)
        else:
            yield _excluded(one, screening.reason, screening)
    models: ModelSet | None = None
    for group in group_acquisitions(eligible):
        choice = choose_reconstruction(group)
        for one in group:
            if one.series_instance_uid != choice.chosen:
                yield _excluded(one, choice.rejected[one.series_instance_uid].sentence, screen_headers(one))
                continue
            if models is None:
                progress("loading the models")
                models = load_models(settings, model)
            yield _analysed(one, models, settings, out, progress)


def load_models(settings: Settings, model: str | None) -> ModelSet:
    """A model folder or an installed model, without either the shipped one, beside the package's anatomy models.

    Raises:
        UnknownModel: there is no such folder and no such model.
        UntrustedWeights: its weights are missing or are not those that the manifest names.
        UsageError: this machine has no such device.
    """
    from analysis.model.registry import SHIPPED, Registry
    from analysis.models import ModelSet

    folder = Path(model or "")
    if model is None or not folder.is_dir():
        folder = Registry(directory=settings.models_dir).find(model or SHIPPED).directory
    try:
        return ModelSet.load(folder, device=settings.worker.device, threads=settings.worker.threads)
    except ValueError as error:
        raise UsageError(f"worker.device: {error}") from error


def _excluded(
    series: Series, reason: str | None, screening: Screening, seconds: Mapping[str, float] | None = None
) -> LocalResult:
    return LocalResult(
        series_instance_uid=series.series_instance_uid,
        status=EXCLUDED,
        reason=reason,
        profile=screening.profile.value if screening.profile else None,
        seconds=seconds or {},
    )


def _analysed(
    series: Series, models: ModelSet, settings: Settings, out: Path | None, progress: Callable[[str], None]
) -> LocalResult:
    started = time.perf_counter()
    try:
        outcome = analyse(series, models=models, limits=quality_limits(settings.quality), progress=progress)
    except AnalysisError as error:
        return LocalResult(
            series_instance_uid=series.series_instance_uid,
            status=FAILED,
            reason=str(error),
            profile=None,
            seconds={"total": time.perf_counter() - started},
        )
    if not isinstance(outcome, AnalysedSeries):
        return _excluded(series, outcome.screening.reason, outcome.screening, outcome.seconds)
    if out is None:
        decision = evaluate(outcome.findings, request_context(series), alert_policy(settings.policy))
        files: tuple[Path, ...] = ()
    else:
        progress("writing report and pictures")
        published = publish(outcome, policy=settings.policy)
        decision = published.decision
        files = tuple(
            _written(draft, out / _folder_name(series))
            for draft in published.drafts
            if draft.kind is not ArtefactKind.VIEW
        )
    return LocalResult(
        series_instance_uid=series.series_instance_uid,
        status=ANALYSED,
        reason=None,
        profile=outcome.findings.profile.value,
        findings=outcome.findings,
        decision=decision,
        seconds={"total": time.perf_counter() - started, **outcome.seconds},
        files=files,
    )


def _folder_name(series: Series) -> str:
    """A name for the files of a series; no UID becomes a path, since a UID may be any text."""
    return hashlib.sha256(series.series_instance_uid.encode()).hexdigest()[:_DIGEST_CHARACTERS]


def _written(draft: Draft, folder: Path) -> Path:
    path = folder / draft.name
    write_durably(draft.content, path)
    return path
