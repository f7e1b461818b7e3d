"""Weights are used only if they are the ones that their manifest names."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from analysis.errors import UntrustedWeights
from analysis.model import Segmenter, default_directory
from analysis.model.network import ConvLstmNetwork, NetworkShape
from analysis.model.weights import pack_weights, read_weights, write_weights


@pytest.fixture
def folder(tmp_path, make_manifest):
    """A folder with a small untrained model."""
    torch.manual_seed(0)
    shape = NetworkShape(lstm_maps=2, head_maps=(4, 4))
    content, sha256 = pack_weights(ConvLstmNetwork(shape).state_dict())
    write_weights(tmp_path, make_manifest(network=shape, sha256=sha256, window_size=64), content)
    return tmp_path


def test_what_is_written_is_read(folder):
    """The manifest and every tensor come back; nothing else is left in the folder."""
    manifest, state = read_weights(folder)
    assert (manifest.name, manifest.network.head_maps) == ("stub", (4, 4))
    torch.manual_seed(0)
    for key, value in ConvLstmNetwork(manifest.network).state_dict().items():
        assert torch.equal(state[key], value)
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "model.safetensors"]


def test_a_changed_byte_is_refused(folder):
    """The error names the hash that was found and the one that was expected."""
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UntrustedWeights) as caught:
        Segmenter.load(folder, device="cpu")
    named = set(re.findall("[0-9a-f]{64}", str(caught.value)))
    assert json.loads((folder / "manifest.json").read_text())["sha256"] in named
    assert len(named) == 2
    assert not caught.value.transient


@pytest.mark.parametrize("name", ["model.safetensors", "manifest.json"])
def test_a_missing_file_is_refused(folder, name):
    """Neither file will do alone, and the error names the one that is missing."""
    (folder / name).unlink()
    with pytest.raises(UntrustedWeights, match=name):
        Segmenter.load(folder, device="cpu")


@pytest.mark.parametrize("change", [{"sd_hu": 0}, {"thresholds": {}}, {"network": None}, {"mean_hu": "dense"}])
def test_a_malformed_manifest_is_refused(folder, change):
    """A manifest with an impossible value is not used."""
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UntrustedWeights, match="malformed"):
        Segmenter.load(folder, device="cpu")


def test_weights_of_another_network_are_refused(folder):
    """The right hash of the wrong network is refused too."""
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    content["network"]["lstm_maps"] = 3
    path.write_text(json.dumps(content))
    with pytest.raises(UntrustedWeights, match="not those of the network"):
        Segmenter.load(folder, device="cpu")


def test_content_and_manifest_are_written_together(tmp_path, make_manifest):
    """A manifest is never written beside content that it does not name."""
    with pytest.raises(UntrustedWeights):
        write_weights(tmp_path, make_manifest(), b"something else")
    assert not list(tmp_path.iterdir())


def test_a_loaded_model_segments(folder):
    """A real network runs on a volume, twice alike."""
    segmenter = Segmenter.load(folder, device="cpu")
    lung = np.zeros((4, 50, 60), bool)
    lung[1:4, 5:45, 5:55] = True
    hu = np.where(lung, np.random.default_rng(0).normal(-800, 100, lung.shape), 40).astype(np.int16)
    labels = segmenter.segment(hu, lung, slice_spacing_mm=2.0)
    assert labels.shape == hu.shape
    np.testing.assert_array_equal(labels, segmenter.segment(hu, lung, slice_spacing_mm=2.0))


def test_a_device_that_is_not_there_is_named(folder):
    """Another kind of device is an error of the settings, not of the series."""
    with pytest.raises(ValueError, match="meta"):
        Segmenter.load(folder, device="meta")


def test_the_shipped_model_loads():
    """The package's own weights are the ones its manifest names, with a card beside them."""
    segmenter = Segmenter.load(device="cpu")
    assert segmenter.manifest.name.startswith("lungsentry")
    card = (default_directory() / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert segmenter.manifest.sha256 in card
    assert "esearch" in card


def test_nothing_heavy_is_loaded_before_use():
    """Importing the package loads neither torch nor OpenCV."""
    program = "import sys, analysis.model; print([m for m in ('torch', 'cv2', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
