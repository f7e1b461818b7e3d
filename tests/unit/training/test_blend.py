"""A run is mixed only with a model that has not seen its held-out cases, and only if the mixture is handed out."""

import json
from dataclasses import asdict, replace

import pytest

from analysis.model.network import NetworkShape
from analysis.model.weights import Manifest, TrainingSummary
from analysis.training.blend import check_pair
from analysis.training.recipes import OptimiserRecipe


def _earlier(fold):
    training = TrainingSummary(recipe="small", data=(), fold=fold, steps=1, seconds=0.0)
    return Manifest(
        name="first", version="1", sha256="", network=NetworkShape(), mean_hu=-700.0, sd_hu=200.0, training=training
    )


def _stored(recipe, **told):
    return {"recipe": json.dumps(asdict(recipe)), **told}


@pytest.mark.parametrize("earlier", ["2", "all"])
def test_a_model_of_another_fold_is_not_mixed_in(recipe, earlier):
    """A quarter of the weights of a model that saw the held-out cases would leak them."""
    with pytest.raises(ValueError, match="name the model of fold 1"):
        check_pair(_stored(recipe, fold="1"), _earlier(earlier))


@pytest.mark.parametrize("told", [{"fold": "1"}, {"fold": "all"}, {}])
def test_the_model_of_the_same_fold_is_mixed_in(recipe, told):
    """A run on every case takes any, and so does a checkpoint from before they told their fold."""
    check_pair(_stored(recipe, **told), _earlier("1"))


def test_weights_that_are_not_handed_out_are_not_mixed(recipe):
    """Without a running average the last step's weights are exported, and the mixture would be lost."""
    last = replace(recipe, optimiser=OptimiserRecipe(average_decay=0.0))
    with pytest.raises(ValueError, match="average_decay"):
        check_pair(_stored(last, fold="1"), _earlier("1"))
