"""Holds two evaluations of the same set against each other, case by case."""

from collections.abc import Mapping
from typing import Any

from analysis.errors import AnalysisError
from analysis.evaluation import statistics
from analysis.evaluation.cases import EvaluationSet
from analysis.evaluation.document import MAIN_FIGURES

_PAIRED = ("burden_percent", "burden_error_percent")


class NotComparable(AnalysisError):
    """The two evaluations have no case in common."""


def compare(here: Mapping[str, Any], there: Mapping[str, Any], *, threshold_percent: float) -> dict[str, Any]:
    """Compare two documents of the same set: Wilcoxon on paired figures, McNemar on calls of patients and controls.

    A patient (or control) is called at and above a burden of ``threshold_percent``. Differences are here minus there;
    for burden errors and false burdens they are of magnitudes.

    Raises:
        NotComparable: the sets differ, or they have no case in common.
    """
    if here["set"] != there.get("set"):
        raise NotComparable(f"One is of {here['set']}, the other of {there.get('set')}.")
    pairs = _pairs(here["cases"], there.get("cases", []))
    if not pairs:
        raise NotComparable
    figures: dict[str, Any] = {}
    for key in dict.fromkeys((*MAIN_FIGURES[EvaluationSet(here["set"])], *_PAIRED)):
        both = [(one[key], other[key]) for one, other in pairs if _told(one, key) and _told(other, key)]
        if both:
            ones, others = ([abs(pair[side]) if key in _PAIRED else pair[side] for pair in both] for side in (0, 1))
            figures[key] = {
                "here": sum(ones) / len(ones),
                "there": sum(others) / len(others),
                **statistics.paired_difference(ones, others),
            }
    controls = _pairs(here.get("controls", []), there.get("controls", []))
    controls = [pair for pair in controls if all(_told(case, "burden_percent") for case in pair)]
    false_burdens = [(one["burden_percent"], other["burden_percent"]) for one, other in controls]
    result: dict[str, Any] = {
        "against": str(there.get("model", "a model without a name")),
        "against_details": there.get("model_details"),
        "figures": figures,
    }
    if false_burdens:
        ones, others = [pair[0] for pair in false_burdens], [pair[1] for pair in false_burdens]
        result["figures"]["controls_burden_percent"] = {
            "here": sum(ones) / len(ones),
            "there": sum(others) / len(others),
            **statistics.paired_difference(ones, others),
        }
    calls = [(one, other, one["true_burden_percent"] > 0) for one, other in pairs if _called(one, other)]
    calls += [(one, other, False) for one, other in controls]
    if controls:
        right = [
            [(case["burden_percent"] >= threshold_percent) == sick for *both, sick in calls for case in (both[side],)]
            for side in (0, 1)
        ]
        result["calls"] = {"threshold_burden_percent": threshold_percent, **statistics.call_difference(*right)}
    result["cases"] = [
        {
            "case": one["case"],
            **{
                key: {"here": one[key], "there": other[key]} for key in figures if _told(one, key) and _told(other, key)
            },
        }
        for one, other in pairs
    ]
    return result


def _pairs(here: list[dict[str, Any]], there: list[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The cases that both hold, by name."""
    others = {case["case"]: case for case in there}
    return [(case, others[case["case"]]) for case in here if case["case"] in others]


def _called(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether a case has a burden by both models, and a true one."""
    return _told(one, "true_burden_percent") and _told(one, "burden_percent") and _told(other, "burden_percent")


def _told(case: Mapping[str, Any], key: str) -> bool:
    return isinstance(case.get(key), int | float)
