"""The model card: every figure in it stands in the JSON of an evaluation or a cross-validation."""

import re
from collections.abc import Iterator

import pytest
from labelled_sets import BandSegmenter

from analysis.evaluation.cases import CaseFile, EvaluationSet
from analysis.evaluation.document import document
from analysis.evaluation.harness import Evaluation
from analysis.evaluation.models import Models, ModelSource
from analysis.evaluation.results import CaseResult
from analysis.model.network import NetworkShape
from analysis.model.weights import Manifest, TrainingSummary
from analysis.training.card import model_card
from analysis.training.card_figures import (
    anatomy_section,
    comparison_section,
    evaluations_section,
    lesion_threshold_section,
    thresholds_section,
)
from analysis.training.networks import network_shape
from analysis.training.recipes import load_recipe

FIGURE = re.compile(r"(?<![\w.@-])-?\d[\d,]*(?:\.\d+)?(?:e-\d+)?(?![\w])")
CONSTANTS = {"95", "19", "256"}
"""Numbers that are words: a 95 % interval, COVID-19, 256x256."""


def _document(which, results, controls=()):
    models = Models(source=ModelSource(), load=lambda _: BandSegmenter())
    models.of(CaseFile(name="0", path=None, source=which, fold=0))
    evaluation = Evaluation(which=which, results=results, controls=controls, failed=())
    return document(evaluation, models, alert_threshold_percent=1.0)


@pytest.fixture
def evaluations():
    """Documents of patients with controls, of single slices, of lobes and of a series."""
    patients = tuple(
        CaseResult(
            case=f"patient_{name}",
            figures={
                "lesion_dice": 0.7123 + 0.0517 * k,
                "lung_dice": 0.9611 + 0.0013 * k,
                "burden_percent": 4.377 + 3.911 * k,
                "true_burden_percent": 5.713 + 3.719 * k**1.1,
            },
        )
        for k, name in enumerate("abcd")
    )
    controls = tuple(
        CaseResult(case=f"control_{name}", figures={"burden_percent": burden, "true_burden_percent": 0.0})
        for name, burden in (("a", 0.137), ("b", 1.853), ("c", 0.411))
    )
    slices = tuple(
        CaseResult(
            case=f"slice_{name}",
            figures={
                "ggo_dice": 0.6137 + k / 31,
                "high_opacity_dice": None,
                "lesion_dice": 0.7331,
                "lesion_counts": [70, 90, 101],
                "ggo_counts": [50 + k, 71, 83],
                "high_opacity_counts": [11, 13, 47],
            },
        )
        for k, name in enumerate("abc")
    )
    series = (
        CaseResult(
            case="series_a",
            figures={
                "status": "analysed",
                "burden_percent": 1.659,
                "quality": "diagnostic",
                "slice_auroc": 0.9731,
                "lobes_flagged": ["RLL", "LLL"],
                "lobes_labelled": ["RLL"],
            },
        ),
        CaseResult(case="series_b", figures={"status": "excluded", "reason": "modality: MR (expected CT)"}),
    )
    return [
        _document(EvaluationSet.COVID20, patients, controls),
        _document(EvaluationSet.CTAC, patients[:3], controls),
        _document(EvaluationSet.MEDSEG, slices),
        _document(EvaluationSet.LCTSC, controls),
        _document(EvaluationSet.DICOM, series),
    ]


@pytest.fixture
def cross_validation():
    """What the cross-validation of a recipe left."""
    return {
        "model": "lungsentry",
        "runs": [{"fold": "0", "parameters": 788683, "device": "cpu"}, {"fold": "1", "parameters": 788683}],
        "mean": {"covid20_lesion_dice": 0.8123, "lctsc_burden_percent": 0.6571, "medseg_ggo_dice": 0.6417},
        "cases": [
            {
                "case": "patient_a",
                "set": "covid20",
                "lesion_dice": 0.81,
                "burden_percent": 4.1,
                "true_burden_percent": 5.2,
            }
        ],
    }


def _numbers(value) -> Iterator[float]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _numbers(item)
    elif isinstance(value, list):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, str):
        yield from (float(found.replace(",", "")) for found in FIGURE.findall(value))
    elif isinstance(value, int | float):
        yield float(value)


def test_every_figure_stands_in_the_json(evaluations, cross_validation):
    """Each number of the card's figures is one of the JSON, rounded as it is shown; changing the JSON changes it."""
    lungs = {"what": "held out", "lctsc_dice": {"scans": 7, "mean": 0.9761, "worst": 0.9613}, "scans": {}}
    lobes = {"mean_dice": 0.8913, "mean_dice_by_lobe": {"RUL": 0.9017, "RML": 0.7433}, "maps": 41}
    painted = {"cases": 14, "found_share": 0.7613, "within_a_fifth": 13, "worst_error_percent": 21.37}
    places = {"painted": {"whole": painted}, "as_they_come": {"scans": 19, "gaining": 3}}
    card = evaluations_section(evaluations) + comparison_section([cross_validation]) + thresholds_section(evaluations)
    lesion_threshold = {
        "threshold": 0.35,
        "nested_lesion_dice": 0.7613,
        "grid": [
            {
                "threshold": 0.35,
                "lesion_dice": 0.7719,
                "lesion_dice_worst": 0.6137,
                "burden_bias_points": -1.27,
                "burden_r2": 0.9371,
                "control_burden_percent": 0.2317,
            }
        ],
        "cases": [{"lesion_dice": [0.77]}, {"lesion_dice": [0.71]}, {"lesion_dice": None}],
    }
    card += anatomy_section(lungs, lobes, places) + lesion_threshold_section(lesion_threshold)
    counts = [len(one["cases"]) for one in evaluations]
    known = [*_numbers([evaluations, cross_validation, lungs, lobes, places, lesion_threshold]), *counts]
    shown = [found for found in FIGURE.findall(re.sub(r"`[^`]*`", "", card)) if found not in CONSTANTS]
    assert len(shown) > 100
    for text in shown:
        decimals = len(text.partition(".")[2])
        assert any(f"{value:.{decimals}f}" == text.replace(",", "") for value in known), text
    evaluations[0]["statistics"]["patients_against_controls"]["auroc"] = 0.4242
    assert "0.424" in evaluations_section(evaluations)


def test_the_card_tells_thresholds_by_profile_and_how_they_were_chosen(evaluations):
    """Both profiles have their own; a profile without patients and controls says that none was chosen."""
    told = thresholds_section(evaluations)
    for document_, profile in ((evaluations[0], "chest_ct"), (evaluations[1], "ctac")):
        point = document_["statistics"]["operating_point"]
        assert f"**{profile}: burden {point['threshold_burden_percent']:.2f} %**" in told
        assert point["chosen_as"] in told
    assert "none was chosen" in thresholds_section(evaluations[2:])


def _manifest(network, data, **training):
    return Manifest(
        name="lungsentry-convlstm",
        version="1.2.3",
        sha256="ab" * 32,
        network=network,
        mean_hu=-700.0,
        sd_hu=200.0,
        terms=f"Research use only. Trained on {', '.join(data)}: the strictest of their terms holds.",
        training=TrainingSummary(data=data, fold="all", steps=7, seconds=60.0, **training),
    )


def _card(manifest, recipe, cases=(), **more):
    return model_card(manifest, recipe, cases, device="cpu", highest_burden_percent=40.0, interim=False, **more)


def test_the_whole_card(evaluations, cross_validation):
    """Use, data and terms, recipe, figures, thresholds, limits and departures from the paper stand in one text."""
    recipe = load_recipe("convlstm")
    manifest = _manifest(NetworkShape(), ("covid20 (4)",), recipe=recipe.name)
    more = {"evaluations": evaluations, "cross_validations": [cross_validation]}
    card = _card(manifest, recipe, cross_validation["cases"], **more)
    for heading in ("Intended use", "Data and their terms", "Figures by", "Networks and recipes", "Input, output"):
        assert f"## {heading}" in card
    for heading in ("Operating threshold for alerts", "Limits", "Departures from the paper"):
        assert f"## {heading}" in card
    assert "non-commercial" in card
    assert manifest.sha256 in card
    assert "788,683 parameters" in card
    assert "Xavier" in card


def test_a_card_tells_of_no_data_and_no_network_but_its_own():
    """A hospital's own model names no public set; the trunk of another network is told where there is one."""
    recipe = load_recipe("lungsentry")
    lite = network_shape(recipe.network)
    own = _card(_manifest(lite, ("hospital (300)", "hospital_control (90)"), recipe=recipe.name), recipe)
    assert "lungsentry train --data DATA --recipe lungsentry" in own
    assert "**Research use only. Trained on hospital (300), hospital_control (90)" in own
    for foreign in (
        "| lctsc",
        "| covid20",
        "| medseg",
        "no patient of the hospital",
        "Xavier",
        "crossvalidate --recipe",
    ):
        assert foreign not in own, foreign
    assert "EfficientNet-Lite0, with which the trunk began" in own

    refined = load_recipe("lungsentry_refine")
    chain = {"recipe": refined.name, "started_from": "lungsentry-lite 0.1.0 (7 steps)", "kept_share": 0.25}
    public = _card(_manifest(lite, ("covid20 (4)", "lctsc (3)"), **chain), refined)
    assert "It went on from lungsentry-lite 0.1.0 (7 steps). Of that model's weights 25 % are mixed in." in public
    for command in (
        "prepare --data",
        "--start-from MODEL --checkpoints RUNS",
        "--share 0.25",
        "export --run BLENDED.pt",
    ):
        assert command in public, command
    assert "| medseg" not in public
    assert "EfficientNet-Lite0, with which the trunk began" in public
