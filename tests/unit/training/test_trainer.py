"""A run learns, can be resumed to the same end, and its schedule follows the share that is over."""

from dataclasses import replace

import pytest
import torch

from analysis.training.recipes import DataRecipe, OptimiserRecipe
from analysis.training.schedules import cosine_rate
from analysis.training.trainer import RunLimit, Trainer


def _weights(network):
    return torch.cat([value.flatten().float() for value in network.state_dict().values()])


def test_a_resumed_run_ends_as_an_uninterrupted_one(cache, recipe, tmp_path):
    """Stopped after two of four steps and resumed by another trainer: the same weights to the last bit."""
    limit = RunLimit(steps=4)
    whole = Trainer(cache, recipe, fold=0).train(limit)
    path = tmp_path / "run.pt"
    Trainer(cache, recipe, fold=0).train(limit, checkpoint=path, stop_at=2)
    resumed = Trainer(cache, recipe, fold=0, seed=5).train(limit, checkpoint=path)
    assert whole.steps == resumed.steps == 4
    assert torch.equal(_weights(whole.network), _weights(resumed.network))


def test_a_checkpoint_of_another_recipe_is_refused(cache, recipe, tmp_path):
    """A run is not continued under other settings."""
    path = tmp_path / "run.pt"
    Trainer(cache, recipe, fold=0).train(RunLimit(steps=1), checkpoint=path)
    other = replace(recipe, optimiser=OptimiserRecipe(learning_rate=1e-4))
    with pytest.raises(ValueError, match="another recipe"):
        Trainer(cache, other, fold=0).train(RunLimit(steps=2), checkpoint=path)


def test_the_seed_decides_the_start(cache, recipe):
    """Another seed begins with other weights."""
    first, again, other = (_weights(Trainer(cache, recipe, fold=0, seed=seed).network) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_trainer_learns(cache, recipe, still):
    """On lesions that density alone tells, the loss falls by a fifth in thirty steps, and the network finds them."""
    quick = replace(
        recipe,
        augment=still,
        data=DataRecipe(batch=6, crop=48),
        optimiser=OptimiserRecipe(learning_rate=1e-2, warmup=0.1),
    )
    trainer = Trainer(cache, quick, fold=0)
    batches = [trainer.sampler.draw(torch.Generator().manual_seed(seed)) for seed in range(5)]
    windows = [(batch.hu - trainer.mean_hu) / trainer.sd_hu for batch in batches]

    def loss() -> float:
        trainer.network.train()
        with torch.no_grad():
            parts = zip(windows, batches, strict=True)
            return sum(float(trainer.loss(trainer.network.branches(hu), batch.target)) for hu, batch in parts)

    before = loss()
    trained = trainer.train(RunLimit(steps=30))
    assert loss() < 0.8 * before
    assert trained.steps == 30
    with torch.no_grad():
        opacity = torch.cat([trainer.network(hu).softmax(1)[:, 1:].sum(1) for hu in windows])
    found, true = opacity >= 0.5, torch.cat([batch.target.classes for batch in batches]) > 0
    assert 2 * (found & true).sum() / (found.sum() + true.sum()) > 0.6


def test_the_average_follows_the_network(cache, recipe):
    """What a run hands out is the running average, not the last step's weights."""
    trainer = Trainer(cache, recipe, fold=0)
    start = _weights(trainer.network)
    trained = trainer.train(RunLimit(steps=2))
    last = _weights(trainer.network)
    assert not torch.equal(_weights(trained.network), last)
    assert (_weights(trained.network) - last).abs().sum() < (start - last).abs().sum()


def test_the_schedule():
    """Linear warm-up to the full rate, then half a cosine to nothing."""
    recipe = type("R", (), {"optimiser": OptimiserRecipe(learning_rate=1.0, warmup=0.1)})()
    assert cosine_rate(recipe, 0.0) == pytest.approx(0.02)
    assert cosine_rate(recipe, 0.1) == pytest.approx(1.0)
    assert cosine_rate(recipe, 0.55) == pytest.approx(0.5)
    assert cosine_rate(recipe, 1.0) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("limits", [{}, {"seconds": 1.0, "steps": 1}])
def test_a_run_has_one_limit(limits):
    """Neither no limit nor two."""
    with pytest.raises(ValueError, match="seconds or by steps"):
        RunLimit(**limits)


def test_a_run_by_time_ends(cache, recipe):
    """A run that is limited by seconds stops after the step in which they are over."""
    trained = Trainer(cache, recipe, fold=0).train(RunLimit(seconds=0.01))
    assert trained.steps == 1
