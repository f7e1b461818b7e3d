"""``evaluate`` on tiny sets of every layout, written to disk, and on a case of the real data where it is there."""

import json
import logging
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import structlog
from labelled_sets import (
    BURDEN_PERCENT,
    LUNG_VOXELS,
    BandSegmenter,
    lobe_boxes,
    write_covid20,
    write_lctsc,
    write_lobes,
    write_medseg,
    write_sars,
)
from model_sets import models_with
from typer.testing import CliRunner

import analysis.evaluation
from analysis.anatomy import Lobes, Lungs
from analysis.evaluation import lobes as lobe_scores
from analysis.evaluation import volumes
from analysis.model.network import NetworkShape
from analysis.model.segmenter import Segmenter
from analysis.model.weights import Manifest, TrainingSummary, pack_weights, write_weights
from analysis.training import card
from dicom_node.cli import app
from dicom_node.cli.phantoms import Kind, write_phantom


@pytest.fixture(autouse=True)
def _logging_as_it_was():
    """A command sets up logging for its process; here the process goes on."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def loaded(monkeypatch, tmp_path):
    """In place of models and lung segmentation: bands of HU, and the lungs that were painted; the folders asked for."""
    asked: list[object] = []

    def load(directory=None, *, device="auto", threads=None):
        del device, threads
        asked.append(directory)
        if directory is not None and directory.name.startswith("fold"):
            return BandSegmenter(sha256=directory.name)
        return BandSegmenter(missing_slices=(1,) if directory is not None else ())

    monkeypatch.setattr(Segmenter, "load", load)
    monkeypatch.setattr(
        volumes, "segment_lungs", lambda volume, *_, **__: Lungs(labels=(volume.hu < -400).astype(np.uint8))
    )
    monkeypatch.chdir(tmp_path)
    return asked


@pytest.fixture
def data(tmp_path):
    """A folder of every set but DICOM."""
    folder = tmp_path / "data"
    for name in ("a", "b", "c"):
        write_covid20(folder / "covid20", name)
    for k in range(2):
        write_lctsc(folder / "lctsc", f"case_{k:03d}", false_voxels=10 * k)
        write_medseg(folder / "medseg" / "train50", str(k), high_opacity=k == 0)
    write_lobes(folder / "lobes", "luna_00")
    return folder


def evaluate(*words: object):
    """Exit code, the document that was written, and what was said on standard error."""
    done = CliRunner().invoke(app, ["evaluate", *map(str, words), "--json", "found.json"])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    try:
        document = json.loads(Path("found.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        document = None
    return SimpleNamespace(code=done.exit_code, document=document, said=done.stderr, shown=done.stdout)


def test_covid20_by_a_model_that_is_right(data):
    """Every promised key, Dice 1, the burden that was painted, and the controls that stand beside the patients."""
    done = evaluate("--data", data, "--set", "covid20")
    assert done.code == 0, done.said
    document = done.document
    assert {"set", "model", "cases", "mean"} <= set(document)
    assert (document["set"], document["model"]) == ("covid20", "bands")
    assert [case["case"] for case in document["cases"]] == ["a", "b", "c"]
    for case in (*document["cases"], document["mean"]):
        assert (case["lesion_dice"], case["lung_dice"], case["lesion_in_lung_share"]) == (1, 1, 1)
        assert case["burden_percent"] == pytest.approx(BURDEN_PERCENT)
        assert case["true_burden_percent"] == pytest.approx(BURDEN_PERCENT)
    assert [case["case"] for case in document["controls"]] == ["lctsc_case_000", "lctsc_case_001"]
    assert document["controls"][1]["burden_percent"] == pytest.approx(100 * 10 / LUNG_VOXELS)
    assert document["statistics"]["operating_point"]["specificity_percent"] == 100
    assert "Research use only" in done.shown


def test_the_sets_own_folder_will_do(data):
    """--data may be the folder of the set itself; then there are no controls beside it."""
    done = evaluate("--data", data / "covid20", "--set", "covid20")
    assert done.code == 0, done.said
    assert len(done.document["cases"]) == 3
    assert "controls" not in done.document


def test_medseg_lctsc_and_lobes(data, monkeypatch):
    """The keys and values of the other layouts, each by what was painted."""
    medseg = evaluate("--data", data, "--set", "medseg").document
    assert [case["case"] for case in medseg["cases"]] == ["train50_0", "train50_1"]
    assert medseg["cases"][1]["high_opacity_dice"] is None
    assert medseg["mean"]["ggo_dice"] > 0.97  # JPEG wears the edges
    assert medseg["mean"]["high_opacity_dice"] > 0.97
    assert medseg["pooled"]["ggo_dice"] > 0.97
    assert len(evaluate("--data", data / "medseg" / "train50", "--set", "medseg").document["cases"]) == 2

    lctsc = evaluate("--data", data, "--set", "lctsc").document
    assert lctsc["mean"]["lung_dice"] == 1
    assert lctsc["mean"]["burden_percent"] == pytest.approx(100 * 5 / LUNG_VOXELS)
    assert {case["true_burden_percent"] for case in lctsc["cases"]} == {0}

    estimate = Lobes(labels=lobe_boxes(), confidence_percent={}, cut=frozenset(), untold=frozenset())
    monkeypatch.setattr(lobe_scores, "estimate_lobes", lambda *_, **__: estimate)
    lobes = evaluate("--data", data, "--set", "lobes").document
    assert lobes["mean"]["lobe_dice"] == 1
    assert {f"{lobe}_dice" for lobe in ("RUL", "RML", "RLL", "LUL", "LLL")} <= set(lobes["cases"][0])


def test_single_slices_with_a_label_each_are_told_apart_by_their_area_of_opacity(data):
    """Blocks of 25 consecutive files; images with COVID of which a tenth shows nothing: AUROC 0.95, over blocks."""
    write_sars(data / "sars_cov_2_ct", covid=60, others=55)
    done = evaluate("--data", data, "--set", "sars")
    assert done.code == 0, done.said
    names = [case["case"] for case in done.document["cases"]]
    ends = ("1_to_25", "26_to_50", "51_to_60"), ("1_to_25", "26_to_50", "51_to_55")
    assert names == [f"{label}_{end}" for label, own in zip(("covid", "noncovid"), ends, strict=True) for end in own]
    found = done.document["statistics"]["images_with_covid_against_others"]
    assert found["auroc"] == pytest.approx(0.95)
    assert (found["images_with"], found["images_without"], found["groups"]) == (60, 55, 6)
    low, high = found["auroc_ci95"]
    assert low <= 0.95 <= high
    assert "AUROC 0.950" in done.shown
    assert evaluate("--data", data / "sars_cov_2_ct", "--set", "sars").document["cases"] == done.document["cases"]


def test_ctac_is_simulated_the_same_way_twice(data):
    """The same seed gives the same figures, another one other noise; the look of each case is told."""
    one, two, other = (evaluate("--data", data, "--set", "ctac", "--seed", seed).document for seed in (1, 1, 2))
    assert one == two
    assert one["cases"][0]["simulated"] != other["cases"][0]["simulated"]
    assert one["profile"] == "ctac"
    assert len(one["controls"]) == 2


def test_a_torn_case_is_told_and_the_rest_evaluated(data):
    """A file that is no archive, and a picture without truth, fail by name with exit code 1; the rest has figures."""
    (data / "covid20" / "b.zip").write_bytes(b"not a zip")
    done = evaluate("--data", data, "--set", "covid20")
    assert done.code == 1
    assert [case["case"] for case in done.document["cases"]] == ["a", "c"]
    (failed,) = done.document["failed"]
    assert failed["case"] == "b"
    assert "b.zip" in failed["reason"]
    assert "b.zip" in done.said
    (data / "medseg" / "train50" / "GT" / "0.png").unlink()
    done = evaluate("--data", data, "--set", "medseg")
    assert (done.code, [one["case"] for one in done.document["failed"]]) == (1, ["train50_0"])


def test_an_array_of_another_shape_fails_by_name(data):
    """Masks that do not fit the images are a failure of that case, not a crash."""
    hu = np.zeros((2, 8, 8), np.int16)
    np.savez(data / "lctsc" / "case_000.npz", hu=hu, lung=np.zeros((2, 8, 9), bool), spacing_mm=np.ones(3))
    np.savez(data / "lctsc" / "case_002.npz", hu=hu)
    done = evaluate("--data", data, "--set", "lctsc")
    assert done.code == 1
    reasons = {one["case"]: one["reason"] for one in done.document["failed"]}
    assert set(reasons) == {"lctsc_case_000", "lctsc_case_002"}
    assert "lung" in reasons["lctsc_case_002"]


def test_a_folder_without_the_set_says_what_was_expected(tmp_path):
    """The error names the layout that was looked for."""
    (tmp_path / "empty").mkdir()
    done = evaluate("--data", tmp_path / "empty", "--set", "covid20")
    assert done.code == 1
    assert "covid20/*.zip" in " ".join(done.said.split())
    assert evaluate("--data", tmp_path / "nowhere", "--set", "covid20").code == 2


def test_without_the_extra_the_error_says_what_to_install(data, monkeypatch):
    """Where statistics or plots are not installed the command says how to get them."""
    monkeypatch.setattr(analysis.evaluation, "missing_packages", lambda: ("sklearn",))
    done = evaluate("--data", data, "--set", "covid20")
    assert done.code == 1
    assert "pip install 'lungsentry[train]'" in done.said


def _fold(folder, fold, *cases: str):
    content, sha256 = pack_weights({})
    training = TrainingSummary(recipe="test", data=("covid20 (4)",), fold=str(fold), steps=1, seconds=1.0)
    manifest = Manifest(
        name="bands",
        version=f"0.0.{fold}",
        sha256=sha256,
        network=NetworkShape(),
        mean_hu=-700.0,
        sd_hu=200.0,
        training=training,
    )
    write_weights(folder / f"fold{fold}", manifest, content)
    if cases:
        held_out = {"cases": [{"case": name, "fold": fold} for name in cases]}
        (folder / f"fold{fold}" / "evaluation.json").write_text(json.dumps(held_out))


def test_each_case_is_judged_by_the_fold_that_did_not_see_it(data, tmp_path, loaded):
    """By its place among the sorted cases, or by the names that the folds hold; each fold's model is loaded once."""
    folds = tmp_path / "folds"
    for fold in range(5):
        _fold(folds, fold)
    done = evaluate("--data", data / "covid20", "--set", "covid20", "--cross-validated", folds)
    assert done.code == 0, done.said
    assert [path.name for path in loaded] == ["fold0", "fold1", "fold2"]
    assert done.document["cross_validated"] is True
    assert {fold: told["sha256"] for fold, told in done.document["model_details"].items()} == {
        name: name for name in ("fold0", "fold1", "fold2")
    }
    loaded.clear()
    _fold(folds, 4, "a", "b")
    done = evaluate("--data", data / "covid20", "--set", "covid20", "--cross-validated", folds)
    assert sorted(path.name for path in loaded) == ["fold2", "fold4"]
    shutil.rmtree(folds / "fold3")
    done = evaluate("--data", data, "--set", "covid20", "--cross-validated", folds)
    assert done.code == 1
    assert "fold3" in done.said


def test_against_another_model_or_its_json(data, tmp_path):
    """A model that misses a slice has the lower Dice; the JSON of its evaluation gives the same comparison."""
    worse = tmp_path / "worse"
    _fold(tmp_path, 0)
    (tmp_path / "fold0").rename(worse)
    done = evaluate("--data", data, "--set", "covid20", "--against", worse, "--report", tmp_path / "report")
    assert done.code == 0, done.said
    compared = done.document["comparison"]
    assert compared["figures"]["lesion_dice"]["here"] == 1
    assert compared["figures"]["lesion_dice"]["there"] == pytest.approx(2 / 3)
    page = (tmp_path / "report" / "covid20.html").read_text(encoding="utf-8")
    assert "data:image/png;base64," in page
    assert "http" not in page
    assert "Worst cases" in page
    evaluate("--data", data, "--set", "covid20", "--model", worse)
    (tmp_path / "found.json").rename(tmp_path / "worse.json")
    again = evaluate("--data", data, "--set", "covid20", "--against", tmp_path / "worse.json")
    assert again.document["comparison"]["figures"] == compared["figures"]
    (tmp_path / "list.json").write_text("[]")
    assert evaluate("--data", data, "--set", "covid20", "--against", tmp_path / "list.json").code == 2


def test_what_is_compared_with_is_looked_for_before_anything_is_measured(data, tmp_path):
    """A path that is not there, or figures of another set, end the command at once, and say which file."""
    missing = evaluate("--data", data, "--set", "covid20", "--against", tmp_path / "nothere.json")
    assert missing.code == 2
    assert "there is no file" in missing.said
    assert "nothere.json" in missing.said.replace("\n", "")
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"set": "medseg", "cases": []}))
    assert evaluate("--data", data, "--set", "covid20", "--against", other).code == 2
    assert not (tmp_path / "found.json").exists()


def test_a_caution_where_the_model_was_trained_on_the_set(data, tmp_path):
    """Figures of a model on the data it was trained on carry a warning."""
    _fold(tmp_path, 0)
    (tmp_path / "fold0").rename(tmp_path / "own")
    done = evaluate("--data", data, "--set", "covid20", "--model", tmp_path / "own")
    assert any("flatter" in line for line in done.document["cautions"])


def test_dicom_series_through_the_whole_pipeline(tmp_path):
    """A phantom is analysed, a folder of text files is no series, and labels beside the folder give an AUROC."""
    folder = tmp_path / "dicom" / "phantom"
    written = write_phantom(Kind.CTAC_OPACITIES, folder, {"matrix": 128})
    positions = sorted(float(one.split("|")[1]) for one in _positions(written.paths))
    middle = len(positions) // 2
    labels = [
        {"z_mm": z, "infection": middle - 8 < k < middle + 8, "lobes": ["RLL"] if k == middle else []}
        for k, z in enumerate(positions)
    ]
    (tmp_path / "dicom" / "phantom.labels.json").write_text(json.dumps({"slices": labels}))
    done = evaluate("--data", tmp_path, "--set", "dicom")
    assert done.code == 0, done.said
    (case,) = done.document["cases"]
    assert (case["case"], case["status"], case["profile"]) == ("phantom", "analysed", "ctac")
    assert case["burden_percent"] > 1
    assert case["slice_auroc"] > 0.7
    assert case["slices_with_infection"] + case["slices_without_infection"] == len(positions)
    assert case["lobes_labelled"] == ["RLL"]
    empty = tmp_path / "text"
    empty.mkdir()
    (empty / "notes.txt").write_text("no image")
    assert evaluate("--data", empty, "--set", "dicom").code == 1


def _positions(paths):
    import pydicom

    for path in paths:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["ImagePositionPatient"])
        yield f"{path.name}|{header.ImagePositionPatient[2]}"


@pytest.mark.real_data
def test_a_real_case_is_read_as_its_readme_says(shared_data, tmp_path, monkeypatch):
    """The smallest real case of covid20: HU in range, lesions inside the lung, truth's burden as counted apart."""
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    from analysis.evaluation.reading import read_covid20
    from analysis.evaluation.volumes import score_patient

    scan = read_covid20(shared_data / "covid20" / "radiopaedia_4_85506.zip")
    assert (scan.lesion <= scan.lung).all()
    assert -1024 <= scan.volume.hu.min() < -800
    figures = score_patient("real", scan, models_with(BandSegmenter())).figures
    assert figures["true_burden_percent"] == pytest.approx(100 * scan.lesion.sum() / scan.lung.sum())
    assert figures["true_burden_percent"] == pytest.approx(11.9, abs=0.05)
    assert figures["lung_dice"] > 0.9


def test_the_model_card_is_made_from_the_files_of_evaluate(data, tmp_path):
    """The card's command reads the JSON that ``evaluate`` wrote and refuses a folder without one."""
    _fold(tmp_path, 0)
    figures = tmp_path / "figures"
    figures.mkdir()
    evaluate("--data", data, "--set", "covid20")
    (tmp_path / "found.json").rename(figures / "covid20.json")
    words = ["--model", str(tmp_path / "fold0"), "--recipe", "lungsentry", "--evaluations"]
    assert card.main([*words, str(figures)]) == 0
    told = (tmp_path / "fold0" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert f"{BURDEN_PERCENT:.2f}" in told
    assert "| a | 1.000 | 1.000 |" in told
    (figures / "covid20.json").unlink()
    with pytest.raises(SystemExit):
        card.main([*words, str(figures)])
