"""A run learns, can be resumed to the same end, and its schedule follows the share that is over."""

import json
import signal
from dataclasses import replace

import pytest
import torch

from analysis.model.weights import Manifest, TrainingSummary, pack_weights, write_weights
from analysis.training.curves import read_curve
from analysis.training.datasets import Source
from analysis.training.networks import network_shape
from analysis.training.recipes import DataRecipe, OptimiserRecipe, PlateauRecipe
from analysis.training.starting import UnfitStart
from analysis.training.trainer import OtherRun, RunLimit, Trainer


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


def _model_folder(network, shape, folder):
    content, sha256 = pack_weights(network.state_dict())
    training = TrainingSummary(recipe="small", data=(), fold="0", steps=1, seconds=0.0)
    manifest = Manifest(
        name="first", version="1", sha256=sha256, network=shape, mean_hu=-700.0, sd_hu=200.0, training=training
    )
    write_weights(folder, manifest, content)


def test_a_run_goes_on_from_a_model(cache, recipe, tmp_path):
    """Its first weights are the model's, whatever the seed; those of another network are refused."""
    shape = network_shape(recipe.network)
    _model_folder(Trainer(cache, recipe, fold=0, seed=1).network, shape, tmp_path)
    begun = Trainer(cache, recipe, fold=0, seed=2, start_from=tmp_path)
    assert torch.equal(_weights(begun.network), _weights(Trainer(cache, recipe, fold=0, seed=1).network))
    wider = replace(recipe, network=replace(recipe.network, lstm_maps=3))
    with pytest.raises(UnfitStart, match="not the network of this recipe"):
        Trainer(cache, wider, fold=0, start_from=tmp_path)


def test_a_run_never_goes_on_from_a_model_that_saw_what_it_holds_out(cache, recipe, tmp_path):
    """The model of fold 0 was trained on the cases of fold 1: that fold refuses it, a run on every case does not."""
    _model_folder(Trainer(cache, recipe, fold=0).network, network_shape(recipe.network), tmp_path)
    with pytest.raises(UnfitStart, match="has seen cases that fold 1 is measured on"):
        Trainer(cache, recipe, fold=1, start_from=tmp_path)
    assert Trainer(cache, recipe, fold=None, start_from=tmp_path).step == 0


def test_a_checkpoint_of_another_recipe_is_refused(cache, recipe, tmp_path):
    """A run is not continued under other settings."""
    path = tmp_path / "run.pt"
    Trainer(cache, recipe, fold=0).train(RunLimit(steps=1), checkpoint=path)
    other = replace(recipe, optimiser=OptimiserRecipe(learning_rate=1e-4))
    with pytest.raises(OtherRun, match="another recipe"):
        Trainer(cache, other, fold=0).train(RunLimit(steps=2), checkpoint=path)


def test_a_checkpoint_of_another_fold_is_refused(cache, recipe, tmp_path):
    """It has seen the cases that this fold is judged by; one from before checkpoints told their fold is taken."""
    path = tmp_path / "run.pt"
    Trainer(cache, recipe, fold=None).train(RunLimit(steps=1), checkpoint=path)
    with pytest.raises(OtherRun, match="of fold all, the run of fold 1"):
        Trainer(cache, recipe, fold=1).train(RunLimit(steps=2), checkpoint=path)
    state = torch.load(path, weights_only=True)
    assert state.pop("fold") == "all"
    torch.save(state, path)
    assert Trainer(cache, recipe, fold=1).train(RunLimit(steps=2), checkpoint=path).steps == 2


def test_a_run_that_is_told_to_stop_saves_the_step_it_is_in(cache, recipe, tmp_path, monkeypatch):
    """SIGINT in the second step: the checkpoint holds that step, and the run ends as one that was not stopped."""
    limit, path = RunLimit(steps=4), tmp_path / "run.pt"
    stopped = Trainer(cache, recipe, fold=0)
    step = stopped._one_step

    def told(elapsed):
        if stopped.step == 1:
            signal.raise_signal(signal.SIGINT)
        return step(elapsed)

    monkeypatch.setattr(stopped, "_one_step", told)
    with pytest.raises(KeyboardInterrupt):
        stopped.train(limit, checkpoint=path)
    assert torch.load(path, weights_only=True)["step"] == 2
    resumed = Trainer(cache, recipe, fold=0).train(limit, checkpoint=path)
    whole = Trainer(cache, recipe, fold=0).train(limit)
    assert torch.equal(_weights(whole.network), _weights(resumed.network))


def test_a_signal_that_another_handles_still_saves(cache, recipe, tmp_path, monkeypatch):
    """SIGTERM reaches the handler that was there before, after the checkpoint is written."""
    trainer, path, saved = Trainer(cache, recipe, fold=0), tmp_path / "run.pt", []
    before = signal.signal(signal.SIGTERM, lambda *_: saved.append(path.exists()))
    step = trainer._one_step
    monkeypatch.setattr(trainer, "_one_step", lambda elapsed: (signal.raise_signal(signal.SIGTERM), step(elapsed))[1])
    try:
        assert trainer.train(RunLimit(steps=4), checkpoint=path).steps == 1
    finally:
        signal.signal(signal.SIGTERM, before)
    assert saved == [True]


def test_the_curve_tells_the_first_and_the_last_step(cache, recipe, tmp_path):
    """However short a run is; what a finished run leaves is not told again."""
    log, path = tmp_path / "log.jsonl", tmp_path / "run.pt"
    trained = Trainer(cache, recipe, fold=0, log=log).train(RunLimit(steps=3), checkpoint=path)
    curve = read_curve(log)
    assert [(entry["step"], entry["elapsed"]) for entry in curve] == [(1, 0.0), (3, 1.0)]
    assert curve[-1]["loss"] == trained.final_loss
    Trainer(cache, recipe, fold=0, log=log).train(RunLimit(steps=3), checkpoint=path)
    assert len(log.read_text().splitlines()) == 2


def test_a_checkpoint_from_before_a_key_is_resumed(cache, recipe, tmp_path):
    """A setting that came later has its default there: the run goes on."""
    path = tmp_path / "run.pt"
    Trainer(cache, recipe, fold=0).train(RunLimit(steps=1), checkpoint=path)
    state = torch.load(path, weights_only=True)
    stored = json.loads(state["recipe"])
    del stored["plateau"], stored["optimiser"]["momentum"], state["plateau"]
    torch.save(state | {"recipe": json.dumps(stored)}, path)
    assert Trainer(cache, recipe, fold=0).train(RunLimit(steps=2), checkpoint=path).steps == 2


@pytest.fixture
def plateau(recipe):
    """A run that validates at every second step, and whose rate falls at once where that is no better."""
    options = OptimiserRecipe(kind="adam", learning_rate=1e-3, average_decay=0.0, schedule="plateau")
    return replace(recipe, optimiser=options, plateau=PlateauRecipe(patience=0, epoch_windows=6, stop_at=1e-4))


def test_a_plateau_run_hands_out_its_best_weights(cache, plateau, monkeypatch, tmp_path):
    """Losses 3, 1, 2: it ends at the third validation, long before its limit, with the weights of the second."""
    trainer = Trainer(cache, plateau, fold=0, log=tmp_path / "log.jsonl")
    losses, validated = iter((3.0, 1.0, 2.0)), []
    step = trainer.plateau.step

    def told(_loss):
        validated.append(_weights(trainer.network))
        return step(next(losses))

    monkeypatch.setattr(trainer.plateau, "step", told)
    trained = trainer.train(RunLimit(steps=100))
    assert (trained.steps, trained.best_validation_loss) == (6, 1.0)
    assert torch.equal(_weights(trained.network), validated[1])
    entries = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in entries if "validation_loss" in entry] == [2, 4, 6]
    assert entries[-1]["learning_rate"] == pytest.approx(1e-4)


def test_a_plateau_run_never_sees_the_held_out_fold(cache, plateau):
    """Neither its batches nor its validation draw a slice of the patients that it will be judged by."""
    trainer = Trainer(cache, plateau, fold=1)
    held_out = {k for case in cache.held_out(1) for k in range(case.start, case.stop)}
    drawn = {int(k) for index, *_ in trainer.sampler._pools for k in index}
    validated = {int(k) for k in trainer.validation._index}
    assert drawn.isdisjoint(held_out)
    assert validated.isdisjoint(held_out)
    assert drawn.isdisjoint(validated)


def test_a_plateau_run_without_controls_validates_without_them(cache, plateau):
    """A source that a recipe does not train on has no say in its learning rate."""
    trainer = Trainer(cache, replace(plateau, data=replace(plateau.data, controls=0.0)), fold=0)
    controls = {k for case in cache.cases if case.source is Source.LCTSC for k in range(case.start, case.stop)}
    assert controls.isdisjoint(int(k) for k in trainer.validation._index)


def test_a_run_without_validation_hands_out_its_last_weights(cache, plateau):
    """Ended by its limit before the first epoch is over, it has no best."""
    trainer = Trainer(cache, plateau, fold=0)
    trained = trainer.train(RunLimit(steps=1))
    assert trained.best_validation_loss is None
    assert torch.equal(_weights(trained.network), _weights(trainer.network))


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


@pytest.mark.parametrize("limits", [{}, {"seconds": 1.0, "steps": 1}])
def test_a_run_has_one_limit(limits):
    """Neither no limit nor two."""
    with pytest.raises(ValueError, match="seconds or by steps"):
        RunLimit(**limits)


def test_a_run_by_time_ends(cache, recipe):
    """A run that is limited by seconds stops after the step in which they are over."""
    trained = Trainer(cache, recipe, fold=0).train(RunLimit(seconds=0.01))
    assert trained.steps == 1
