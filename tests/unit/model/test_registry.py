"""Models stand side by side, each under its own name and version, and none is installed that cannot be trusted."""

import hashlib
import json
import os

import numpy as np
import pytest
import torch
from model_folders import SHAPE, write_model

from analysis.errors import UntrustedWeights
from analysis.model.network import ConvLstmNetwork, NetworkShape
from analysis.model.registry import SHIPPED, ModelRefused, Registry, UnknownModel
from analysis.model.segmenter import Segmenter
from analysis.model.self_check import SelfCheck, phantom, self_check
from analysis.model.weights import (
    SEAL_NAME,
    Manifest,
    default_directory,
    pack_weights,
    read_manifest,
    read_weights,
    write_weights,
)


@pytest.fixture
def registry(tmp_path):
    """A node's models, none installed yet: its folder does not exist."""
    return Registry(directory=tmp_path / "data" / "models")


@pytest.fixture
def given(tmp_path):
    """A model folder as somebody brings it."""
    write_model(tmp_path / "given")
    return tmp_path / "given"


def _references(registry):
    return [model.reference for model in registry.list().models]


def test_the_shipped_model_is_always_there(registry):
    """Without a folder of models there is the package's own, under its name and as 'shipped'."""
    own, *beside = registry.list().models
    assert own.shipped
    assert registry.find(SHIPPED) == registry.find(own.reference) == own
    assert own.directory == default_directory()
    assert all(one.packaged and not one.shipped for one in beside)


def test_the_papers_network_comes_with_the_package(registry):
    """It is listed, found by its name, and not what is used by default; its card says on how little it was trained."""
    model = registry.find("killekar2022")
    assert (model.packaged, model.shipped, model.manifest.network) == (True, False, NetworkShape())
    assert self_check(model.directory).manifest.sha256 == model.manifest.sha256
    card = (model.directory / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "788,683 parameters" in card
    assert "A small budget" in card


def test_a_packaged_model_is_not_installed_twice(registry, tmp_path):
    """What was exported of it is the same model, and no folder is made for it."""
    model = registry.find("killekar2022")
    assert registry.install(registry.export(model, tmp_path)) == model
    assert not registry.directory.exists()


def test_the_papers_network_labels_as_its_reference_does(registry):
    """Restructured, folded and in channels last it gives the labels of the network as the paper writes it."""
    folder = registry.find("killekar2022").directory
    manifest, state = read_weights(folder)
    reference = ConvLstmNetwork(manifest.network)
    reference.load_state_dict(state)
    hu, lung, _ = phantom()
    expected = Segmenter(reference, manifest, device=torch.device("cpu")).segment(hu, lung, slice_spacing_mm=3.0)
    found = Segmenter.load(folder, device="cpu").segment(hu, lung, slice_spacing_mm=3.0)
    assert not reference.restructured
    assert found.any()
    np.testing.assert_array_equal(found, expected)


def test_models_stand_side_by_side(registry, given, tmp_path):
    """Two versions are kept, found by reference or version, with card and figures; nothing else is in the folder."""
    shipped = _references(registry)
    first = registry.install(given)
    write_model(tmp_path / "next", version="2.0.0", seed=1)
    second = registry.install(tmp_path / "next")
    assert _references(registry) == [*shipped, "stub@1.2.3", "stub@2.0.0"]
    assert registry.find("stub@1.2.3") == registry.find("1.2.3") == first
    assert registry.find("2.0.0") == second
    assert {path.name for path in first.directory.iterdir()} == {path.name for path in given.iterdir()} | {SEAL_NAME}
    assert {path.name for path in registry.directory.iterdir()} == {"stub@1.2.3", "stub@2.0.0"}


def test_a_reference_that_fits_none_or_two_is_refused_with_those_there_are(registry, given, tmp_path):
    """Nobody activates a model by accident: a name that two versions share does not choose one."""
    registry.install(given)
    write_model(tmp_path / "next", version="2.0.0", seed=1)
    registry.install(tmp_path / "next")
    with pytest.raises(UnknownModel, match=r"2 models fit 'stub'.*stub@1\.2\.3.*stub@2\.0\.0"):
        registry.find("stub")
    with pytest.raises(UnknownModel, match=r"'9\.9' fits none.*stub@1\.2\.3"):
        registry.find("9.9")


def test_the_same_model_twice_is_one(registry, given):
    """Installing again what is there changes nothing and is no error."""
    assert registry.install(given) == registry.install(given)


def test_other_weights_under_the_same_version_are_refused(registry, given, tmp_path):
    """A version names one set of weights for ever: results refer to it."""
    registry.install(given)
    write_model(tmp_path / "other", seed=1)
    with pytest.raises(ModelRefused, match="version of its own"):
        registry.install(tmp_path / "other")


def test_a_changed_byte_is_not_installed(registry, given):
    """What does not have the manifest's SHA-256 leaves no trace among the models."""
    weights = given / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    with pytest.raises(UntrustedWeights, match="SHA-256"):
        registry.install(given)
    assert not registry.directory.exists()


def test_weights_that_are_no_numbers_are_not_installed(registry, tmp_path):
    """A run that diverged has a proper hash, and is refused all the same."""
    state = ConvLstmNetwork(SHAPE).state_dict()
    state["lstm.gates.weight"] = torch.full_like(state["lstm.gates.weight"], float("nan"))
    content, sha256 = pack_weights(state)
    manifest = write_model(tmp_path / "diverged")
    values = {name: getattr(manifest, name) for name in manifest.__dataclass_fields__} | {"sha256": sha256}
    write_weights(tmp_path / "diverged", Manifest(**values), content)
    with pytest.raises(UntrustedWeights, match=r"no numbers, lstm\.gates\.weight"):
        registry.install(tmp_path / "diverged")


def test_a_file_that_is_no_model_is_refused(tmp_path):
    """Bytes with the right hash that are no safetensors file are an error that says so, not a crash."""
    write_model(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "model.safetensors").write_bytes(b"not a model")
    manifest["sha256"] = hashlib.sha256(b"not a model").hexdigest()
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UntrustedWeights, match="no safetensors"):
        self_check(tmp_path)


@pytest.mark.parametrize("name", ["../outside", "a/b", "", ".hidden", "two words"])
def test_no_name_becomes_a_path_elsewhere(given, name):
    """A manifest whose name could lead out of the folder of models is malformed."""
    path = given / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"name": name}))
    with pytest.raises(UntrustedWeights, match="malformed"):
        read_manifest(given)


def test_what_is_broken_is_listed_with_the_reason(registry, given):
    """A folder without manifest, and one that was renamed, are told and not used."""
    registry.install(given).directory.rename(registry.directory / "stub@7.7.7")
    (registry.directory / "empty").mkdir()
    reasons = {folder.name: why for folder, why in registry.list().unreadable}
    assert "manifest.json" in reasons["empty"]
    assert "stub@1.2.3" in reasons["stub@7.7.7"]
    with pytest.raises(UntrustedWeights, match="was the folder renamed"):
        registry.find("stub@7.7.7")


@pytest.mark.parametrize(
    "change",
    [
        {"mean_hu": float("nan")},
        {"sd_hu": float("inf")},
        {"hu_range": [-1e300, 1e300]},
        {"neighbour_distance_mm": [1.0, float("nan")]},
        {"crop_margin_percent": 1e9},
        {"window_size": 2**30},
        {"terms": "x" * 2**20},
        {"network": {"design": "paper", "slices": 3, "lstm_maps": 10**6, "head_maps": [10**6, 64]}},
    ],
)
def test_numbers_that_are_none_or_absurd_are_refused(registry, given, change):
    """Not a number, infinite, or of a size that no model has: neither installed nor verified."""
    path = given / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    for refuse in (registry.install, self_check):
        with pytest.raises(UntrustedWeights, match=r"malformed|may have"):
            refuse(given)


def test_a_manifest_of_brackets_is_malformed(given):
    """Nesting without end is an error that says so, not a crash."""
    (given / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(UntrustedWeights, match="malformed"):
        read_manifest(given)


def test_thresholds_that_were_edited_after_installing_are_noticed(registry, given):
    """The manifest is sealed with the weights: neither found, verified nor loaded once it was changed."""
    packaged = _references(registry)
    model = registry.install(given)
    path = model.directory / "manifest.json"
    content = json.loads(path.read_text())
    content["thresholds"] = {profile: {"lesion_probability": 0.999} for profile in content["thresholds"]}
    path.write_text(json.dumps(content))
    assert _references(registry) == packaged
    for refuse in (lambda: registry.find(model.reference), lambda: self_check(model.directory)):
        with pytest.raises(UntrustedWeights, match="changed since"):
            refuse()


@pytest.mark.parametrize("name", ["model.safetensors", "manifest.json", "MODEL_CARD.md", "evaluation.json"])
@pytest.mark.parametrize("kind", ["link", "fifo", "device", "endless"])
def test_only_regular_files_are_taken(registry, given, tmp_path, name, kind):
    """No link is followed out of the folder, no FIFO waited for, nothing read without end."""
    secret = tmp_path / "secret"
    secret.write_text("not yours")
    (given / name).unlink()
    match kind:
        case "fifo":
            os.mkfifo(given / name)
        case "endless":
            with (given / name).open("wb") as file:
                file.truncate(2**31)
        case _:
            (given / name).symlink_to(secret if kind == "link" else "/dev/zero")
    with pytest.raises(UntrustedWeights, match=name):
        registry.install(given)
    assert not list(registry.directory.rglob("*")) if registry.directory.exists() else True


def test_a_model_that_sees_nothing_is_told(tmp_path):
    """The phantom is judged: a share of opacity that is not of the order of the true one."""
    manifest = write_model(tmp_path)
    blind = SelfCheck(manifest=manifest, opacity_percent=0.0, true_opacity_percent=3.0)
    assert not blind.sees_opacity
    assert self_check(default_directory()).sees_opacity


def test_what_is_exported_can_be_installed_elsewhere(registry, given, tmp_path):
    """From one node to another: the same manifest, and the same bytes."""
    model = registry.install(given)
    written = registry.export(model, tmp_path / "out")
    other = Registry(directory=tmp_path / "elsewhere").install(written)
    assert other.manifest == model.manifest
    for path in given.iterdir():
        assert (other.directory / path.name).read_bytes() == path.read_bytes()
    with pytest.raises(ModelRefused, match="there already"):
        registry.export(model, tmp_path / "out")


def test_the_phantom_shows_whether_a_model_sees_opacity():
    """The shipped model finds at least half of the phantom's even opacity, and not half as much again.

    What it is trained on is less even: its card says that it takes such opacity for less than it is.
    """
    check = self_check(default_directory())
    assert check.opacity_percent == pytest.approx(check.true_opacity_percent, rel=1 / 2)
    for one, other in zip(phantom(), phantom(), strict=True):
        np.testing.assert_array_equal(one, other)
