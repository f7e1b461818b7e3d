"""A model in shadow: it analyses the series anew after the result is recorded, and what it finds is kept beside it.

It never alerts, delivers or changes a result. That it failed, or was cut short, is noted and nothing more.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import structlog

from alerts import evaluate
from analysis.findings import Findings, Profile
from analysis.pipeline import AnalysedSeries, ExcludedSeries
from analysis.series import Series
from db import ModelAssignment, ModelRole, ShadowResult, Store
from dicom_node.settings import Policy
from dicom_node.work.publishing import alert_policy, request_context

__all__ = ["AnalyseInShadow", "RecordedCase", "Shadow", "lesion_dice"]

_LOG = structlog.stdlib.get_logger()

AnalyseInShadow = Callable[[Series, ModelAssignment, Callable[[str], None]], AnalysedSeries | ExcludedSeries]
"""As the worker's, with the model that is assigned."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RecordedCase:
    """A series whose result is recorded, and what a shadow is compared with; ``labels`` as in ``AnalysedSeries``."""

    series: Series
    result_id: int
    findings: Findings
    labels: npt.NDArray[np.uint8]
    alerted: bool

    @property
    def profile(self) -> Profile:
        """The profile of the examination."""
        return self.findings.profile


class Shadow:
    """Runs the model in shadow, where a profile has one."""

    def __init__(self, *, policy: Policy, store: Store, analyse: AnalyseInShadow) -> None:
        self._policy = policy
        self._store = store
        self._analyse = analyse

    def assigned(self, profile: Profile) -> ModelAssignment | None:
        """The model in shadow for a profile."""
        return self._store.models.assigned(profile, ModelRole.SHADOW)

    def run(self, case: RecordedCase, model: ModelAssignment, worker: str, progress: Callable[[str], None]) -> None:
        """Analyse, compare and record; raises whatever the analysis raises."""
        started = time.monotonic()
        analysed = self._analyse(case.series, model, progress)
        if isinstance(analysed, ExcludedSeries):
            self.record_failure(case, model, worker, f"excluded: {analysed.screening.rule}")
            return
        decision = evaluate(analysed.findings, request_context(case.series), alert_policy(self._policy))
        result = ShadowResult(
            name=model.name,
            version=model.version,
            sha256=model.sha256,
            findings=analysed.findings,
            would_alert=decision.alert is not None,
            lesion_dice=lesion_dice(case.labels, analysed.labels),
            cause=None,
            seconds=time.monotonic() - started,
        )
        self._store.models.record_shadow(case.result_id, result, worker)
        _LOG.info(
            "shadow.measured",
            model=model.reference,
            burden_percent=round(analysed.findings.burden_percent, 2),
            burden_percent_of_result=round(case.findings.burden_percent, 2),
            lesion_dice=None if result.lesion_dice is None else round(result.lesion_dice, 3),
            would_alert=result.would_alert,
            alerted=case.alerted,
            seconds=round(result.seconds, 2),
        )

    def record_failure(self, case: RecordedCase, model: ModelAssignment, worker: str, cause: str) -> None:
        """Note that the shadow has no result for this series, and why."""
        _LOG.warning("shadow.failed", model=model.reference, cause=cause)
        failed = ShadowResult(
            name=model.name,
            version=model.version,
            sha256=model.sha256,
            findings=None,
            would_alert=None,
            lesion_dice=None,
            cause=cause,
            seconds=0.0,
        )
        self._store.models.record_shadow(case.result_id, failed, worker)


def lesion_dice(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> float | None:
    """Dice of the opacities of two label maps, both classes together; 1 where both have none, None across shapes."""
    if one.shape != other.shape:
        return None
    both = int(np.count_nonzero((one > 0) & (other > 0)))
    total = int(np.count_nonzero(one)) + int(np.count_nonzero(other))
    return 2 * both / total if total else 1.0
