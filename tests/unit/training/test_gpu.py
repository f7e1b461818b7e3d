"""The one command for a machine with a GPU, on the CPU with a step or two."""

import json

import pytest

from analysis.training import gpu
from analysis.training.datasets import save_cache

RECIPE = """
[network]
head_maps = [4, 4]
[data]
batch = 3
crop = 32
"""


def test_it_compares_and_trains_and_leaves_everything_in_one_folder(cache, tmp_path):
    """Labels of the device against the CPU's, its time, and figures, weights and checkpoint of the recipe's run."""
    save_cache(cache, tmp_path / "cache.npz")
    (tmp_path / "small.toml").write_text(RECIPE)
    words = ["--cache", tmp_path / "cache.npz", "--out", tmp_path / "out", "--recipe", tmp_path / "small.toml"]
    words += ["--folds", "1", "--steps", "1", "--jobs", "1", "--slices", "2", "--device", "cpu"]
    assert gpu.main([str(word) for word in words]) == 0
    told = json.loads((tmp_path / "out" / "device.json").read_text())
    assert (told["device"], told["labels_differing_percent"], told["slices"]) == ("cpu", 0, 2)
    assert told["seconds"] > 0
    run = json.loads((tmp_path / "out" / "small.json").read_text())
    assert {case["set"] for case in run["cases"]} == {"covid20", "lctsc", "medseg"}
    assert (tmp_path / "out" / "small.safetensors").stat().st_size > 0
    assert [path.name for path in (tmp_path / "out" / "checkpoints").iterdir()] == ["small-1.pt"]


@pytest.mark.parametrize(
    ("left", "runs", "jobs", "seconds"), [(600.0, 25, 5, 108.0), (600.0, 26, 5, 88.0), (60.0, 10, 1, 0.0)]
)
def test_all_runs_are_alike_in_length_and_end_in_time(left, runs, jobs, seconds):
    """Rounds of as many runs as go at a time, each with what it takes to start; none where there is no time."""
    assert gpu.seconds_a_run(left, runs=runs, jobs=jobs) == pytest.approx(seconds)


def test_too_little_time_is_said_before_a_run_begins(monkeypatch, tmp_path, capsys):
    """Nothing is trained, and the command fails in a line."""
    monkeypatch.setattr(gpu, "compared", lambda *_args, **_words: {})
    words = ["--cache", str(tmp_path / "none.npz"), "--out", str(tmp_path / "out"), "--minutes", "0.5"]
    assert gpu.main(words) == 1
    assert "too little" in capsys.readouterr().err
