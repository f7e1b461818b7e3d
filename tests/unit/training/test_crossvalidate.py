"""The command line of a cross-validation refuses what cannot be run before a run begins."""

import pytest

from analysis.model.weights import Manifest, TrainingSummary, pack_weights, write_weights
from analysis.training import crossvalidate
from analysis.training.datasets import save_cache
from analysis.training.networks import build_network, network_shape

RECIPE = """
[network]
head_maps = [4, 4]
[data]
batch = 3
crop = 32
"""


@pytest.fixture
def command(cache, recipe, tmp_path):
    """Words for one step of a small recipe on the cache, from the model of fold 0 in ``start/fold0``."""
    save_cache(cache, tmp_path / "cache.npz")
    (tmp_path / "small.toml").write_text(RECIPE)
    content, sha256 = pack_weights(build_network(recipe.network).state_dict())
    training = TrainingSummary(recipe="small", data=cache.trained_on(0), fold="0", steps=1, seconds=0.0)
    manifest = Manifest(
        name="first", version="1", sha256=sha256, network=network_shape(recipe.network), mean_hu=-700.0, sd_hu=200.0,
        training=training,
    )  # fmt: skip
    write_weights(tmp_path / "start" / "fold0", manifest, content)
    return ["--cache", str(tmp_path / "cache.npz"), "--recipe", str(tmp_path / "small.toml"), "--steps", "1",
            "--out", str(tmp_path / "out"), "--device", "cpu"]  # fmt: skip


@pytest.mark.parametrize("length", [[], ["--steps", "1", "--seconds-per-fold", "1"]])
def test_a_run_has_one_length(length, capsys):
    """Neither none nor two: told by the command, not by every one of its processes."""
    with pytest.raises(SystemExit) as ended:
        crossvalidate.main(length)
    assert ended.value.code == 2
    assert "--seconds-per-fold" in capsys.readouterr().err


@pytest.mark.parametrize(("start", "told"), [("start/fold0", "fold 1 is measured on"), ("start", "none called fold1")])
def test_a_fold_is_not_started_from_the_model_of_another(command, tmp_path, capsys, start, told):
    """Refused before any run; and by the process of a run itself, in one line."""
    words = [*command, "--start-from", str(tmp_path / start)]
    with pytest.raises(SystemExit) as ended:
        crossvalidate.main([*words, "--folds", "0,1"])
    assert ended.value.code == 2
    assert told in capsys.readouterr().err
    assert crossvalidate.main([*words, "--folds", "1", "--worker"]) == 1
    error = capsys.readouterr().err
    assert told in error
    assert "Traceback" not in error


def test_every_option_is_explained():
    """Each option of the command line has a help text."""
    assert [action.dest for action in crossvalidate._parser()._actions if not action.help] == []
