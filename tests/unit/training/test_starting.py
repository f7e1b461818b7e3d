"""A run goes on from a model only if the model has not seen the cases that the run is measured on."""

from dataclasses import replace

import pytest

from analysis.model.network import NetworkShape
from analysis.model.weights import Manifest, TrainingSummary, pack_weights, write_weights
from analysis.training.datasets import Source
from analysis.training.starting import UnfitStart, check_start, start_folder


def _model(fold, data):
    training = TrainingSummary(recipe="small", data=tuple(data), fold=fold, steps=1, seconds=0.0)
    return Manifest(
        name="first", version="1", sha256="", network=NetworkShape(), mean_hu=-700.0, sd_hu=200.0, training=training
    )


def _of_hospital(cache):
    return replace(cache, cases=tuple(replace(case, source=Source.HOSPITAL) for case in cache.cases))


@pytest.mark.parametrize("fold", ["1", "all"])
def test_a_model_of_another_fold_is_refused(cache, fold):
    """It was trained on cases that fold 0 holds out, and the reason and the way out are told."""
    data = cache.trained_on(1 if fold == "1" else None)
    with pytest.raises(UnfitStart, match=r"first 1 .*fold 0 is measured on\. Take the model of fold 0"):
        check_start(_model(fold, data), 0, cache)


def test_the_model_of_the_same_fold_is_taken(cache):
    """With as many slices of each source as the run trains on, or of fewer sources."""
    data = cache.trained_on(0)
    check_start(_model("0", data), 0, cache)
    check_start(_model("0", data[:1]), 0, cache)
    check_start(_model("0", [*data, "elsewhere (7)"]), 0, cache)


def test_the_same_number_of_other_folds_is_refused(cache):
    """Patients were added since: fold 0 is another fifth now."""
    with pytest.raises(UnfitStart, match="its folds are other ones"):
        check_start(_model("0", ["covid20 (11)"]), 0, cache)


@pytest.mark.parametrize("fold", ["3", "all"])
def test_a_model_of_other_data_is_taken_for_every_fold(cache, fold):
    """The public sets hold none of a hospital's cases."""
    model = _model(fold, ["covid20 (855)", "medseg (50)", "lctsc (583)"])
    for own in range(5):
        check_start(model, own, _of_hospital(cache))


def test_a_model_of_unknown_data_counts_as_one_of_these(cache):
    """What names no data may have seen any."""
    with pytest.raises(UnfitStart, match="does not name"):
        check_start(_model("all", []), 0, _of_hospital(cache))


def test_a_source_without_its_count_is_still_that_source(cache):
    """A manifest of another hand may name its data barely: a fold of these data refuses it all the same."""
    with pytest.raises(UnfitStart, match="fold 0 is measured on"):
        check_start(_model("all", ["covid20"]), 0, cache)


def test_a_run_on_every_case_goes_on_from_any(cache):
    """Nothing is measured on it."""
    check_start(_model("2", cache.trained_on(2)), None, cache)


def test_the_folder_of_a_fold_is_found(tmp_path):
    """One model for all, or one for each; a folder without the fold is refused by its name."""
    content, sha256 = pack_weights({})
    manifest = replace(_model("0", []), sha256=sha256)
    for name in ("one", "many/fold2", "many/foldall"):
        write_weights(tmp_path / name, manifest, content)
    assert start_folder(tmp_path / "one", 3) == tmp_path / "one"
    assert start_folder(tmp_path / "many", 2) == tmp_path / "many" / "fold2"
    assert start_folder(tmp_path / "many", None) == tmp_path / "many" / "foldall"
    with pytest.raises(UnfitStart, match="none called fold1"):
        start_folder(tmp_path / "many", 1)
