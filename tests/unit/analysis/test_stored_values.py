"""Headers that contradict the pixels: corrected by a rule that says so, or left out with the value; never figures."""

import numpy as np
import pytest
from ct_files import MATRIX, ct_slices, set_pixels, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis.series import Outcome, Rule, assemble, read_series, screen_headers, screen_volume

HU = np.where(np.hypot(*(np.mgrid[:MATRIX, :MATRIX] - MATRIX / 2)) < 28, 40, -1000)


def _written(folder, stored, **changes):
    slices = ct_slices(12, BitsStored=12, HighBit=11, **changes)
    for dataset in slices:
        set_pixels(dataset, stored)
    return read_series([write(slices, folder)]).series[0]


def _verdict(series):
    volume = assemble(series)
    first, *_ = screen_volume(volume, volume.hu < -500)
    assert first.rule is Rule.STORED_VALUES
    return volume, first


def test_padding_beyond_bits_stored_is_padding(tmp_path):
    """-2000 beside 12 bits is written as 63536: it is taken out before the bits are masked."""
    corner = np.hypot(*(np.mgrid[:MATRIX, :MATRIX] - MATRIX / 2)) > 32
    stored = np.where(corner, 63536, HU + 1024)
    volume, result = _verdict(_written(tmp_path, stored, PixelPaddingValue=63536))
    assert result.outcome is Outcome.PASSED
    assert (volume.hu[:, corner] == -1024).all()
    assert (volume.hu[:, ~corner] == HU[~corner]).all()


def test_high_bit_is_read_and_noted(tmp_path):
    """Twelve bits at the top of sixteen are read from there; where the header says otherwise, they are left out."""
    _, result = _verdict(_written(tmp_path / "unsaid", (HU + 1024) << 4))
    assert result.outcome is Outcome.EXCLUDED
    slices = ct_slices(12, BitsStored=12, HighBit=15)
    for dataset in slices:
        set_pixels(dataset, (HU + 1024) << 4)
    (series,) = read_series([write(slices, tmp_path / "said")]).series
    volume, result = _verdict(series)
    assert result.outcome is Outcome.PASSED
    assert (volume.hu == HU).all()
    noted = next(one for one in screen_headers(series).results if one.rule is Rule.PIXEL_FORMAT)
    assert noted.outcome is Outcome.NOTED
    assert "High Bit 15" in noted.value


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.integers(4096, 65535))
def test_a_value_beyond_bits_stored_is_named(tmp_path_factory, value):
    """Not a confident number: the series is left out, and the reason names the value."""
    stored = HU + 1024
    stored[5, 5] = value
    _, result = _verdict(_written(tmp_path_factory.mktemp("beyond"), stored))
    assert result.outcome is Outcome.EXCLUDED
    assert str(value) in result.value


def test_overlay_planes_in_the_pixels_are_no_contradiction(tmp_path):
    """The header says that bit 12 is an overlay: it is masked out, as before."""
    from pydicom.dataset import Dataset

    slices = ct_slices(12, BitsStored=12, HighBit=11)
    for dataset in slices:
        overlay = Dataset()
        overlay.add_new((0x6000, 0x0100), "US", 16)
        overlay.add_new((0x6000, 0x0102), "US", 12)
        dataset.update(overlay)
        set_pixels(dataset, (HU + 1024) | (1 << 12))
    volume, result = _verdict(read_series([write(slices, tmp_path)]).series[0])
    assert result.outcome is Outcome.PASSED
    assert (volume.hu == HU).all()


@pytest.mark.parametrize("extended", [True, False])
def test_a_sign_may_be_extended_or_not(tmp_path, extended):
    """Two's complement in 12 bits: what lies above them is no value."""
    slices = ct_slices(12, BitsStored=12, HighBit=11, PixelRepresentation=1, RescaleIntercept=0)
    for dataset in slices:
        set_pixels(dataset, HU & (0xFFFF if extended else 0x0FFF))
    volume, result = _verdict(read_series([write(slices, tmp_path)]).series[0])
    assert result.outcome is Outcome.PASSED
    assert (volume.hu == HU).all()


@pytest.mark.parametrize(
    ("changes", "rule", "named"),
    [
        ({"BitsStored": 20}, Rule.PIXEL_FORMAT, "Bits Stored 20"),
        ({"HighBit": 5}, Rule.PIXEL_FORMAT, "High Bit 5"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, Rule.PIXEL_FORMAT, "RGB"),
        ({"RescaleSlope": 0}, Rule.RESCALE, "slope 0"),
        ({"RescaleSlope": -1}, Rule.RESCALE, "slope -1"),
        ({"RescaleIntercept": "1000000"}, Rule.RESCALE, "intercept 1e+06"),
    ],
)
def test_a_format_that_cannot_be_is_excluded_by_name(tmp_path, changes, rule, named):
    """Tag and value stand in the reason."""
    (series,) = read_series([write(ct_slices(12, **changes), tmp_path)]).series
    screening = screen_headers(series)
    assert (screening.reason or "").startswith(f"{rule}: ")
    assert named in (screening.reason or "")


def test_lossy_and_eight_bits_are_said(tmp_path):
    """They stay, and the note says what they are."""
    changes = {"BitsStored": 8, "HighBit": 7, "LossyImageCompression": "01", "LossyImageCompressionRatio": "12"}
    (series,) = read_series([write(ct_slices(12, **changes), tmp_path)]).series
    noted = next(one for one in screen_headers(series).results if one.rule is Rule.COMPRESSION)
    assert noted.outcome is Outcome.NOTED
    assert noted.value == "lossy compression, ratio 12; 8 bits a pixel"
