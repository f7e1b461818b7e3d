"""What the segmenter does around the network: box, windows, and labels on the volume's own grid."""

import numpy as np
import pytest
import torch

from analysis.errors import OutOfMemory
from analysis.findings import Profile
from analysis.model.crop import lung_box
from analysis.model.labels import labels_of
from analysis.model.resampling import resampled, restored
from analysis.model.segmenter import Segmenter


def _chest(shape=(8, 150, 170), *, around_hu=40):
    """Aerated lung in soft tissue, ground glass in two discs of it, high opacity in a third; and the lung mask."""
    hu = np.full(shape, around_hu, np.int16)
    lung = np.zeros(shape, bool)
    lung[1:7, 20:130, 15:150] = True
    hu[lung] = -850
    rows, columns = np.mgrid[: shape[1], : shape[2]]
    for slices, row, column, radius, value in (
        (slice(2, 5), 55, 50, 18, -350),
        (slice(3, 7), 45, 110, 19, -350),
        (slice(3, 6), 95, 90, 24, 20),
    ):
        hu[slices, (rows - row) ** 2 + (columns - column) ** 2 < radius**2] = value
    return hu, lung


def _dice(found, true):
    return 2 * (found & true).sum() / (found.sum() + true.sum())


def test_lesions_come_back_where_they_are(segmenter):
    """Each class returns to its place on the native grid within the width of a window pixel."""
    hu, lung = _chest(around_hu=-850)  # without a chest wall, whose partial volume is dense
    labels = segmenter.segment(hu, lung, slice_spacing_mm=3.0)
    assert labels.shape == hu.shape
    assert labels.dtype == np.uint8
    assert _dice(labels == 2, lung & (hu == 20)) > 0.95
    assert _dice(labels > 0, lung & (hu > -600)) > 0.95
    for k in range(len(hu)):
        area = int((lung[k] & (hu[k] > -600)).sum())
        assert abs(int((labels[k] > 0).sum()) - area) <= 0.06 * area


def test_labels_lie_in_the_lung_only(segmenter):
    """Dense tissue around the lung, which the network calls high opacity, is not in the result."""
    hu, lung = _chest()
    labels = segmenter.segment(hu, lung, slice_spacing_mm=3.0)
    assert not labels[~lung].any()
    assert (labels > 0).any()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_mirrored_chest_gives_mirrored_labels(segmenter, axis):
    """Nothing is shifted to one side: mirroring before or after is the same but for pixels on an edge."""
    hu, lung = _chest()
    labels = segmenter.segment(hu, lung, slice_spacing_mm=3.0)
    mirrored = segmenter.segment(np.flip(hu, axis), np.flip(lung, axis), slice_spacing_mm=3.0)
    assert (np.flip(mirrored, axis) != labels).mean() < 0.002


def test_only_slices_with_lung_are_run(segmenter, network):
    """One window for each slice that holds lung."""
    hu, lung = _chest()
    segmenter.segment(hu, lung, slice_spacing_mm=3.0)
    assert sum(len(windows) for windows in network.seen) == 6


@pytest.mark.parametrize(("spacing_mm", "stride"), [(3.0, 1), (1.0, 1), (0.5, 2), (0.3, 4), (9.0, 1), (12.0, 0)])
def test_neighbours_are_as_far_as_in_training(segmenter, network, spacing_mm, stride):
    """Thin slices take farther neighbours, too thick ones take themselves; the ends of the lung are repeated."""
    lung = np.zeros((9, 40, 40), bool)
    lung[1:8, 5:35, 5:35] = True
    hu = np.broadcast_to((-900 + 10 * np.arange(9, dtype=np.int16))[:, None, None], lung.shape).copy()
    segmenter.segment(hu, lung, slice_spacing_mm=spacing_mm)
    seen = torch.cat(network.seen)[:, :, 32, 32] * 200 - 700
    wanted = [[-900 + 10 * min(max(k + d, 1), 7) for d in (-stride, 0, stride)] for k in range(1, 8)]
    np.testing.assert_allclose(seen.numpy(), wanted, atol=0.01)


def test_density_is_clipped_and_standardised(segmenter, network):
    """The network sees HU in [-1024, 600], less the mean, by the standard deviation."""
    hu, lung = np.full((2, 40, 40), 3000, np.int16), np.ones((2, 40, 40), bool)
    hu[1] = -2000
    segmenter.segment(hu, lung, slice_spacing_mm=3.0)
    first, second = torch.cat(network.seen)[:, 1, 32, 32].tolist()
    assert first == pytest.approx((600 + 700) / 200, abs=1e-4)
    assert second == pytest.approx((-1024 + 700) / 200, abs=1e-4)


def test_same_input_same_labels(segmenter):
    """The same volume gives the same bytes."""
    hu, lung = _chest()
    assert (
        segmenter.segment(hu, lung, slice_spacing_mm=3.0).tobytes()
        == segmenter.segment(hu, lung, slice_spacing_mm=3.0).tobytes()
    )


def test_no_lung_is_background(segmenter, network):
    """A mask without lung gives no label and runs nothing."""
    hu, lung = _chest()
    assert not segmenter.segment(hu, np.zeros_like(lung), slice_spacing_mm=3.0).any()
    assert not network.seen


def test_the_input_is_left_alone(segmenter):
    """Neither the volume nor the mask is changed."""
    hu, lung = _chest()
    before = hu.copy(), lung.copy()
    segmenter.segment(hu, lung, slice_spacing_mm=3.0)
    np.testing.assert_array_equal(hu, before[0])
    np.testing.assert_array_equal(lung, before[1])


def test_shapes_and_spacing_are_checked(segmenter):
    """A mask of another volume, and slices no distance apart, are programming errors."""
    hu, lung = _chest()
    with pytest.raises(ValueError, match="shape"):
        segmenter.segment(hu, lung[:-1], slice_spacing_mm=3.0)
    with pytest.raises(ValueError, match="mm apart"):
        segmenter.segment(hu, lung, slice_spacing_mm=0.0)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_short_memory_is_transient(make_manifest, error):
    """Whatever says that memory is short becomes the one error that is tried again."""

    class Hungry(torch.nn.Module):
        def forward(self, _stack):
            raise error

    hu, lung = _chest()
    hungry = Segmenter(Hungry(), make_manifest(), device=torch.device("cpu"))
    with pytest.raises(OutOfMemory) as caught:
        hungry.segment(hu, lung, slice_spacing_mm=3.0)
    assert caught.value.transient
    assert caught.value.__cause__ is error


def test_a_device_that_is_short_of_memory_gets_smaller_batches(monkeypatch, segmenter, network, make_manifest):
    """Batches are halved until one fits; the labels are those of a device that has room."""

    class Small(torch.nn.Module):
        def forward(self, stack):
            if len(stack) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return network(stack)

    hu, lung = _chest()
    expected = segmenter.segment(hu, lung, slice_spacing_mm=3.0)
    monkeypatch.setattr("analysis.model.segmenter._CPU_BATCH", 4)
    small = Segmenter(Small(), make_manifest(), device=torch.device("cpu"))
    assert np.array_equal(small.segment(hu, lung, slice_spacing_mm=3.0), expected)


def test_another_runtime_error_is_not_memory(make_manifest):
    """A fault of the program is not hidden as short memory."""

    class Faulty(torch.nn.Module):
        def forward(self, _stack):
            raise RuntimeError("shapes do not match")

    hu, lung = _chest()
    with pytest.raises(RuntimeError, match="shapes"):
        Segmenter(Faulty(), make_manifest(), device=torch.device("cpu")).segment(hu, lung, slice_spacing_mm=3.0)


def test_provenance_names_the_model(segmenter):
    """The result can tell model, version, weights, threshold and device."""
    provenance = segmenter.provenance(Profile.CTAC)
    assert (provenance.model_name, provenance.model_version) == ("stub", "1.2.3")
    assert provenance.weights_sha256 == "0" * 64
    assert provenance.thresholds == {"lesion_probability": 0.5}
    assert provenance.device == "cpu"
    assert torch.__version__ in provenance.runtime


def test_the_profile_has_its_own_threshold(make_manifest):
    """A profile whose threshold is out of reach finds nothing where the other finds lesion."""

    class Undecided(torch.nn.Module):
        def forward(self, stack):
            return torch.zeros(len(stack), 3, *stack.shape[2:])

    thresholds = {Profile.CHEST_CT: {"lesion_probability": 0.6}, Profile.CTAC: {"lesion_probability": 0.7}}
    segmenter = Segmenter(Undecided(), make_manifest(thresholds=thresholds), device=torch.device("cpu"))
    hu, lung = _chest()
    assert segmenter.segment(hu, lung, slice_spacing_mm=3.0, profile=Profile.CHEST_CT)[lung].all()
    assert not segmenter.segment(hu, lung, slice_spacing_mm=3.0, profile=Profile.CTAC).any()


def test_the_box_holds_the_lung_with_a_margin():
    """Three percent of the box's own extent on each side, also beyond the image."""
    lung = np.zeros((3, 120, 220), bool)
    lung[1, 10:110, 0:150] = True
    lung[2, 50, 199] = True
    box = lung_box(lung)
    assert (box.top, box.bottom, box.left, box.right) == (7, 113, -6, 206)
    with pytest.raises(ValueError, match="no lung"):
        lung_box(np.zeros_like(lung))


def test_a_box_beyond_the_image_is_filled_and_cut_off():
    """What lies outside the image is the filling in the window, and is not there on the way back."""
    lung = np.zeros((1, 60, 60), bool)
    lung[0, 0:60, 0:60] = True
    box = lung_box(lung, margin_percent=10)
    plane = np.full((60, 60), -800, np.float32)
    window = resampled(plane, box, size=72, fill=40)
    assert (window[:5] == 40).all()
    assert (window[7:-7, 7:-7] == -800).all()
    native, where = restored(np.repeat(window[..., None], 3, axis=2), box, plane.shape)
    assert native.shape == (60, 60, 3)
    assert where == (slice(0, 60), slice(0, 60))
    assert (native[2:-2, 2:-2] == -800).all()


def test_labels_by_hand():
    """Lesion where both opacities together reach the threshold, and then the more probable one."""
    probability = np.array([[0.6, 0.5, 0.45, 0.1], [0.4, 0.3, 0.25, 0.2], [0.0, 0.2, 0.3, 0.7]], np.float32)
    assert labels_of(probability, axis=0, lesion_probability=0.5).tolist() == [0, 1, 2, 2]
    assert labels_of(probability, axis=0, lesion_probability=0.35).tolist() == [1, 1, 2, 2]
