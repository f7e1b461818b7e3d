"""Screening, volumes and lungs on the real CT of the data folder."""

import numpy as np
import pytest
from model_sets import lobe_model, lung_model

from analysis.anatomy import LOBE_LABELS, estimate_lobes, segment_lungs
from analysis.findings import Profile
from analysis.series import (
    NativeGrid,
    Outcome,
    Rule,
    Volume,
    assemble,
    choose_reconstruction,
    group_acquisitions,
    read_series,
    screen_headers,
    screen_series,
    screen_volume,
)

pytestmark = pytest.mark.real_data


@pytest.mark.parametrize(
    ("name", "slices", "step_mm", "litres"),
    [("covid_P001", 148, 2.0, (5.6, 6.6)), ("normal001", 52, 6.0, (3.2, 3.8))],
)
def test_a_real_chest_ct_is_eligible_and_has_two_lungs(shared_data, name, slices, step_mm, litres):
    """JPEG Lossless series: no rule excludes them, and each lung has a plausible volume."""
    (series,) = read_series([shared_data / "dicom" / name]).series
    screening = screen_headers(series)
    assert screening.eligible, screening.reason
    volume = assemble(series)
    assert volume.hu.shape == (slices, 512, 512)
    assert volume.slice_spacing_mm == pytest.approx(step_mm)
    lungs = segment_lungs(volume, lung_model())
    assert all(result.outcome is Outcome.PASSED for result in screen_volume(volume, lungs.mask))
    per_lung = [float((lungs.labels == side).sum(axis=(1, 2)) @ volume.voxel_volumes_ml()) / 1000 for side in (1, 2)]
    assert litres[0] < sum(per_lung) < litres[1]
    assert 0.8 < per_lung[0] / per_lung[1] < 1.5


def test_of_two_real_reconstructions_the_soft_one_is_chosen(shared_data):
    """Philips kernels B and L of one acquisition: B is analysed, and the reason names the kernel."""
    reading = read_series([shared_data / "dicom" / "philips_two_recons"])
    (group,) = group_acquisitions(reading.series)
    choice = choose_reconstruction(group)
    chosen = next(series for series in group if series.series_instance_uid == choice.chosen)
    assert chosen.headers[0].convolution_kernel == "B"
    (rejected,) = choice.rejected.values()
    assert "kernel L" in rejected.value


def test_a_real_series_with_a_missing_slice_is_excluded(shared_data):
    """One file less: the gap is found, with its place."""
    paths = sorted((shared_data / "dicom" / "covid_P001").iterdir())
    del paths[70]
    (series,) = read_series(paths).series
    assert "1 slice(s) missing" in (screen_headers(series).reason or "")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("lungfcp_0001", None),
        ("petct_mct_abdomen", "extent: too short: 20 slices over 40 mm"),
        ("ricord_sagittal", "image type: REFORMATTED, SECONDARY"),
    ],
)
def test_a_real_series_is_screened_as_what_it_is(shared_data, name, reason):
    """An upper chest without Image Type is a chest CT; a piece of the abdomen and sagittal reformats are told so."""
    (series,) = read_series([shared_data / "dicom" / name]).series
    _, screening = screen_series(series)
    if reason is None:
        assert screening.profile is Profile.CHEST_CT, screening.reason
        (extent,) = (one for one in screening.results if one.rule is Rule.EXTENT)
        assert "part of the lungs at best" in extent.value
    else:
        assert (screening.reason or "").startswith(reason)


@pytest.mark.parametrize("case", ["000", "004", "008"])
def test_lungs_agree_with_manual_ones(shared_data, case):
    """Dice of at least 0.96 with the manual lungs of radiotherapy planning CT, some of them in expiration."""
    with np.load(shared_data / "lctsc" / f"case_{case}.npz") as arrays:
        hu, truth, spacing = arrays["hu"], arrays["lung"], arrays["spacing_mm"]
    count = len(hu)
    volume = Volume(
        hu=hu,
        slice_positions_mm=np.arange(count) * float(spacing[0]),
        slice_weights_mm=np.full(count, float(spacing[0])),
        row_spacing_mm=float(spacing[1]),
        column_spacing_mm=float(spacing[2]),
        sop_instance_uids=tuple(str(index) for index in range(count)),
        frame_numbers=(None,) * count,
        native=NativeGrid(transposed=False, rows_flipped=False, columns_flipped=False),
    )
    mask = segment_lungs(volume, lung_model()).mask
    assert 2 * np.count_nonzero(mask & truth) / (np.count_nonzero(mask) + np.count_nonzero(truth)) >= 0.96


@pytest.mark.parametrize("name", ["covid_P001", "normal001"])
def test_lobes_of_a_real_series_fill_its_lungs(shared_data, name):
    """All five lobes are told, with the upper ones above the lower ones, and add up to the lungs."""
    (series,) = read_series([shared_data / "dicom" / name]).series
    volume = assemble(series)
    lungs = segment_lungs(volume, lung_model())
    lobes = estimate_lobes(volume, lungs, lobe_model())
    assert lobes.scorable, (lobes.cut, lobes.untold)
    np.testing.assert_array_equal(lobes.labels > 0, lungs.mask)
    heights = {label: np.nonzero(lobes.labels == label)[0].mean() for label in LOBE_LABELS}
    assert heights[4] > heights[5] > heights[6] - 5
    assert heights[7] > heights[8]
    shares = {label: np.count_nonzero(lobes.labels == label) / np.count_nonzero(lungs.mask) for label in LOBE_LABELS}
    assert 0.03 < shares[5] < min(shares[4], shares[6])
