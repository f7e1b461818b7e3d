"""The document of an evaluation, the comparison of two, and the report: keys, means, and nothing from elsewhere."""

import json
import re

import pytest
from labelled_sets import BandSegmenter

from analysis.evaluation.cases import CaseFile, EvaluationSet
from analysis.evaluation.comparison import NotComparable, compare
from analysis.evaluation.document import document
from analysis.evaluation.harness import Evaluation
from analysis.evaluation.models import Models, ModelSource
from analysis.evaluation.report import render
from analysis.evaluation.results import CaseResult, FailedCase, Picture

PNG = b"\x89PNG\r\n\x1a\n"


def evaluated(dices, burdens, false_burdens=(), *, name="bands"):
    """The document of an evaluation of covid20 with these figures."""
    models = Models(source=ModelSource(), load=lambda _: BandSegmenter(name))
    models.of(CaseFile(name="0", path=None, source=EvaluationSet.COVID20, fold=0))
    results = tuple(
        CaseResult(
            case=f"case{k}",
            figures={
                "slices": 4,
                "lesion_dice": dice,
                "burden_percent": burden,
                "true_burden_percent": burden + 1,
                "burden_dense_percent": burden,
                "true_burden_dense_percent": burden,
                "burden_error_percent": -1.0,
                "lesion_voxels": 10 * (k + 1),
                "true_lesion_voxels": 11 * (k + 1),
            },
        )
        for k, (dice, burden) in enumerate(zip(dices, burdens, strict=True))
    )
    controls = tuple(
        CaseResult(case=f"control{k}", figures={"burden_percent": burden, "true_burden_percent": 0.0})
        for k, burden in enumerate(false_burdens)
    )
    evaluation = Evaluation(
        which=EvaluationSet.COVID20,
        results=results,
        controls=controls,
        failed=(FailedCase(case="<torn>", reason="it cannot be read & is told"),),
    )
    return document(evaluation, models, alert_threshold_percent=1.0)


def test_the_document_has_the_promised_keys():
    """Set, model, cases and means stand under their names; absent figures are left out of the mean."""
    content = evaluated([0.8, None, 0.6], [5.0, 6.0, 9.0], [0.5, 2.0])
    assert (content["set"], content["model"]) == ("covid20", "bands")
    assert content["model_details"]["sha256"] == "0" * 64
    assert [case["case"] for case in content["cases"]] == ["case0", "case1", "case2"]
    assert content["cases"][1]["lesion_dice"] is None
    assert content["mean"]["lesion_dice"] == pytest.approx(0.7)
    assert content["mean"]["burden_percent"] == pytest.approx(20 / 3)
    assert "slices" not in content["mean"]
    assert content["controls_mean"]["burden_percent"] == pytest.approx(1.25)
    assert content["failed"] == [{"case": "<torn>", "reason": "it cannot be read & is told"}]
    json.dumps(content, allow_nan=False)


def test_statistics_hold_patients_against_controls():
    """The operating point and the calls at the alert threshold come from patients and controls together."""
    found = evaluated([0.8, 0.7, 0.6], [5.0, 6.0, 9.0], [0.5, 2.0])["statistics"]
    assert found["patients_against_controls"]["auroc"] == 1
    assert found["operating_point"]["threshold_burden_percent"] == pytest.approx(3.5)
    assert found["operating_point"]["specificity_percent"] == 100
    assert found["at_alert_threshold"]["specificity_percent"] == 50
    assert found["false_positive_burden_percent"]["mean"] == pytest.approx(1.25)
    assert found["burden_agreement_percent"]["pearson_r2"] == pytest.approx(1)
    assert found["burden_agreement_percent"]["bias"] == pytest.approx(-1)
    assert found["burden_dense_agreement_percent"]["bias"] == 0


def test_two_models_are_held_against_each_other_case_by_case():
    """Cases are paired by name; Wilcoxon is of the Dice, McNemar of the calls of patients and controls."""
    here = evaluated([0.8, 0.7, 0.6], [5.0, 6.0, 9.0], [0.5, 0.6])
    there = evaluated([0.7, 0.6, 0.5], [5.0, 0.2, 9.0], [0.5, 2.0], name="other")
    found = compare(here, there, threshold_percent=1.0)
    assert found["against"] == "other"
    assert found["figures"]["lesion_dice"]["mean_difference"] == pytest.approx(0.1)
    assert found["figures"]["lesion_dice"]["wilcoxon_p"] == pytest.approx(0.25)
    assert found["figures"]["controls_burden_percent"]["there"] == pytest.approx(1.25)
    assert found["calls"]["right_only_here"] == 2
    assert found["calls"]["mcnemar_p"] == pytest.approx(0.5)
    assert found["cases"][0]["lesion_dice"] == {"here": 0.8, "there": 0.7}
    with pytest.raises(NotComparable, match="covid20"):
        compare(here, {**there, "set": "medseg"}, threshold_percent=1.0)
    with pytest.raises(NotComparable, match="in common"):
        compare(here, {**there, "cases": []}, threshold_percent=1.0)


def test_the_report_is_one_file_that_loads_nothing():
    """Every picture stands in the page; nothing is fetched or run, text is escaped, and research use is said."""
    here = evaluated([0.8, 0.7, 0.6], [5.0, 6.0, 9.0], [0.5, 0.6])
    here["comparison"] = compare(here, evaluated([0.7, 0.6, 0.5], [5.0, 0.2, 9.0], [0.5, 2.0]), threshold_percent=1.0)
    pictures = [Picture(png=PNG, caption=f"picture {k}", badness=k / 20) for k in range(15)]
    page = render(here, pictures)
    sources = re.findall(r'src="([^"]{0,30})', page)
    assert sources
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert not re.search(r"https?://|<script|<link|@import|url\(", page)
    assert "Research use only" in page
    assert "&lt;torn&gt;: it cannot be read &amp; is told" in page
    assert "picture 14" in page
    assert "picture 2<" not in page  # twelve of fifteen, the worst ones
    assert "Wilcoxon".lower() in page.lower()
    assert "0.700" in page
