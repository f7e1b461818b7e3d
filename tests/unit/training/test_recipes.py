"""Every recipe trains, and resumes to the same end; a recipe that cannot be used is refused in words that help."""

from dataclasses import replace
from functools import partial
from itertools import takewhile
from pathlib import Path

import numpy as np
import pytest
import torch

import analysis.training.recipes as module
from analysis.training import networks
from analysis.training.augment import SliceStore
from analysis.training.baselines import UNet2D, UNet3D
from analysis.training.evaluation import evaluate_cases, predict
from analysis.training.recipes import DEFAULT_RECIPE, Recipe, UnusableRecipe, load_recipe, recipe_names, recipe_of
from analysis.training.trainer import RunLimit, Trainer

FOLDER = Path(module.__file__).parent / "recipes"


@pytest.fixture(scope="session")
def vgg(tmp_path_factory):
    """A file of features like VGG16's, with few maps."""
    generator = np.random.default_rng(0)
    names = ("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2", "conv3_3")
    arrays, maps = {}, 3
    for name in names:
        arrays[f"{name}.weight"] = generator.normal(0, 0.3, (4, maps, 3, 3)).astype(np.float32)
        arrays[f"{name}.bias"] = np.zeros(4, np.float32)
        maps = 4
    path = tmp_path_factory.mktemp("vgg") / "features.npz"
    np.savez(path, **arrays)
    return path


@pytest.fixture
def _narrow(monkeypatch):
    """The U-Nets at a sixteenth of their width: 17 million parameters are not needed to see a run resume."""
    for network in (UNet2D, UNet3D):
        monkeypatch.setattr(networks, network.__name__, partial(network, width=8))


def _small(recipe: Recipe) -> Recipe:
    """The same recipe with narrow heads, on a few small crops, and an epoch of two steps."""
    return replace(
        recipe,
        network=replace(recipe.network, head_maps=(8, 8)),
        data=replace(recipe.data, batch=3, crop=32),
        plateau=replace(recipe.plateau, epoch_windows=6),
    )


def _weights(trained):
    return torch.cat([value.flatten().float() for value in trained.network.state_dict().values()])


@pytest.mark.usefixtures("_narrow")
@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_trains_and_resumes(name, cache, vgg, tmp_path):
    """Two steps; stopped after one and resumed by a trainer of another seed: the same weights to the last bit."""
    recipe, path = _small(load_recipe(name)), tmp_path / "run.pt"
    features = vgg if recipe.loss.perceptual else None

    def trainer(seed=0):
        return Trainer(cache, recipe, fold=0, seed=seed, vgg_weights=features)

    whole = trainer().train(RunLimit(steps=2))
    trainer().train(RunLimit(steps=2), checkpoint=path, stop_at=1)
    resumed = trainer(seed=5).train(RunLimit(steps=2), checkpoint=path)
    assert whole.steps == resumed.steps == 2
    assert torch.isfinite(_weights(whole)).all()
    assert torch.equal(_weights(whole), _weights(resumed))
    assert whole.best_validation_loss == resumed.best_validation_loss
    with torch.inference_mode():
        logits = whole.network(torch.zeros(1, whole.slices, 32, 32))
    assert logits.shape == (1, 3, 32, 32)


def test_evaluation_shows_as_many_slices_as_the_network_takes(cache):
    """Eleven slices where it takes eleven; without context they are all the centre one."""
    store, case, seen = SliceStore(cache, torch.device("cpu")), cache.cases[0], []

    class Watched(torch.nn.Module):
        def forward(self, stack):
            seen.append(stack)
            return torch.zeros(len(stack), 3, *stack.shape[2:])

    scale = {"mean_hu": 0.0, "sd_hu": 1.0, "slices": 11}
    predict(Watched(), store, case, **scale)
    predict(Watched(), store, case, **scale, context=False)
    evaluate_cases(Watched(), cache, store, [case], **scale, ablations=False)
    told, blind, evaluated = (seen[k * (case.stop - case.start)] for k in range(3))
    assert told.shape == (1, 11, 256, 256)
    assert not torch.equal(told[:, 0], told[:, -1])
    assert (blind == told[:, 5:6]).all()
    assert torch.equal(evaluated, told)


def test_min_max_and_z_score(cache):
    """Min-max puts the HU range on 0 to 1; the z-score is of the lungs of the fold's training patients."""
    still = _small(load_recipe("grodecki2021"))
    trainer = Trainer(cache, still, fold=0)
    assert (-1024 - trainer.mean_hu) / trainer.sd_hu == 0
    assert (600 - trainer.mean_hu) / trainer.sd_hu == 1
    scored = Trainer(cache, _small(load_recipe("lungsentry")), fold=0)
    assert (scored.mean_hu, scored.sd_hu) == cache.lung_statistics_hu(cache.training(0))


def test_the_default_is_the_paper_s():
    """Killekar et al. 2022, section 4: loss, optimiser, plateau, batch and augmentation."""
    paper = load_recipe(DEFAULT_RECIPE)
    assert paper.name == "killekar2022"
    assert (paper.loss.class_weights, paper.loss.gamma, paper.loss.perceptual) == ((0.1, 1.0, 1.0), 3.0, 1.0)
    assert (paper.loss.dice, paper.loss.regional, paper.loss.branches) == (0, 0, 0)
    optimiser, plateau = paper.optimiser, paper.plateau
    assert (optimiser.kind, optimiser.learning_rate, optimiser.weight_decay) == ("adam", 1e-3, 1e-6)
    assert (optimiser.schedule, plateau.factor, plateau.patience, plateau.stop_at) == ("plateau", 0.1, 5, 1e-7)
    assert (paper.data.batch, paper.data.normalisation, paper.network.slices) == (32, "zscore", 3)
    assert (paper.augment.rotation_deg, paper.augment.shift_px, paper.augment.scale) == (10.0, 10.0, (0.9, 1.05))


def test_the_first_version_is_grodecki_s():
    """Grodecki et al. 2021, section 2: eleven slices, min-max, RMI by half, SGD with momentum, patience 10."""
    first = load_recipe("grodecki2021")
    assert (first.network.slices, first.data.normalisation, first.loss.regional) == (11, "minmax", 0.5)
    optimiser = first.optimiser
    assert (optimiser.kind, optimiser.learning_rate, optimiser.momentum, optimiser.weight_decay) == (
        "sgd",
        1e-3,
        0.9,
        1e-6,
    )
    assert first.plateau.patience == 10


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_says_what_it_is_for(name):
    """Its file begins with a comment: what it is, and why."""
    lines = (FOLDER / f"{name}.toml").read_text(encoding="utf-8").splitlines()
    assert len(list(takewhile(lambda line: line.startswith("#"), lines))) > 1


@pytest.mark.parametrize(
    ("name", "beside"),
    [
        ("unet2d", "lungsentry"),
        ("unet3d", "lungsentry"),
        ("convlstm", "lungsentry"),
        ("unet2d_crop96", "lungsentry_crop96"),
        ("convlstm_crop96", "lungsentry_crop96"),
    ],
)
def test_baselines_are_trained_alike(name, beside):
    """Whatever is set for ours is set for them: only the network differs."""
    ours = load_recipe(beside)
    assert replace(load_recipe(name), name=ours.name, network=ours.network) == ours


def test_the_papers_loss_is_compared_alone():
    """The recipe beside ours has the paper's loss, and nothing else that differs."""
    ours, beside = load_recipe("lungsentry_crop96"), load_recipe("paper_loss_crop96")
    assert beside.loss == load_recipe("killekar2022").loss
    assert replace(beside, name=ours.name, loss=ours.loss) == ours


def test_a_recipe_like_another_lays_its_keys_over(tmp_path):
    """A key of a section counts over the other's, whose other keys stay; the network is the file's own, whole."""
    path = tmp_path / "mine.toml"
    path.write_text('like = "lungsentry"\n[network]\nkind = "unet2d"\n[optimiser]\nweight_decay = 0.5\n')
    mine, ours = load_recipe(str(path)), load_recipe("lungsentry")
    assert mine.network == recipe_of("x", {"network": {"kind": "unet2d"}}).network
    assert mine.optimiser == replace(ours.optimiser, weight_decay=0.5)
    assert (mine.data, mine.augment) == (ours.data, ours.augment)


@pytest.mark.parametrize(
    ("content", "helps"),
    [
        ("[loss]\ngama = 2.0\n", r"\[loss\] has no key 'gama'. 'gamma' was meant\? There are .*class_weights"),
        ("[optimizer]\n", r"'optimizer' that is not known. 'optimiser' was meant\?"),
        ("batch = 3\n", r"'batch' that is not known. There are augment, data, loss"),
        ("loss = 3\n", r"\[loss\] is a table, not 3"),
        ("[data]\nbatch = 3.5\n", r"batch is a whole number, not 3.5"),
        ("[loss]\ngamma = true\n", r"gamma is a number, not True"),
        ("[network]\nhead_maps = [8]\n", r"head_maps is a list of 2 values, not \[8\]"),
        ("[network]\nkind = 'unet'\n", r"kind is one of convlstm, .*unet2d.*, not 'unet'"),
        ("[network]\nslices = 4\n", r"slices is odd and at least 3: 4"),
        ("[network]\nkind = 'denseunet3d'\n[data]\ncrop = 176\n", r"crop of denseunet3d is a multiple of 32: 176"),
        ("[optimiser]\nschedule = 'plateau'\n", r"the best weights are kept, so average_decay is 0"),
        ("[data]\ncontrols = 0.9\n", r"shares of a batch"),
        ("[augment]\npaste = 3\n", r"paste is a chance, 0 to 1: 3"),
        ("[loss\n", r"mine.toml is not TOML"),
        ("like = 'lungsentri'\n", r"is like 'lungsentri'. 'lungsentry' was meant\?"),
    ],
)
def test_an_error_says_what_would_do(content, helps, tmp_path):
    """Each mistake is named with its place, and with what there is or what was meant."""
    path = tmp_path / "mine.toml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UnusableRecipe, match=helps):
        load_recipe(str(path))


def test_a_recipe_that_is_not_there():
    """The names that there are, and the one that was meant."""
    with pytest.raises(UnusableRecipe, match=r"None is called 'unet_2d'. 'unet2d' was meant\? There are convlstm, "):
        load_recipe("unet_2d")


def test_a_whole_number_is_a_number(tmp_path):
    """``gamma = 2`` is ``gamma = 2.0``, so that the recipe of a checkpoint equals that of the file."""
    path = tmp_path / "mine.toml"
    path.write_text("[loss]\ngamma = 2\n", encoding="utf-8")
    assert load_recipe(str(path)) == recipe_of("mine", {"loss": {"gamma": 2.0}})
