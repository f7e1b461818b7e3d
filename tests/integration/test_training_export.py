"""From a cache to a model folder that the segmenter loads, through the command lines."""

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from analysis.model import Segmenter
from analysis.model.weights import read_manifest
from analysis.training import blend, context, crossvalidate, export, thresholds
from analysis.training.datasets import KNOWN, LUNG, SIZE, Cache, Case, Source, encode_hu, save_cache

RECIPE = """
[network]
restructured = true
head_maps = [4, 4]
[data]
batch = 3
crop = 32
"""


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A cache of two volumes and two controls, one slice each, in folds 0 and 1; a small recipe; and its training."""
    tmp_path = tmp_path_factory.mktemp("training")
    rows, columns = np.mgrid[:SIZE, :SIZE]
    lung = (rows - 128) ** 2 + (columns - 128) ** 2 < 100**2
    hu = np.where(lung, -850.0, 40.0)
    lesion = (rows - 128) ** 2 + (columns - 100) ** 2 < 30**2
    mask = lung * np.uint8(LUNG) | np.uint8(KNOWN)
    sick, healthy = np.where(lesion, -400.0, hu), hu
    cache = Cache(
        grey=encode_hu(np.stack([sick, healthy, sick, healthy])),
        mask=np.stack([mask | lesion * np.uint8(3), mask, mask | lesion * np.uint8(3), mask]).astype(np.uint8),
        cases=tuple(
            Case(name=f"{source.value}_{fold}", source=source, fold=fold, start=at, stop=at + 1)
            for at, (source, fold) in enumerate(
                [(Source.COVID20, 0), (Source.LCTSC, 0), (Source.COVID20, 1), (Source.LCTSC, 1)]
            )
        ),
    )
    save_cache(cache, tmp_path / "cache.npz")
    (tmp_path / "small.toml").write_text(RECIPE)
    assert _train(tmp_path) == 0
    return tmp_path


def _train(folder):
    return crossvalidate.main(
        [
            "--cache", str(folder / "cache.npz"), "--recipe", str(folder / "small.toml"), "--folds", "0",
            "--steps", "2", "--device", "cpu", "--checkpoints", str(folder), "--out", str(folder / "out"),
        ]
    )  # fmt: skip


def _export(folder, run, *more: str, fold="0"):
    return export.main(
        ["--run", str(run), "--fold", fold, "--cache", str(folder / "cache.npz"), "--version", "9.8.7", "--out",
         str(folder / "model"), *more]
    )  # fmt: skip


def test_cross_validation_to_model(workplace):
    """Export a trained fold from its weights and figures, load it and segment; the card tells every held-out case."""
    out = workplace / "out"
    figures = json.loads((out / "small.json").read_text())
    assert {case["case"] for case in figures["cases"]} == {"covid20_0", "lctsc_0"}
    assert _export(workplace, out / "small.safetensors", "--evaluation", str(out / "small.json")) == 0

    model = workplace / "model"
    segmenter = Segmenter.load(model, device="cpu")
    assert segmenter.manifest.version == "9.8.7"
    assert segmenter.manifest.training.steps == 2
    assert segmenter.manifest.mean_hu == pytest.approx(figures["runs"][0]["mean_hu"])
    trained = load_file(str(out / "small.safetensors"))
    exported = load_file(str(model / "model.safetensors"))
    np.testing.assert_array_equal(exported["lstm.gates.weight"], trained["fold0.lstm.gates.weight"])
    card = (model / "MODEL_CARD.md").read_text(encoding="utf-8")
    for word in ("covid20_0", "lctsc_0", segmenter.manifest.sha256, "non-commercial", "UNVERIFIED", "small"):
        assert word in card
    lung = np.zeros((2, 64, 64), bool)
    lung[:, 10:50, 10:50] = True
    assert segmenter.segment(np.full(lung.shape, -800, np.int16), lung, slice_spacing_mm=2.0).shape == lung.shape

    # A checkpoint, too, before there are figures: its held-out cases are evaluated then.
    assert _export(workplace, workplace / "small-0.pt", "--interim", "--threshold", "ctac=0.375") == 0
    again = load_file(str(model / "model.safetensors"))
    np.testing.assert_array_equal(again["lstm.gates.weight"], exported["lstm.gates.weight"])
    manifest = Segmenter.load(model, device="cpu").manifest
    assert {profile.value: values["lesion_probability"] for profile, values in manifest.thresholds.items()} == {
        "chest_ct": 0.5,
        "ctac": 0.375,
    }
    assert "covid20 (via Inf-Net, non-commercial)" in manifest.terms
    assert "medseg" not in manifest.terms
    assert "**Interim" in (model / "MODEL_CARD.md").read_text(encoding="utf-8")


def test_figures_of_cases_that_were_seen_are_refused(workplace, tmp_path, capsys):
    """A checkpoint of another fold than is said, and a run on every case without figures of the folds, are no model."""
    of_another = torch.load(workplace / "small-0.pt", weights_only=True) | {"fold": "3"}
    torch.save(of_another, tmp_path / "small-3.pt")
    empty = tmp_path / "empty.json"
    empty.write_text(json.dumps({"cases": [], "runs": []}))
    for run, more, reason in (
        (tmp_path / "small-3.pt", (), "is of fold 3, not of fold 0"),
        (workplace / "small-0.pt", ("--evaluation", str(empty)), "holds no case"),
    ):
        with pytest.raises(SystemExit) as ended:
            _export(workplace, run, *more, "--out", str(tmp_path / "none"))
        assert ended.value.code == 2
        assert reason in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_a_run_on_every_case_shows_figures_of_other_data(workplace, tmp_path, capsys):
    """It has none of its own: without figures of the folds those of other data are needed, and are all there are."""
    whole = torch.load(workplace / "small-0.pt", weights_only=True) | {"fold": "all"}
    torch.save(whole, tmp_path / "small-all.pt")
    with pytest.raises(SystemExit):
        _export(workplace, tmp_path / "small-all.pt", fold="all")
    assert "--measured" in capsys.readouterr().err
    case = {"case": "series1", "burden_percent": 1.25, "quality": "diagnostic"}
    document = {"set": "dicom", "profile": "chest_ct", "model": "small", "cross_validated": False, "cases": [case]}
    document |= {"failed": [], "mean": {}, "statistics": {"distribution": {}}}
    (tmp_path / "dicom.json").write_text(json.dumps(document))
    more = ("--measured", str(tmp_path / "dicom.json"), "--out", str(tmp_path / "model"))
    assert _export(workplace, tmp_path / "small-all.pt", *more, fold="all") == 0
    card = (tmp_path / "model" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "series1" in card
    assert "A small budget: 6 windows of 32 pixels, 1.5 passes over its slices" in card
    assert json.loads((tmp_path / "model" / "evaluation.json").read_text())["cases"] == []


def test_a_run_is_mixed_with_the_model_that_it_went_on_from(workplace, tmp_path):
    """A quarter of the earlier weights and three of the run's; the card says so, and names the whole chain."""
    earlier = tmp_path / "earlier"
    assert _export(workplace, workplace / "small-0.pt", "--interim", "--out", str(earlier)) == 0
    run = torch.load(workplace / "small-0.pt", weights_only=True)
    start = load_file(str(earlier / "model.safetensors"))
    run["average"] = {name: value + 1 for name, value in run["average"].items()}
    torch.save(run, tmp_path / "small-0.pt")
    mixed = tmp_path / "mixed" / "small-0.pt"
    command = ["--run", str(tmp_path / "small-0.pt"), "--with", str(earlier), "--out", str(mixed)]

    assert blend.main(command) == 0
    assert _export(workplace, mixed, "--interim", "--started-from", str(earlier)) == 0

    model = workplace / "model"
    weights = load_file(str(model / "model.safetensors"))["lstm.gates.weight"]
    np.testing.assert_allclose(weights, start["lstm.gates.weight"] + 0.75, rtol=1e-5)
    card = (model / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "Of that model's weights 25 % are mixed in" in card
    assert "analysis.training.blend --run RUNS/small-0.pt --with MODEL --share 0.25" in card
    onward = tmp_path / "onward"
    assert _export(workplace, mixed, "--interim", "--started-from", str(model), "--out", str(onward)) == 0
    begun = [read_manifest(folder).training.started_from or "" for folder in (model, onward)]
    assert begun[0] in begun[1]


def test_the_data_and_terms_of_the_model_it_went_on_from_stay(workplace, tmp_path):
    """A run on other data than its start's names both, so its terms hold, and so does the guard against leakage."""
    earlier = tmp_path / "earlier"
    assert _export(workplace, workplace / "small-0.pt", "--interim", "--out", str(earlier)) == 0
    manifest = json.loads((earlier / "manifest.json").read_text())
    manifest["training"]["data"] = ["medseg (40)", "covid20 (9)"]
    (earlier / "manifest.json").write_text(json.dumps(manifest))
    assert _export(workplace, workplace / "small-0.pt", "--interim", "--started-from", str(earlier)) == 0
    onward = read_manifest(workplace / "model")
    assert onward.training.data == ("covid20 (1)", "lctsc (1)", "medseg (40)")
    assert "medseg (via Inf-Net, non-commercial)" in onward.terms


def test_a_blend_is_of_one_network_by_a_share(workplace, tmp_path, capsys):
    """A share that is none, and weights of another network, are refused."""
    earlier = tmp_path / "earlier"
    assert _export(workplace, workplace / "small-0.pt", "--interim", "--out", str(earlier)) == 0
    run = torch.load(workplace / "small-0.pt", weights_only=True)
    torch.save(run, tmp_path / "small-0.pt")
    command = ["--run", str(tmp_path / "small-0.pt"), "--with", str(earlier), "--out", str(tmp_path / "mixed.pt")]
    with pytest.raises(SystemExit):
        blend.main([*command, "--share", "1.5"])
    assert "between 0 and 1" in capsys.readouterr().err
    del run["average"]["lstm.gates.weight"]
    torch.save(run, tmp_path / "small-0.pt")
    with pytest.raises(SystemExit):
        blend.main(command)
    assert "different networks" in capsys.readouterr().err


def test_a_fold_without_weights_is_refused(workplace, capsys):
    """A fold that was not trained cannot be exported."""
    with pytest.raises(SystemExit):
        _export(workplace, workplace / "out" / "small.safetensors", fold="3")
    assert "no weights of fold 3" in capsys.readouterr().err


def test_the_lesion_threshold_is_chosen_on_cases_that_a_run_did_not_see(workplace):
    """Of a cross-validation the held-out patient and control are judged, and the card tells the choice."""
    out = workplace / "thresholds.json"
    checkpoints = ["--checkpoints", str(workplace), "--recipe", "small", "--cache", str(workplace / "cache.npz")]
    assert thresholds.main([*checkpoints, "--out", str(out)]) == 0
    content = json.loads(out.read_text())
    assert [case["case"] for case in content["cases"]] == ["covid20_0", "lctsc_0"]
    chosen = next(row for row in content["grid"] if row["threshold"] == content["threshold"])
    assert chosen["lesion_dice"] == pytest.approx(content["cases"][0]["lesion_dice"][content["grid"].index(chosen)])


def test_what_neighbours_are_good_for_is_shown_on_held_out_controls(workplace):
    """A table, a plot, and the slices that differ most; the one control has no neighbours, so nothing differs."""
    out = workplace / "context"
    checkpoints = ["--checkpoints", str(workplace), "--recipe", "small", "--cache", str(workplace / "cache.npz")]
    assert context.main([*checkpoints, "--out", str(out)]) == 0
    content = json.loads((out / "context.json").read_text())
    (case,) = content["cases"]
    assert content["mean"]["with neighbours"] == case["with neighbours"]
    assert case["with neighbours"] == case["centre slice three times"]
    assert (out / "context.png").stat().st_size > 1000
    assert [path.name for path in (out / "slices").iterdir()] == ["lctsc_0-000.png"]


def test_without_a_held_out_case_they_say_so(workplace, tmp_path, capsys):
    """A folder without checkpoints of the recipe is refused."""
    for command in (thresholds.main, context.main):
        with pytest.raises(SystemExit) as ended:
            command(["--checkpoints", str(tmp_path), "--cache", str(workplace / "cache.npz"), "--out", str(tmp_path)])
        assert ended.value.code == 2
        assert "has no run of lungsentry" in capsys.readouterr().err


def test_a_run_under_another_folds_name_is_not_judged(workplace, tmp_path, capsys):
    """Its held-out cases would be ones that it has seen."""
    of_another = torch.load(workplace / "small-0.pt", weights_only=True) | {"fold": "3"}
    torch.save(of_another, tmp_path / "small-0.pt")
    for command in (thresholds.main, context.main):
        arguments = ["--checkpoints", str(tmp_path), "--recipe", "small", "--cache", str(workplace / "cache.npz")]
        with pytest.raises(SystemExit) as ended:
            command([*arguments, "--out", str(tmp_path / "out")])
        assert ended.value.code == 2
        assert "small-0.pt is of fold 3" in capsys.readouterr().err
