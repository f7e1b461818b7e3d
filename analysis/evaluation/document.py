"""The evaluation as one JSON document: figures of each case, means, statistics, and what they rest on."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

from analysis.evaluation import statistics
from analysis.evaluation.cases import EvaluationSet
from analysis.evaluation.ctac import CTAC_ASSUMPTION
from analysis.evaluation.harness import Evaluation
from analysis.evaluation.lobes import LOBES_ASSUMPTION
from analysis.evaluation.models import Models
from analysis.evaluation.reading import COVID20_ASSUMPTION, MEDSEG_ASSUMPTION, SARS_ASSUMPTION
from analysis.evaluation.results import CaseResult
from analysis.evaluation.slices import OPACITY_OF_EACH, pooled_dice

RESEARCH_USE = "Research use only. Not a medical device."

MAIN_FIGURES: Mapping[EvaluationSet, tuple[str, ...]] = {
    EvaluationSet.COVID20: ("lesion_dice", "lesion_dice_own_lung", "lung_dice", "lesion_in_lung_share"),
    EvaluationSet.MEDSEG: ("ggo_dice", "high_opacity_dice", "lesion_dice"),
    EvaluationSet.LCTSC: ("lung_dice", "burden_percent"),
    EvaluationSet.LOBES: ("lobe_dice", "RUL_dice", "RML_dice", "RLL_dice", "LUL_dice", "LLL_dice"),
    EvaluationSet.DICOM: ("burden_percent", "slice_auroc"),
    EvaluationSet.CTAC: ("lesion_dice", "lesion_dice_own_lung", "lung_dice", "lesion_in_lung_share"),
    EvaluationSet.SARS: ("opacity_percent",),
}
"""The figures that a set is judged by, the first one before all."""

_ASSUMPTIONS: Mapping[EvaluationSet, tuple[str, ...]] = {
    EvaluationSet.COVID20: (COVID20_ASSUMPTION,),
    EvaluationSet.MEDSEG: (MEDSEG_ASSUMPTION,),
    EvaluationSet.LCTSC: (
        "lctsc has no COVID-19, but may hold tumours or atelectasis: what is found counts as false.",
    ),
    EvaluationSet.LOBES: (LOBES_ASSUMPTION,),
    EvaluationSet.DICOM: (),
    EvaluationSet.CTAC: (CTAC_ASSUMPTION, COVID20_ASSUMPTION),
    EvaluationSet.SARS: (SARS_ASSUMPTION,),
}
_NO_MEAN = {"images", "slices", "slices_with_infection", "slices_without_infection"}


def document(evaluation: Evaluation, models: Models, *, alert_threshold_percent: float | None = None) -> dict[str, Any]:
    """The evaluation in JSON's terms. ``mean`` is over the cases that have a figure, controls apart.

    ``profile`` is None where each case tells its own.

    ``alert_threshold_percent`` is the burden at which the node flags the profile; calls at it are counted.
    """
    which = evaluation.which
    content: dict[str, Any] = {
        "set": which.value,
        **models.document(which),
        "profile": None if which is EvaluationSet.DICOM else evaluation.profile.value,
        "cases": [result.document() for result in evaluation.results],
        "mean": means(evaluation.results),
    }
    if which is EvaluationSet.MEDSEG:
        content["pooled"] = pooled_dice(evaluation.results)
    if evaluation.controls:
        content["controls"] = [result.document() for result in evaluation.controls]
        content["controls_mean"] = means(evaluation.controls)
    content["statistics"] = _statistics(evaluation, alert_threshold_percent)
    content["failed"] = [{"case": one.case, "reason": one.reason} for one in evaluation.failed]
    content["assumptions"] = list(_ASSUMPTIONS[which])
    content["software_version"] = version("lungsentry")
    content["notice"] = RESEARCH_USE
    return content


def means(results: Sequence[CaseResult]) -> dict[str, float]:
    """Mean of every figure that is a number, over the cases that have it."""
    keys = dict.fromkeys(key for result in results for key in result.figures)
    found = {key: column(results, key) for key in keys if key not in _NO_MEAN}
    return {key: float(np.mean(values)) for key, values in found.items() if values}


def column(results: Sequence[CaseResult], key: str) -> list[float]:
    """The numbers that stand under a key, of the cases that have one."""
    values = (result.figures.get(key) for result in results)
    return [float(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool)]


def _statistics(evaluation: Evaluation, alert_threshold_percent: float | None) -> dict[str, Any]:
    results, which = evaluation.results, evaluation.which
    found: dict[str, Any] = {
        "distribution": {key: statistics.mean_with_interval(column(results, key)) for key in MAIN_FIGURES[which]}
    }
    for name, one, other in (
        ("burden_agreement_percent", "burden_percent", "true_burden_percent"),
        ("burden_dense_agreement_percent", "burden_dense_percent", "true_burden_dense_percent"),
        ("lesion_voxel_agreement", "lesion_voxels", "true_lesion_voxels"),
        ("lung_volume_agreement_ml", "lung_volume_ml", "true_lung_volume_ml"),
    ):
        pairs = [
            (r.figures[one], r.figures[other]) for r in results if r.figures.get(one) is not None and other in r.figures
        ]
        if agreement := statistics.agreement([pair[0] for pair in pairs], [pair[1] for pair in pairs]):
            found[name] = agreement
    if which is EvaluationSet.SARS:
        covid, other = (
            [result.figures[OPACITY_OF_EACH] for result in results if result.figures["covid"] is kind]
            for kind in (True, False)
        )
        found["images_with_covid_against_others"] = statistics.discrimination_of_groups(covid, other)
    controls = evaluation.controls or (results if which is EvaluationSet.LCTSC else ())
    false_burdens = column(controls, "burden_percent")
    if false_burdens:
        found["false_positive_burden_percent"] = statistics.mean_with_interval(false_burdens)
    if evaluation.controls:
        burdens = column(results, "burden_percent")
        found["patients_against_controls"] = statistics.discrimination(burdens, false_burdens)
        point = statistics.operating_point(burdens, false_burdens)
        found["operating_point"] = None if point is None else point.document()
        if alert_threshold_percent is not None:
            found["at_alert_threshold"] = statistics.at_threshold(burdens, false_burdens, alert_threshold_percent)
    return found
