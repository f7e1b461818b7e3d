"""Training of the lung and the lobe network: examples, the loop, the border, what is exported."""

import json

import numpy as np
import pytest
import torch

from analysis.anatomy.classical import classical_lungs
from analysis.anatomy.lobe_network import lobe_network
from analysis.anatomy.lung_field import Border, tell_lungs
from analysis.anatomy.lung_network import lung_network
from analysis.anatomy.lungs import draw_lungs, load_lungs, working_grid
from analysis.anatomy.weights import write_weights
from analysis.errors import UntrustedWeights
from analysis.series import NativeGrid, Volume
from analysis.training import lobes, lungs
from analysis.training.datasets import Source
from analysis.training.fitting import Fitting, fit
from analysis.training.lobe_maps import example as lobe_example
from analysis.training.lobe_maps import lobe_map
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
    assert right.sum() * 5.0**3 == pytest.approx(50 * 30 * 20 * 4.0**3, rel=0.05)


def test_what_is_cut_off_an_example_is_marked(blocks):
    """Levels that a scan does not hold have neither lung nor truth; the third channel tells them."""
    for seed in range(20):
        drawn = lobe_example(blocks, 2, np.random.default_rng(seed))
        assert not drawn.inputs[:2, drawn.inputs[2, :, 0, 0] == 0].any()
        assert not drawn.shares[:, drawn.inputs[2, : drawn.shares.shape[1], 0, 0] == 0].any()


def test_a_small_network_learns_five_blocks(blocks):
    """A hundred steps on one map tell its lobes almost everywhere."""
    network = lobes.train([blocks], fitting=Fitting(steps=100), widths=SMALL)
    assert np.mean(lobes.score(network, blocks)) > 0.9


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


def test_folds_that_are_done_are_not_done_again(blocks, tmp_path):
    """The Dice of a fold is read from the work folder."""
    (tmp_path / "fold0.json").write_text(json.dumps({"blocks": [0.5] * 5}))
    found = lobes.cross_validate([blocks], fitting=Fitting(steps=1), folds=[0], work=tmp_path)
    assert lobes.report(found)["mean_dice"] == 0.5


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
    manifest = {"widths": list(network.widths), "border": {"network": 2.0, "air": 1.0, "classical": 1.5, "offset": 0.5}}
    write_weights(tmp_path, "lungs.safetensors", manifest, network.state_dict(), evaluation={})
    read, drawn = load_lungs(tmp_path)
    assert drawn == Border(network=2.0, air=1.0, classical=1.5, offset=0.5)
    assert drawn != border
    for one, other in zip(read.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    bad = tmp_path / "bad"
    write_weights(bad, "lungs.safetensors", manifest, lung_network((8,)).state_dict(), evaluation={})
    with pytest.raises(UntrustedWeights, match="does not fit"):
        load_lungs(bad)
    (bad / "lungs.safetensors").write_bytes(b"other")
    with pytest.raises(UntrustedWeights, match="SHA-256"):
        load_lungs(bad / ".")


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
