"""Training of the lung and the lobe network: examples, the loop, the border, what is exported."""

import numpy as np
import pytest
import torch

from analysis.anatomy.classical import classical_lungs
from analysis.anatomy.lobe_network import GRID_MM, lobe_network
from analysis.anatomy.lobe_shape import LobeShape
from analysis.anatomy.lung_field import Border, tell_lungs
from analysis.anatomy.lung_network import lung_network
from analysis.anatomy.lungs import LungModel, draw_lungs, working_grid
from analysis.anatomy.place_frame import PlaceFrame
from analysis.anatomy.weights import write_weights
from analysis.errors import UntrustedWeights
from analysis.series import NativeGrid, Volume
from analysis.training import lobes, lungs, places
from analysis.training.datasets import Source
from analysis.training.fitting import Fitting, fit
from analysis.training.lobe_maps import example as lobe_example
from analysis.training.lobe_maps import lobe_map
from analysis.training.lobe_shapes import Shapes
from analysis.training.lung_cases import LungScan, even_case
from analysis.training.lung_examples import COLUMNS, LEVELS, ROWS
from analysis.training.lung_examples import example as lung_example

SMALL = (8, 16)


@pytest.fixture(scope="module")
def blocks():
    """A lobe map of five blocks: 4 to 6 on the patient's right, 7 and 8 on the left."""
    labels = np.zeros((60, 40, 60), np.uint8)
    labels[30:55, 5:35, 5:25] = 4
    labels[5:30, 5:18, 5:25] = 5
    labels[5:30, 18:35, 5:25] = 6
    labels[30:55, 5:35, 35:55] = 7
    labels[5:30, 5:35, 35:55] = 8
    labels[40:50, 15:20, 28:32] = 255
    return lobe_map("blocks", labels, 4.0)


@pytest.fixture(scope="module")
def scan():
    """A scan of two bright-edged boxes of lung in a block of tissue, a lesion in the right one."""
    hu = np.full((40, 80, 100), -1000, np.int16)
    hu[:, 10:70, 5:95] = 40
    lung = np.zeros(hu.shape, bool)
    lung[5:35, 20:60, 12:42] = lung[5:35, 20:60, 58:88] = True
    lesion = np.zeros_like(lung)
    lesion[10:20, 45:60, 12:42] = True
    hu[lung & ~lesion] = -850
    count = len(hu)
    volume = Volume(
        hu=hu,
        slice_positions_mm=np.arange(count) * 4.0,
        slice_weights_mm=np.full(count, 4.0),
        row_spacing_mm=3.0,
        column_spacing_mm=3.0,
        sop_instance_uids=("",) * count,
        frame_numbers=(None,) * count,
        native=NativeGrid(transposed=False, rows_flipped=False, columns_flipped=False),
    )
    return LungScan(name="box", source=Source.COVID20, fold=0, volume=volume, lung=lung, lesion=lesion, known=None)


def test_lobes_of_an_example_fill_its_lungs(blocks):
    """Shares of the five lobes add up to the shares of right and left lung, and airways are no lung."""
    drawn = lobe_example(blocks, 2)
    right, left = drawn.inputs[0], drawn.inputs[1]
    np.testing.assert_allclose(drawn.shares[:3].sum(axis=0), right, atol=1e-6)
    np.testing.assert_allclose(drawn.shares[3:].sum(axis=0), left, atol=1e-6)
    assert right.sum() * GRID_MM**3 == pytest.approx(50 * 30 * 20 * 4.0**3, rel=0.05)


def test_what_is_cut_off_an_example_is_marked(blocks):
    """Levels that a scan does not hold have neither lung nor truth; the third channel tells them."""
    for seed in range(20):
        drawn = lobe_example(blocks, 2, np.random.default_rng(seed))
        assert not drawn.inputs[:2, drawn.inputs[2, :, 0, 0] == 0].any()
        assert not drawn.shares[:, drawn.inputs[2, : drawn.shares.shape[1], 0, 0] == 0].any()


def test_five_blocks_are_learned(blocks):
    """The linear model tells the lobes of a map that it has seen; a hundred steps tell them where the map is cut."""
    network = lobes.train([blocks], fitting=Fitting(steps=100), widths=SMALL)
    form = Shapes([blocks]).fit()
    assert np.mean(np.asarray(lobes.score(network, form, blocks), float)) > 0.9
    inputs = lobe_example(blocks, network.stride).inputs
    with torch.inference_mode():
        told = network(torch.from_numpy(inputs)[None])[0].numpy()
    shares = lobe_example(blocks, network.stride).shares
    for first, last in ((0, 3), (3, 5)):
        inside = shares[first:last].sum(axis=0) > 0.5
        right = told[first:last].argmax(axis=0) == shares[first:last].argmax(axis=0)
        assert np.mean(right[inside]) > 0.9


def test_a_model_of_shapes_follows_the_shape(blocks):
    """Two forms of lung have their border at different heights: each is told its own, also after storing."""
    low = _with_border_at(blocks, 20)
    high = _with_border_at(blocks, 40)
    form = LobeShape.of(Shapes([low, high]).fit().arrays())
    for map_, height in ((low, 20), (high, 40)):
        right, left = map_.shares[:3].sum(axis=0), map_.shares[3:].sum(axis=0)
        scores = form.scores(right, left, np.ones(len(right), bool))
        upper = scores[0] > np.maximum(scores[1], scores[2])
        middle = (right.shape[1] // 2, int(np.flatnonzero(right.any(axis=(0, 1))).mean()))
        assert abs(2 * int(np.flatnonzero(upper[:, middle[0], middle[1]])[0]) - height) <= 4


def _with_border_at(blocks, height):
    """The blocks, the right lung wider below the border of its lobes, so that its shape tells where the border is."""
    labels = np.where(blocks.lobes > 3, blocks.lobes + 3, 0).astype(np.uint8)
    labels[height:55, 5:35, 12:25] = 4
    labels[5:height, 5:18, 5:25] = 5
    labels[5:height, 18:35, 5:25] = 6
    return lobe_map("blocks", labels, 4.0)


def test_a_model_that_leaves_a_map_out_has_not_seen_it(blocks):
    """Left out, one of two maps changes nothing in the model; the other one is all that it knows."""
    other = _with_border_at(blocks, 40)
    both, alone = Shapes([blocks, other]), Shapes([other])
    for name, array in alone.fit().arrays().items():
        np.testing.assert_array_equal(both.fit(without=0).arrays()[name], array)


def test_a_cut_lung_is_not_told_by_its_shape(blocks):
    """Where lung ends with the scan the linear model says nothing of it, and all of the other lung."""
    right, left = blocks.shares[:3].sum(axis=0), blocks.shares[3:].sum(axis=0)
    right[:10] = 0
    left[: 10 + 2] = 0
    imaged = np.arange(len(right)) >= 10
    scores = Shapes([blocks]).fit().scores(right, left, imaged)
    assert not scores[:3].any()
    assert scores[3:].any()


@pytest.mark.parametrize("broken", ["right.mean", "left.basis", "right.answers"])
def test_a_model_of_shapes_in_another_form_is_refused(blocks, broken):
    """A part that is missing or of another length is an error, not a wrong lobe."""
    arrays = Shapes([blocks]).fit().arrays()
    with pytest.raises(ValueError, match="another form"):
        LobeShape.of({**arrays, broken: np.zeros((3, 3), np.float16)})
    del arrays[broken]
    with pytest.raises(KeyError):
        LobeShape.of(arrays)


def test_a_training_resumed_is_the_same(blocks, tmp_path):
    """Broken off at a checkpoint and resumed, a training ends with the weights of one that ran through."""

    def trained(fitting, checkpoint):
        torch.manual_seed(0)
        network = lobe_network(SMALL)

        def draw(index, random):
            del index
            drawn = lobe_example(blocks, network.stride, random)
            if breaks.pop(0) if breaks else False:
                raise InterruptedError
            return torch.from_numpy(drawn.inputs)[None], torch.from_numpy(drawn.shares)[None]

        return fit(network, draw, lobes._loss, cases=1, fitting=fitting, checkpoint=checkpoint)

    fitting, checkpoint = Fitting(steps=104), tmp_path / "kept.pt"
    breaks: list[bool] = []
    whole = trained(fitting, None)
    breaks = [False] * 101 + [True]
    with pytest.raises(InterruptedError):
        trained(fitting, checkpoint)
    assert checkpoint.exists()
    resumed = trained(fitting, checkpoint)
    assert not checkpoint.exists()
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_folds_that_are_done_are_not_done_again(monkeypatch, blocks, tmp_path):
    """The network of a fold is read from the work folder; its figures are those of the map that it has not seen."""
    torch.save(lobe_network(SMALL).state_dict(), tmp_path / "fold0_done.pt")
    monkeypatch.setattr(lobes, "train", lambda *_, **__: pytest.fail("trained again"))
    found = lobes.cross_validate([blocks, blocks], fitting=Fitting(steps=1), folds=[0], widths=SMALL, work=tmp_path)
    assert set(found["blocks"]) == set(lobes.PARTS)
    assert lobes.report(found)["maps"] == 1


def test_the_report_counts_what_is_told():
    """Whole lungs: a lobe that is not told counts as 0. Cut lungs: how many maps tell a lobe, their mean and worst."""
    one = dict.fromkeys(lobes.PARTS, (0.9, 0.8, 0.7, 0.6, 0.5))
    other = dict.fromkeys(lobes.PARTS, (0.5, None, 0.7, 0.6, 0.5))
    found = lobes.report({"one": one, "other": other})
    assert found["mean_dice_by_lobe"] == {"RUL": 0.7, "RML": 0.4, "RLL": 0.7, "LUL": 0.6, "LLL": 0.5}
    assert found["mean_dice"] == 0.58
    cut = found["cut"]
    assert isinstance(cut, dict)
    assert cut["upper half"]["RML"] == {"told": 1, "mean_dice": 0.8, "worst_dice": 0.8}
    assert cut["upper half"]["RUL"] == {"told": 2, "mean_dice": 0.7, "worst_dice": 0.5}


def test_an_example_of_lungs_keeps_its_labels_and_may_change_its_density(scan):
    """Dense lung that is laid in stays lung; right is on the image's left, mirrored or not."""
    case = even_case(scan)
    denser = 0
    for seed in range(12):
        drawn = lung_example(case, np.random.default_rng(seed))
        assert drawn.hu.shape == (LEVELS, ROWS, COLUMNS)
        assert drawn.hu.dtype == drawn.right.dtype == np.float32
        right, left = (np.nonzero(item > 0.9)[2] for item in (drawn.right, drawn.left))
        if right.size and left.size:
            assert right.mean() < left.mean()
        denser += np.count_nonzero(drawn.hu[(drawn.right + drawn.left) > 0.9] > -100) > 50
    assert denser >= 4


@pytest.fixture(scope="module")
def learned(scan):
    """A small network that has seen the boxes, and the border that goes with it."""
    network = lungs.train([even_case(scan)], fitting=Fitting(steps=150, rate=4e-3), widths=SMALL)
    return network, lungs.fit_border(network, [scan])


def test_a_small_network_learns_two_boxes(scan, learned):
    """After 150 steps lungs are found with the lesion in them, and both sides are told apart."""
    network, border = learned
    figures = lungs.score(network, border, scan)
    assert figures["dice"] > 0.93
    assert figures["lesion_inside"] > 0.85
    grid = working_grid(scan.volume)
    found = draw_lungs(
        tell_lungs(network, grid, scan.volume.slice_positions_mm, classical_lungs(grid)),
        grid,
        border,
        scan.volume.hu.shape,
    )
    assert set(np.unique(found[:, :, :45])) == {0, 1}
    assert set(np.unique(found[:, :, 55:])) == {0, 2}


def test_certainty_and_the_classical_method_speak_for_lung_at_the_border(learned):
    """The regression finds that what both methods call lung is likelier to be lung."""
    _, border = learned
    assert border.network > 0
    assert border.classical > 0


def test_exported_lungs_are_read_back_and_others_refused(tmp_path, learned):
    """Weights, widths and border come back from their folder; with other bytes they do not."""
    network, border = learned
    border_of = {"network": 2.0, "air": 1.0, "classical": 1.5, "offset": 0.5}
    manifest = {"name": "lungs", "version": "1", "widths": list(network.widths), "border": border_of}
    write_weights(tmp_path, "lungs.safetensors", manifest, network.state_dict(), evaluation={})
    loaded = LungModel.load(tmp_path)
    read, drawn = loaded.network, loaded.border
    assert loaded.algorithm.name == "lungs"
    assert drawn == Border(network=2.0, air=1.0, classical=1.5, offset=0.5)
    assert drawn != border
    for one, other in zip(read.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    bad = tmp_path / "bad"
    write_weights(bad, "lungs.safetensors", manifest, lung_network((8,)).state_dict(), evaluation={})
    with pytest.raises(UntrustedWeights, match="does not fit"):
        LungModel.load(bad)
    (bad / "lungs.safetensors").write_bytes(b"other")
    with pytest.raises(UntrustedWeights, match="SHA-256"):
        LungModel.load(bad / ".")


def test_the_report_names_the_worst_scan():
    """Mean and worst Dice and share of lesions inside, for each source that has them."""
    found = lungs.report(
        {
            "one": {"source": "lctsc", "dice": 0.98, "lesion_inside": None},
            "two": {"source": "covid20", "dice": 0.96, "lesion_inside": 0.99},
            "three": {"source": "covid20", "dice": 0.94, "lesion_inside": 0.95},
        }
    )
    assert found["lctsc_dice"] == {"scans": 1, "mean": 0.98, "worst": 0.98}
    assert found["covid20_lesion_inside"] == {"scans": 2, "mean": 0.97, "worst": 0.95}
    assert "lctsc_lesion_inside" not in found


def test_places_are_learnt_and_lungs_painted_opaque(blocks, scan):
    """The left block lies beside the right one where the map has it; each lung is filled as a whole and in parts."""
    learnt = places.learn([blocks])
    assert set(learnt) == {"right", "left"}
    axes_mm = tuple(np.arange(count) * blocks.spacing_mm for count in blocks.lobes.shape)
    right, left = (blocks.lobes > 0) & (blocks.lobes < 4), blocks.lobes > 3
    laid = PlaceFrame.beside(right, axes_mm, towards=1).laid(learnt["left"], axes_mm) > 0.5
    assert 2 * np.count_nonzero(laid & left) / (laid.sum() + left.sum()) > 0.9
    columns = np.arange(scan.lung.shape[2])
    sides = np.where(scan.lung, np.where(columns < 50, 1, 2), 0).astype(np.uint8)
    painted = {name: (side, filled, volume) for name, side, filled, volume in places.opaque(scan, sides)}
    assert len(painted) == 6
    for name, (side, filled, volume) in painted.items():
        whole = np.count_nonzero(sides == side)
        assert np.count_nonzero(filled) == pytest.approx(whole if "whole" in name else whole / 2, rel=0.1)
        assert volume.hu[filled].min() > -300
        assert np.array_equal(volume.hu[~filled], scan.volume.hu[~filled])
