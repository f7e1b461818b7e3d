"""Lobes from the shape of the lungs: geometry, what can be told, and trust in the weights."""

import json

import numpy as np
import pytest

from analysis.anatomy import LEFT, RIGHT, Lungs, estimate_lobes, lobes
from analysis.errors import UntrustedWeights
from analysis.findings import Lobe
from analysis.measure import measure


@pytest.fixture
def two_boxes(make_volume):
    """Two lungs that are boxes, 40 to 160 mm high in a volume of 200 mm, and their volume."""
    labels = np.zeros((100, 60, 80), np.uint8)
    labels[20:80, 15:45, 8:32] = RIGHT
    labels[20:80, 15:45, 48:72] = LEFT
    return make_volume(np.where(labels > 0, -850, 40), (2.0, 3.0, 3.0)), Lungs(labels=labels)


@pytest.fixture
def told_by_height(monkeypatch):
    """In place of the network: upper lobes above the middle of the lungs, middle lobe in front below, lower behind."""

    def ask(network, right, left, imaged):
        del network, left, imaged
        told = np.full((5, *right.shape), 0.02, np.float32)
        middle, front = right.shape[0] // 2, right.shape[1] // 2
        told[0, middle:] = told[3, middle:] = 1
        told[1, :middle, :front] = 1
        told[2, :middle, front:] = 1
        told[4, :middle] = 1
        return told

    monkeypatch.setattr(lobes, "_ask", ask)
    monkeypatch.setattr(lobes, "_load", lambda _: (None, 8.0))


@pytest.mark.usefixtures("told_by_height")
def test_lobes_lie_where_the_network_says(two_boxes):
    """Borders come back to the grid of the volume within a voxel of the coarse grid, each lung with its own lobes."""
    volume, lungs = two_boxes
    found = estimate_lobes(volume, lungs)
    assert set(np.unique(found.labels[lungs.labels == RIGHT])) == {4, 5, 6}
    assert set(np.unique(found.labels[lungs.labels == LEFT])) == {7, 8}
    assert not found.labels[lungs.labels == 0].any()
    heights = volume.slice_positions_mm[np.flatnonzero((found.labels == 7).any(axis=(1, 2)))]
    assert heights[0] == pytest.approx(100, abs=8)
    rows = np.flatnonzero((found.labels == 5).any(axis=(0, 2))) * volume.row_spacing_mm
    assert rows[-1] == pytest.approx(90, abs=8)


@pytest.mark.usefixtures("told_by_height")
def test_whole_lungs_have_scores(two_boxes):
    """All five lobes are told and whole: LSS and LHOS are given, and lobes add up to the lungs."""
    volume, lungs = two_boxes
    found = estimate_lobes(volume, lungs)
    assert found.scorable
    measured = measure(volume, lungs, np.zeros(lungs.labels.shape, np.uint8), lobes=found)
    assert (measured.lss, measured.lhos) == (0, 0)
    total = sum(region.lung_volume_ml for region in measured.lobes.values())
    assert total == pytest.approx(measured.both_lungs.lung_volume_ml)


@pytest.mark.usefixtures("told_by_height")
def test_cut_lungs_have_no_scores(two_boxes, make_volume):
    """The first slice runs through the lower lobes: they are named as cut, and there is no score."""
    volume, lungs = two_boxes
    rest = make_volume(volume.hu[40:], (2.0, 3.0, 3.0))
    cut = Lungs(labels=lungs.labels[40:])
    found = estimate_lobes(rest, cut)
    assert found.cut == {Lobe.RIGHT_MIDDLE, Lobe.RIGHT_LOWER, Lobe.LEFT_LOWER}
    measured = measure(rest, cut, np.zeros(cut.labels.shape, np.uint8), lobes=found)
    assert measured.lss is None
    assert measured.lhos is None


def test_a_lobe_of_doubt_is_not_told(monkeypatch, two_boxes):
    """Where the network cannot tell lobes apart, none is labelled, and the lobes are named as untold."""
    volume, lungs = two_boxes
    monkeypatch.setattr(lobes, "_ask", lambda _n, right, *_: np.full((5, *right.shape), 0.5, np.float32))
    monkeypatch.setattr(lobes, "_load", lambda _: (None, 8.0))
    found = estimate_lobes(volume, lungs)
    assert not found.labels.any()
    assert found.untold == set(Lobe)
    assert not found.scorable


def test_no_lungs_have_no_lobes(two_boxes):
    """Without a lung the weights are not even read."""
    volume, lungs = two_boxes
    assert not estimate_lobes(volume, Lungs(labels=np.zeros_like(lungs.labels))).labels.any()


def test_other_weights_than_the_manifest_names_are_refused(tmp_path, two_boxes):
    """The SHA-256 of what is loaded is the one in the manifest, or nothing is loaded."""
    (tmp_path / "lobes.safetensors").write_bytes(b"other")
    (tmp_path / "manifest.json").write_text(json.dumps({"widths": [16, 32, 48, 64], "grid_mm": 8, "sha256": "0"}))
    with pytest.raises(UntrustedWeights):
        estimate_lobes(*two_boxes, directory=tmp_path)
    with pytest.raises(UntrustedWeights):
        estimate_lobes(*two_boxes, directory=tmp_path / "missing")
