"""Learning rates: the cosine, and the plateau that ends a run; what decays under each optimiser."""

from dataclasses import replace

import pytest
import torch

from analysis.training.recipes import OptimiserRecipe, PlateauRecipe, Recipe, load_recipe
from analysis.training.schedules import Plateau, cosine_rate, optimiser_of


def _network():
    return torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))


def _plateau(patience=1):
    optimiser = torch.optim.SGD(_network().parameters(), lr=1e-3)
    return optimiser, Plateau(optimiser, PlateauRecipe(patience=patience), epoch_steps=1)


def test_the_cosine():
    """Linear warm-up to the full rate, then half a cosine to nothing."""
    recipe = Recipe(name="x", optimiser=OptimiserRecipe(learning_rate=1.0, warmup=0.1))
    assert cosine_rate(recipe, 0.0) == pytest.approx(0.02)
    assert cosine_rate(recipe, 0.1) == pytest.approx(1.0)
    assert cosine_rate(recipe, 0.55) == pytest.approx(0.5)
    assert cosine_rate(recipe, 1.0) == pytest.approx(0.0, abs=1e-9)


def test_the_rate_falls_after_more_than_patience_epochs():
    """With patience 5 the sixth epoch without a fall takes the rate to a tenth; a fall starts the count anew."""
    optimiser, plateau = _plateau(patience=5)
    for loss in (1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 0.9, *[0.9] * 5):
        plateau.step(loss)
        assert optimiser.param_groups[0]["lr"] == pytest.approx(1e-3)
    plateau.step(0.9)
    assert optimiser.param_groups[0]["lr"] == pytest.approx(1e-4)


def test_a_run_ends_at_the_last_rate():
    """From 1e-3 by tenths, 1e-7 is reached at the fourth reduction, and not before."""
    optimiser, plateau = _plateau(patience=0)
    plateau.step(1.0)
    ended = []
    for _ in range(4):
        plateau.step(1.0)
        ended.append(plateau.ended)
    assert ended == [False, False, False, True]
    assert optimiser.param_groups[0]["lr"] == pytest.approx(1e-7)


def test_any_fall_counts_below_zero_too():
    """The region mutual information is negative: a relative threshold would take standing still for a fall."""
    _, plateau = _plateau()
    assert [plateau.step(loss) for loss in (-3.0, -3.0, -3.0001, -2.0)] == [True, False, True, False]
    assert plateau.best == -3.0001


def test_a_plateau_goes_on_where_it_was():
    """Its counts, rate and best loss come back from a checkpoint."""
    first_optimiser, first = _plateau(patience=2)
    for loss in (1.0, 1.0, 1.0):
        first.step(loss)
    optimiser, second = _plateau(patience=2)
    optimiser.load_state_dict(first_optimiser.state_dict())
    second.load_state_dict(first.state_dict())
    for plateau in (first, second):
        plateau.step(1.0)
    assert optimiser.param_groups[0]["lr"] == first_optimiser.param_groups[0]["lr"] == pytest.approx(1e-4)
    assert second.best == 1.0


@pytest.mark.parametrize(
    ("name", "kind", "decays"),
    [
        ("killekar2022", torch.optim.Adam, [1e-6]),
        ("grodecki2021", torch.optim.SGD, [1e-6]),
        ("lungsentry", torch.optim.AdamW, [1e-4, 0.0]),
    ],
)
def test_the_optimiser_is_the_recipe_s(name, kind, decays):
    """Of its kind, with its rate and momentum; the papers decay every parameter, ours no normalisation and no bias."""
    recipe = load_recipe(name)
    optimiser = optimiser_of(_network(), recipe, fused=False)
    assert type(optimiser) is kind
    assert [group["weight_decay"] for group in optimiser.param_groups] == decays
    assert {group["lr"] for group in optimiser.param_groups} == {recipe.optimiser.learning_rate}
    assert optimiser.param_groups[0].get("momentum", 0.9) == 0.9


def test_a_plateau_keeps_no_running_average():
    """Both would have to be what a run hands out."""
    options = load_recipe("killekar2022").optimiser
    with pytest.raises(ValueError, match="average_decay is 0"):
        replace(options, average_decay=0.99)
