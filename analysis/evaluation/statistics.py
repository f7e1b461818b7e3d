"""Statistics of an evaluation, by SciPy, scikit-learn and statsmodels; each returns plain figures for the JSON."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats
from sklearn.metrics import roc_auc_score, roc_curve
from statsmodels.stats.contingency_tables import mcnemar

SENSITIVITY_PERCENT = 95.0
"""The sensitivity at which an operating point is chosen."""

_RESAMPLES = 2000
_SEED = 20221
_LEAST_CASES = 3
_LIMIT_SDS = 1.96


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """A threshold on the burden: called positive at and above it, with what that yields on the cases it came from."""

    threshold_percent: float
    sensitivity_percent: float
    specificity_percent: float
    patients: int
    controls: int

    @property
    def told(self) -> str:
        """How it was chosen, in a sentence."""
        return (
            f"the highest burden at which at least {SENSITIVITY_PERCENT:g} % of {self.patients} patients are called, "
            f"moved half-way to the next lower burden of any case, which changes no call; {self.controls} controls"
        )

    def document(self) -> dict[str, Any]:
        """The point as the JSON holds it."""
        return {
            "threshold_burden_percent": self.threshold_percent,
            "sensitivity_percent": self.sensitivity_percent,
            "specificity_percent": self.specificity_percent,
            "patients": self.patients,
            "controls": self.controls,
            "chosen_as": self.told,
        }


def agreement(found: Sequence[float], true: Sequence[float]) -> dict[str, Any] | None:
    """Correlation, bias and limits of agreement (Bland and Altman 1986) of paired measurements; None under three pairs.

    Correlations are None where one side does not vary.
    """
    one, other = np.asarray(found, np.float64), np.asarray(true, np.float64)
    if len(one) < _LEAST_CASES:
        return None
    difference = one - other
    spread = _LIMIT_SDS * float(difference.std(ddof=1))
    varies = np.ptp(one) > 0 and np.ptp(other) > 0
    pearson, spearman = (
        _correlation(test, one, other) if varies else None for test in (stats.pearsonr, stats.spearmanr)
    )
    return {
        "pairs": len(one),
        "pearson_r": pearson,
        "pearson_r2": None if pearson is None else pearson**2,
        "spearman_rho": spearman,
        "bias": float(difference.mean()),
        "limits_of_agreement": [float(difference.mean()) - spread, float(difference.mean()) + spread],
        "mean_absolute_error": float(np.abs(difference).mean()),
        "largest_absolute_error": float(np.abs(difference).max()),
    }


def discrimination(patients: Sequence[float], controls: Sequence[float]) -> dict[str, Any] | None:
    """AUROC of a score between patients and controls with a 95 % interval; None where one group is empty.

    The interval is the percentile bootstrap over patients and controls apart, seeded.
    """
    if not len(patients) or not len(controls):
        return None
    result: dict[str, Any] = {"auroc": auroc(patients, controls), "auroc_ci95": None}
    if min(len(patients), len(controls)) >= _LEAST_CASES:
        interval = stats.bootstrap(
            (np.asarray(patients, np.float64), np.asarray(controls, np.float64)),
            _auroc_of_resamples,
            vectorized=True,
            n_resamples=_RESAMPLES,
            method="percentile",
            rng=np.random.default_rng(_SEED),
        ).confidence_interval
        result["auroc_ci95"] = [float(interval.low), float(interval.high)]
    return result | {"patients": len(patients), "controls": len(controls)}


def discrimination_of_groups(
    patients: Sequence[Sequence[float]], controls: Sequence[Sequence[float]]
) -> dict[str, Any] | None:
    """AUROC of a score of images that come in groups, within which they are kin; None where one side is empty.

    The interval is the percentile bootstrap over whole groups of either side apart, seeded.
    """
    if not any(map(len, patients)) or not any(map(len, controls)):
        return None
    whole = [np.concatenate([np.asarray(group, np.float64) for group in side]) for side in (patients, controls)]
    random = np.random.default_rng(_SEED)
    drawn: list[float] = []
    for _ in range(_RESAMPLES):
        one, other = (
            np.concatenate([np.asarray(side[at], np.float64) for at in random.integers(0, len(side), len(side))])
            for side in (patients, controls)
        )
        drawn.append(float(_auroc_of_resamples(one, other)))
    low, high = np.percentile(drawn, (2.5, 97.5))
    return {
        "auroc": auroc(whole[0], whole[1]),
        "auroc_ci95": [float(low), float(high)] if min(len(patients), len(controls)) >= _LEAST_CASES else None,
        "images_with": len(whole[0]),
        "images_without": len(whole[1]),
        "groups": len(patients) + len(controls),
    }


def auroc(
    positive: Sequence[float] | npt.NDArray[np.float64], negative: Sequence[float] | npt.NDArray[np.float64]
) -> float:
    """Area under the receiver operating characteristic of a score."""
    truth, scores = _joined(positive, negative)
    return float(roc_auc_score(truth, scores))


def _auroc_of_resamples(
    positive: npt.NDArray[np.float64], negative: npt.NDArray[np.float64], axis: int = -1
) -> npt.NDArray[np.float64]:
    """The same of many samples at once: Mann and Whitney's U as a share of all pairs."""
    with np.errstate(all="ignore"):  # its p, which is not asked for, has none where all values are equal
        u = stats.mannwhitneyu(positive, negative, axis=axis, method="asymptotic")[0]
    return np.asarray(u) / (positive.shape[axis] * negative.shape[axis])


def roc(
    positive: Sequence[float], negative: Sequence[float]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """False and true positive rate along the receiver operating characteristic."""
    false_rate, true_rate, _ = roc_curve(*_joined(positive, negative))
    return false_rate, true_rate


def operating_point(
    patients: Sequence[float], controls: Sequence[float], *, sensitivity_percent: float = SENSITIVITY_PERCENT
) -> OperatingPoint | None:
    """The threshold on the burden for this sensitivity, and the specificity there; None where one group is empty."""
    if not len(patients) or not len(controls):
        return None
    truth, scores = _joined(patients, controls)
    false_rate, true_rate, thresholds = roc_curve(truth, scores, drop_intermediate=False)
    at = int(np.flatnonzero(true_rate >= sensitivity_percent / 100 - 1e-12)[0])
    chosen = float(thresholds[at])
    lower = scores[scores < chosen]
    return OperatingPoint(
        threshold_percent=(chosen + float(lower.max())) / 2 if len(lower) else chosen / 2,
        sensitivity_percent=100 * float(true_rate[at]),
        specificity_percent=100 * (1 - float(false_rate[at])),
        patients=len(patients),
        controls=len(controls),
    )


def at_threshold(patients: Sequence[float], controls: Sequence[float], threshold_percent: float) -> dict[str, Any]:
    """Sensitivity and specificity of calls at and above a given burden; None where a group is empty."""
    called = [sum(burden >= threshold_percent for burden in group) for group in (patients, controls)]
    return {
        "threshold_burden_percent": threshold_percent,
        "sensitivity_percent": 100 * called[0] / len(patients) if patients else None,
        "specificity_percent": 100 * (1 - called[1] / len(controls)) if controls else None,
    }


def paired_difference(one: Sequence[float], other: Sequence[float]) -> dict[str, Any]:
    """Wilcoxon's signed-rank test of paired figures; ``p`` is 1 where no pair differs."""
    difference = np.asarray(one, np.float64) - np.asarray(other, np.float64)
    differing = int(np.count_nonzero(difference))
    test: Any = stats.wilcoxon(difference[difference != 0]) if differing else None
    return {
        "pairs": len(difference),
        "mean_difference": float(difference.mean()) if len(difference) else None,
        "median_difference": float(np.median(difference)) if len(difference) else None,
        "wilcoxon_p": 1.0 if test is None else float(test.pvalue),
    }


def call_difference(one_right: Sequence[bool], other_right: Sequence[bool]) -> dict[str, Any]:
    """McNemar's exact test of whether two models are right on the same cases."""
    table = np.zeros((2, 2), int)
    for one, other in zip(one_right, other_right, strict=True):
        table[int(not one), int(not other)] += 1
    test: Any = mcnemar(table, exact=True)
    return {
        "cases": int(table.sum()),
        "right_only_here": int(table[0, 1]),
        "right_only_there": int(table[1, 0]),
        "mcnemar_p": float(test.pvalue),
    }


def mean_with_interval(values: Sequence[float]) -> dict[str, Any] | None:
    """Mean, its bootstrapped 95 % interval, median and extremes; None where there is nothing."""
    if not len(values):
        return None
    numbers = np.asarray(values, np.float64)
    interval = None
    if len(numbers) >= _LEAST_CASES and np.ptp(numbers) > 0:
        found = stats.bootstrap(
            (numbers,), np.mean, n_resamples=_RESAMPLES, method="percentile", rng=np.random.default_rng(_SEED)
        ).confidence_interval
        interval = [float(found.low), float(found.high)]
    return {
        "cases": len(numbers),
        "mean": float(numbers.mean()),
        "mean_ci95": interval,
        "median": float(np.median(numbers)),
        "lowest": float(numbers.min()),
        "highest": float(numbers.max()),
    }


def _correlation(test: Callable[..., Any], one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    return float(test(one, other).statistic)


def _joined(
    positive: Sequence[float] | npt.NDArray[np.float64], negative: Sequence[float] | npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int_], npt.NDArray[np.float64]]:
    truth = np.concatenate([np.ones(len(positive), int), np.zeros(len(negative), int)])
    return truth, np.concatenate([np.asarray(positive, np.float64), np.asarray(negative, np.float64)])
