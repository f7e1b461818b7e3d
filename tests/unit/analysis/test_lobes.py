"""Lobes from the shape of the lungs: geometry, what can be told, and trust in the weights."""

import json

import numpy as np
import pytest
from model_sets import lobe_model

from analysis.anatomy import LEFT, LOBE_LABELS, RIGHT, Border, LobeModel, Lungs, estimate_lobes, lobes
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


@pytest.fixture(scope="session")
def chest_shape(make_volume):
    """Lungs in the shape of lungs: domes below, tips above, a heart between them; 4 x 3 x 3 mm."""
    z, y, x = np.mgrid[:80, :80, :110].astype(float)
    height = np.clip((z - 8) / 62, 0, 1)
    width = 22 * np.sqrt(np.clip(1 - height**2.5, 0, 1))
    heart = ((z - 24) / 17) ** 2 + ((y - 26) / 17) ** 2 + ((x - 62) / 21) ** 2 < 1
    labels = np.zeros(z.shape, np.uint8)
    for side, middle in ((RIGHT, 28), (LEFT, 82)):
        oval = ((x - middle) / np.maximum(width, 1)) ** 2 + ((y - 42) / np.maximum(1.45 * width, 1)) ** 2 < 1
        dome = z < 8 + 13 * np.exp(-(((x - middle) / 18) ** 2) - ((y - 32) / 22) ** 2)
        labels[oval & ~dome & ~heart & (z >= 8) & (z < 70)] = side
    return make_volume(np.where(labels > 0, -850, 40), (4.0, 3.0, 3.0)), Lungs(labels=labels)


@pytest.fixture
def told_by_height(monkeypatch):
    """In place of the network: upper lobes above the middle of the lungs, middle lobe in front below, lower behind."""

    def ask(network, form, right, left, imaged):
        del network, form, left, imaged
        told = np.full((5, *right.shape), 0.02, np.float32)
        levels = np.flatnonzero(right.any(axis=(1, 2)))
        middle, front = (levels[0] + levels[-1] + 1) // 2, right.shape[1] // 2
        told[0, middle:] = told[3, middle:] = 1
        told[1, :middle, :front] = 1
        told[2, :middle, front:] = 1
        told[4, :middle] = 1
        return told

    monkeypatch.setattr(lobes, "_ask", ask)


@pytest.mark.usefixtures("told_by_height")
def test_lobes_lie_where_the_network_says(two_boxes):
    """Borders come back to the grid of the volume within a voxel of the coarse grid, each lung with its own lobes."""
    volume, lungs = two_boxes
    found = estimate_lobes(volume, lungs, lobe_model())
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
    found = estimate_lobes(volume, lungs, lobe_model())
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
    found = estimate_lobes(rest, cut, lobe_model())
    assert found.cut == {Lobe.RIGHT_MIDDLE, Lobe.RIGHT_LOWER, Lobe.LEFT_LOWER}
    measured = measure(rest, cut, np.zeros(cut.labels.shape, np.uint8), lobes=found)
    assert measured.lss is None
    assert measured.lhos is None


@pytest.fixture
def fissured(two_boxes, make_volume):
    """The two lungs with noise, and a fissure in the left one 12 mm above where ``told_by_height`` has its border."""
    volume, lungs = two_boxes
    noise = np.random.default_rng(0).normal(0, 30, volume.hu.shape)
    sheet = 200 * (lungs.labels == LEFT) * (np.arange(100) == 56)[:, None, None]
    return make_volume(volume.hu + noise + sheet, (2.0, 3.0, 3.0)), lungs


@pytest.mark.usefixtures("told_by_height")
def test_a_border_is_drawn_at_its_fissure(two_boxes, fissured):
    """The left border rises to the fissure and is named; the lobes of the right lung are as without it."""
    plain = estimate_lobes(*two_boxes, lobe_model())
    found = estimate_lobes(*fissured, lobe_model())
    assert plain.on_fissures == set()
    assert found.on_fissures == {Border.LEFT_OBLIQUE}
    lowest = [np.flatnonzero((lobes.labels == 7).any(axis=(1, 2)))[0] for lobes in (plain, found)]
    assert lowest[1] - lowest[0] == pytest.approx(6, abs=1)
    right = two_boxes[1].labels == RIGHT
    np.testing.assert_array_equal(found.labels[right], plain.labels[right])
    assert found.confidence_percent[Lobe.RIGHT_UPPER] == plain.confidence_percent[Lobe.RIGHT_UPPER]
    assert found.confidence_percent[Lobe.LEFT_UPPER] != plain.confidence_percent[Lobe.LEFT_UPPER]


@pytest.mark.usefixtures("told_by_height")
def test_borders_of_cut_lungs_are_not_moved(fissured, make_volume):
    """The same fissure in lungs whose lower ends were not imaged: no border is on a fissure."""
    volume, lungs = fissured
    cut = make_volume(volume.hu[30:], (2.0, 3.0, 3.0)), Lungs(labels=lungs.labels[30:])
    assert estimate_lobes(*cut, lobe_model()).on_fissures == set()


def test_a_lobe_of_doubt_is_not_told(monkeypatch, two_boxes):
    """Where the network cannot tell lobes apart, none is labelled, and the lobes are named as untold."""
    volume, lungs = two_boxes
    monkeypatch.setattr(lobes, "_ask", lambda _n, _f, right, *_: np.full((5, *right.shape), 0.5, np.float32))
    found = estimate_lobes(volume, lungs, lobe_model())
    assert not found.labels.any()
    assert found.untold == set(Lobe)
    assert not found.scorable


@pytest.mark.parametrize(("rest", "ends"), [(slice(40, 100), (0,)), (slice(0, 60), (-1,)), (slice(30, 70), (0, -1))])
def test_the_network_is_shown_that_nothing_is_known_beyond_a_cut(monkeypatch, two_boxes, make_volume, rest, ends):
    """Fourteen centimetres of levels that were not imaged follow a cut, as in training; one imaged level an end."""
    shown = []

    def ask(network, form, right, left, imaged):
        del network, form, left
        shown.append((right.any(axis=(1, 2)), imaged))
        return np.full((5, *right.shape), 0.5, np.float32)

    monkeypatch.setattr(lobes, "_ask", ask)
    volume, lungs = two_boxes
    estimate_lobes(make_volume(volume.hu[rest], (2.0, 3.0, 3.0)), Lungs(labels=lungs.labels[rest]), lobe_model())
    lung, imaged = shown[0]
    assert imaged[lung].all()
    for end in (0, -1):
        first = int(imaged[:: 1 if end == 0 else -1].argmax())
        assert first == (20 if end in ends else 0)
        assert not lung[end]


@pytest.mark.usefixtures("told_by_height")
def test_lobes_of_a_cut_lung_are_told_by_a_stricter_measure(monkeypatch, two_boxes, make_volume):
    """What is confident enough for a whole lung is not for one that is cut off: its lobes are untold, not labelled."""
    volume, lungs = two_boxes
    confidence = min(estimate_lobes(volume, lungs, lobe_model()).confidence_percent.values())
    monkeypatch.setattr(lobes, "LEAST_CONFIDENCE_PERCENT", confidence - 1)
    monkeypatch.setattr(lobes, "LEAST_CONFIDENCE_CUT_PERCENT", 100.0)
    assert estimate_lobes(volume, lungs, lobe_model()).untold == set()
    found = estimate_lobes(make_volume(volume.hu[40:], (2.0, 3.0, 3.0)), Lungs(labels=lungs.labels[40:]), lobe_model())
    assert found.untold == set(Lobe)
    assert not found.labels.any()


@pytest.mark.usefixtures("told_by_height")
@pytest.mark.parametrize(("stop", "told"), [(75, {Lobe.RIGHT_LOWER, Lobe.LEFT_LOWER}), (98, set(Lobe))])
def test_a_low_base_of_a_lung_is_told_as_lower_lobe_alone(make_volume, stop, told):
    """Under 15 cm of a lung that is cut off above no upper or middle lobe is told, however confident; above it all."""
    labels = np.zeros((100, 60, 80), np.uint8)
    labels[20:, 15:45, 8:32], labels[20:, 15:45, 48:72] = RIGHT, LEFT
    volume = make_volume(np.where(labels > 0, -850, 40)[:stop], (2.0, 3.0, 3.0))
    found = estimate_lobes(volume, Lungs(labels=labels[:stop]), lobe_model())
    assert set(found.confidence_percent) == told
    assert found.untold == set(Lobe) - told


def test_half_a_lung_has_no_lobe_that_lies_in_the_other_half(chest_shape, make_volume):
    """Of lungs without their lower half the middle lobe is untold, without their upper half the right upper lobe.

    What is told is where it is: upper lobes of the upper half, lower lobes of the lower half.
    """
    volume, lungs = chest_shape
    occupied = np.flatnonzero(lungs.labels.any(axis=(1, 2)))
    half = int(occupied[0] + occupied[-1]) // 2
    found = {}
    for name, rest in (("upper", slice(half, None)), ("lower", slice(0, half))):
        part = make_volume(volume.hu[rest], (4.0, 3.0, 3.0))
        found[name] = estimate_lobes(part, Lungs(labels=lungs.labels[rest]), lobe_model())
    assert Lobe.RIGHT_MIDDLE in found["upper"].untold
    assert Lobe.RIGHT_UPPER in found["lower"].untold
    assert {Lobe.RIGHT_UPPER, Lobe.LEFT_UPPER} <= set(found["upper"].confidence_percent)
    assert {Lobe.RIGHT_LOWER, Lobe.LEFT_LOWER} <= set(found["lower"].confidence_percent)
    for part in found.values():
        assert not part.scorable
        assert not part.untold & set(part.confidence_percent)
        assert not np.isin(part.labels, [label for label, lobe in LOBE_LABELS.items() if lobe in part.untold]).any()


def test_whole_lungs_of_a_common_shape_have_all_five_lobes(chest_shape):
    """The middle lobe lies in front below, the lower lobes behind below, each confident enough to be told."""
    volume, lungs = chest_shape
    found = estimate_lobes(volume, lungs, lobe_model())
    assert found.scorable
    middles = {
        lobe: [float(axis.mean()) for axis in np.nonzero(found.labels == label)] for label, lobe in LOBE_LABELS.items()
    }
    assert middles[Lobe.RIGHT_UPPER][0] > middles[Lobe.RIGHT_MIDDLE][0]
    assert middles[Lobe.LEFT_UPPER][0] > middles[Lobe.LEFT_LOWER][0]
    assert middles[Lobe.RIGHT_MIDDLE][1] < middles[Lobe.RIGHT_LOWER][1] - 10


def test_no_lungs_have_no_lobes(two_boxes):
    """Without a lung the weights are not even read."""
    volume, lungs = two_boxes
    assert not estimate_lobes(volume, Lungs(labels=np.zeros_like(lungs.labels)), lobe_model()).labels.any()


def test_other_weights_than_the_manifest_names_are_refused(tmp_path):
    """The SHA-256 of what is loaded is the one in the manifest, or nothing is loaded."""
    (tmp_path / "lobes.safetensors").write_bytes(b"other")
    (tmp_path / "manifest.json").write_text(json.dumps({"widths": [16, 32, 48, 64], "grid_mm": 8, "sha256": "0"}))
    with pytest.raises(UntrustedWeights):
        LobeModel.load(tmp_path)
    with pytest.raises(UntrustedWeights):
        LobeModel.load(tmp_path / "missing")
