"""``train``: from a hospital's series and masks to a model that the node installs and analyses with."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner

from analysis.errors import AnalysisError
from analysis.series import assemble, read_series
from analysis.training.curves import draw_curves, read_curve
from analysis.training.datasets import load_cache
from analysis.training.hospital.grid import Grid
from analysis.training.prepare import build_cache
from analysis.training.recipes import DEFAULT_RECIPE, load_recipe, recipe_names
from analysis.training.trainer import RunLimit, Trainer
from analysis.training.workflow import Plan, Workflow
from dicom_node.cli import app, train
from dicom_node.simulator import Phantom, PhantomSpec, build_phantom, header_for, write_series

RECIPE = """
[network]
kind = "lite"
head_maps = [4, 4]
[data]
batch = 4
crop = 32
medseg = 0.0
"""
SLICES = slice(12, 18)
STEPS = 6  # two epochs: 12 slices to train on, in batches of 4

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return build_phantom(PhantomSpec.ctac_opacities(matrix=128))


def _write_nifti(folder: Path, name: str, mask: np.ndarray) -> None:
    (series,) = read_series([folder]).series
    grid = Grid.of(series, assemble(series))
    affine = np.eye(4)
    steps = np.diff(grid.origins_mm, axis=0).mean(axis=0)
    affine[:3] = np.c_[grid.column_step_mm, grid.row_step_mm, steps, grid.origins_mm[0]]
    image = nibabel.Nifti1Image(mask.transpose(2, 1, 0).astype(np.uint8), np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine)
    nibabel.save(image, folder / name)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, phantom: Phantom) -> Path:
    """Three patients of six slices; the last has no lesion."""
    root = tmp_path_factory.mktemp("hospital")
    cut = replace(phantom, hu=phantom.hu[SLICES], lungs=phantom.lungs[SLICES], lesions=phantom.lesions[SLICES])
    for number in range(3):
        folder = root / f"patient{number}"
        write_series(cut, folder, header_for(cut, patient_id=f"P{number}", salt=f"train {number}"))
        _write_nifti(folder, "lung.nii.gz", cut.lungs > 0)
        _write_nifti(folder, "ggo.nii.gz", (cut.lesions == 1) & (number < 2))
        _write_nifti(folder, "high_opacity.nii.gz", (cut.lesions == 2) & (number < 2))
    (root / "small.toml").write_text(RECIPE, encoding="utf-8")
    return root


def _run(*words: str, code: int = 0) -> Any:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == code, done.output
    return done


def _command(data: Path, out: Path) -> list[str]:
    return ["train", "--data", str(data), "--recipe", str(data / "small.toml"), "--out", str(out), "--device", "cpu"]


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Two epochs on the patients of every fold but the first, through the command; its folder and what it printed."""
    out = tmp_path_factory.mktemp("trained") / "out"
    done = _run(*_command(data, out), "--steps", str(STEPS), "--name", "site", "--version", "1.0", "--json")
    return out, json.loads(done.stdout)


def test_it_says_what_it_does_and_measures_what_was_held_out(trained: tuple[Path, dict[str, Any]], data: Path) -> None:
    """The held-out patient and no other is measured; plan, curve, figures and model lie in one folder."""
    out, told = trained
    cache = load_cache(out / "cache.npz")
    assert {case["case"] for case in told["cases"]} == {case.name for case in cache.held_out(0)}
    assert len(cache.cases) == 3
    assert told["model"] == str(out / "model")
    assert (out / "curves.png").read_bytes()[:4] == b"\x89PNG"
    manifest = json.loads((out / "model" / "manifest.json").read_text())
    assert (manifest["training"]["steps"], manifest["training"]["fold"]) == (STEPS, "0")
    assert manifest["network"]["design"] == "lite"
    assert "hospital" in manifest["terms"]
    assert "P0" not in (out / "evaluation.json").read_text()
    refused = _run(*_command(data, out), code=1)
    assert "--resume" in refused.stderr


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(
    trained: tuple[Path, dict[str, Any]], data: Path, tmp_path: Path
) -> None:
    """Stopped after three steps and resumed by the command: every tensor is that of the run that was not stopped."""
    whole, _ = trained
    out = tmp_path / "out"
    out.mkdir()
    for name in ("plan.json", "cache.npz"):
        (out / name).write_bytes((whole / name).read_bytes())
    stopped = Trainer(load_cache(out / "cache.npz"), load_recipe(str(data / "small.toml")), fold=0, device="cpu")
    stopped.train(RunLimit(steps=STEPS), checkpoint=out / "checkpoints" / "small-0.pt", stop_at=3)
    _run("train", "--out", str(out), "--resume", "--json")
    resumed, uninterrupted = (load_file(str(one / "model" / "model.safetensors")) for one in (out, whole))
    assert resumed.keys() == uninterrupted.keys()
    for key, value in uninterrupted.items():
        np.testing.assert_array_equal(resumed[key], value)


def test_what_was_trained_is_installed_and_analyses(
    trained: tuple[Path, dict[str, Any]], phantom: Phantom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """train, model install, analyze: the result names the model that was trained."""
    out, _ = trained
    monkeypatch.chdir(tmp_path)
    _run("db", "upgrade")
    _run("model", "install", str(out / "model"))
    write_series(phantom, tmp_path / "ct")
    (series,) = json.loads(_run("analyze", str(tmp_path / "ct"), "--model", "site@1.0", "--json").stdout)["series"]
    manifest = json.loads((out / "model" / "manifest.json").read_text())
    assert series["status"] == "analysed"
    assert (series["findings"]["model_name"], series["findings"]["model_version"]) == ("site", "1.0")
    assert series["findings"]["weights_sha256"] == manifest["sha256"]


def _as_if_of(model: Path, copy: Path, **training: Any) -> Path:
    """The model folder again, whose manifest tells another training."""
    copy.mkdir()
    for file in model.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["training"] |= training
    (copy / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return copy


def test_a_hospital_goes_on_from_a_model_of_other_data(
    trained: tuple[Path, dict[str, Any]], data: Path, tmp_path: Path
) -> None:
    """The new model tells which one it went on from; one of the hospital's own cases is refused for a fold."""
    whole, _ = trained
    public = _as_if_of(whole / "model", tmp_path / "public", data=["covid20 (855)", "lctsc (583)"], fold="all")
    command = [*_command(data, tmp_path / "out"), "--steps", "1", "--start-from"]
    begun = _run(*command, str(public), "--json")
    assert "goes on from the model" in begun.stderr
    manifest = json.loads((tmp_path / "out" / "model" / "manifest.json").read_text())
    assert manifest["training"]["started_from"].startswith("site 1.0")
    own = _as_if_of(whole / "model", tmp_path / "own", data=["hospital (12)", "hospital_control (6)"], fold="all")
    command[command.index("--out") + 1] = str(tmp_path / "refused")
    refused = " ".join(_run(*command, str(own), code=1).stderr.split())
    assert "it has seen cases that fold 0 is measured on" in refused
    assert "no model folder" in _run(*command, str(data), code=1).stderr
    assert not (tmp_path / "refused").exists()


def test_a_start_at_random_is_told(data: Path, tmp_path: Path) -> None:
    """A network of the shipped kind that begins neither with ImageNet nor with a model: the command says so."""
    begun = _run(*_command(data, tmp_path / "out"), "--steps", "1", "--json")
    assert "begins with random weights" in begun.stderr


def test_a_cache_without_its_plan_is_not_taken(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped before the cache was whole: the plan is there, and resuming reads the data; of no plan, data count."""
    plan = Plan(
        data=data, recipe=str(data / "small.toml"), folds=(0,), steps=1, seconds=None, seed=0, device="cpu",
        name="site", version="1",
    )  # fmt: skip
    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr("analysis.training.workflow.save_cache", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            Workflow.begin(plan, out).prepare(print)
    assert [file.name for file in out.iterdir()] == ["plan.json"]
    assert Workflow.resume(out).prepare(print).cases == build_cache(data).cases
    (out / "plan.json").unlink()
    (tmp_path / "empty").mkdir()
    with pytest.raises(AnalysisError, match="no data set"):
        Workflow.begin(replace(plan, data=tmp_path / "empty"), out).prepare(print)


def test_the_recipes_are_named_and_the_papers_is_the_default() -> None:
    """The help lists every recipe of the package, and says what the default one needs."""
    assert recipe_names() == train._RECIPES
    assert train._DEFAULT_RECIPE == DEFAULT_RECIPE
    help_text = " ".join(_run("train", "--help").output.split())
    assert "conv3_3" in help_text


def test_mistakes_are_told_before_anything_is_done(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Options that are no question, data that is none, a recipe that lacks a file, an extra that is not installed."""
    out = tmp_path / "out"
    command = _command(data, out)
    assert "--data" in _run("train", "--out", str(out), code=2).stderr
    assert "exclude" in _run(*command, "--steps", "3", "--minutes", "1", code=2).stderr
    assert "folds are 0 to 4" in _run(*command, "--folds", "5", code=2).stderr
    assert "My model" in _run(*command, "--name", "My model", code=2).stderr
    assert "holds no training" in _run("train", "--out", str(out), "--resume", code=1).stderr
    default = [*command[:3], *command[5:]]
    assert "conv3_3 (--vgg" in " ".join(_run(*default, "--steps", "1", code=1).stderr.split())
    assert not out.exists()
    (tmp_path / "empty").mkdir()
    nothing = _run("train", "--data", str(tmp_path / "empty"), *command[3:], "--steps", "1", code=1)
    assert "no data set" in nothing.stderr
    assert not (out / "plan.json").exists()
    monkeypatch.setattr(train, "find_spec", lambda _package: None)
    assert "pip install 'lungsentry[train]'" in _run(*command, code=1).stderr


def test_a_curve_keeps_the_later_entry_of_a_step(tmp_path: Path) -> None:
    """Steps that were run again after a stop count once; a line that is being written does not count; it is drawn."""
    log = tmp_path / "run.jsonl"
    lines = [{"step": 25, "loss": 3.0}, {"step": 50, "loss": 2.0}, {"step": 50, "loss": 1.0, "validation_loss": 1.5}]
    log.write_text("\n".join(json.dumps(line) for line in lines) + '\n{"step": 75, "lo', encoding="utf-8")
    curve = read_curve(log)
    assert [(entry["step"], entry["loss"]) for entry in curve] == [(25, 3.0), (50, 1.0)]
    assert read_curve(tmp_path / "none.jsonl") == []
    draw_curves({"run": curve, "none": []}, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 1000
