"""Quality: each shortcoming is found, said in words, and lowers the level; what is sound stays diagnostic."""

from typing import Any

import cv2
import numpy as np
import pytest
from scipy import ndimage

from analysis.anatomy import Lungs
from analysis.findings import Profile, Quality, QualityLevel
from analysis.measure import QualityLimits, ScanTags, assess_quality
from analysis.measure.coverage import measure_coverage
from analysis.measure.motion import measure_motion_mm
from analysis.measure.noise import measure_noise
from analysis.series import Outcome, Rule, RuleResult, Screening

_SCREENED = Screening(results=(), profile=Profile.CHEST_CT)


@pytest.fixture(scope="module")
def chest(make_chest):
    """A chest with vessels, and the lungs in it."""
    hu = make_chest().astype(np.float32)
    sides = np.zeros(hu.shape, np.uint8)
    for label, columns in ((1, slice(0, 112)), (2, slice(128, 240))):
        sides[..., columns] = label
    lungs = np.where((hu > -930) & (hu < -700), sides, 0).astype(np.uint8)
    for index in range(len(lungs)):
        lungs[index] = cv2.morphologyEx(lungs[index], cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
        lungs[index] = ndimage.grey_closing(lungs[index], 5)
    vessels = ndimage.gaussian_filter(np.random.default_rng(1).normal(0, 1, hu.shape), (1.0, 1.5, 1.5))
    hu += np.where(lungs > 0, 180 * np.clip(vessels / vessels.std() - 0.8, 0, None), 0)
    return np.rint(hu).clip(-1024, 3000).astype(np.int16), lungs


def _assess(make_volume: Any, hu: np.ndarray, lungs: np.ndarray, **more: Any) -> Quality:
    profile, screening = more.pop("profile", Profile.CHEST_CT), more.pop("screening", _SCREENED)
    return assess_quality(make_volume(hu), Lungs(labels=lungs), profile, screening, **more)


def test_a_sound_chest_is_diagnostic(chest, make_volume):
    """No reason, full coverage, air at -1000 HU, blood at 40 HU, no contrast, no jump."""
    quality = _assess(make_volume, *chest)
    assert (quality.level, quality.reasons) == (QualityLevel.DIAGNOSTIC, ())
    assert quality.lung_coverage_percent == 100
    assert quality.air_hu == pytest.approx(-1000, abs=10)
    assert quality.lung_hu == pytest.approx(-840, abs=25)
    assert quality.blood_hu == pytest.approx(40, abs=5)
    assert quality.motion_jump_mm is not None
    assert quality.motion_jump_mm < 4


@pytest.mark.parametrize(("sd_hu", "level"), [(30, "diagnostic"), (60, "limited"), (190, "not_analysable")])
def test_noise_is_measured_within_a_tenth_and_judged(chest, make_volume, sd_hu, level):
    """Noise of so many HU reads as so many, and from 45 and 150 HU on it counts."""
    hu, lungs = chest
    noisy = hu + np.random.default_rng(2).normal(0, np.sqrt(sd_hu**2 - 15**2), hu.shape)
    quality = _assess(make_volume, np.rint(noisy).clip(-1024, 3000), lungs)
    assert quality.noise_hu == pytest.approx(sd_hu, rel=0.1)
    assert quality.level == level


def test_the_grain_of_noise_tells_a_sharp_kernel(make_volume):
    """White noise at 0.7 mm is sharp; the same noise smoothed is not, and is measured at its full strength."""
    white = np.random.default_rng(3).normal(0, 60, (20, 160, 160))
    soft = ndimage.gaussian_filter(white, (0, 1.2, 1.2))
    spacing = (2.0, 0.7, 0.7)
    sharp_noise, soft_noise = (measure_noise(make_volume(40 + part, spacing)) for part in (white, soft))
    assert sharp_noise is not None
    assert soft_noise is not None
    assert sharp_noise.grain_mm < 0.6
    assert soft_noise.grain_mm > 1.0
    assert soft_noise.sd_hu == pytest.approx(soft.std(), rel=0.15)


@pytest.mark.parametrize(
    ("kernel", "sharp"), [("B30f", False), ("Br40", False), ("STANDARD", False), ("B70f", True), ("LUNG", True)]
)
def test_a_sharp_kernel_is_named(chest, make_volume, kernel, sharp):
    """By its name, as each maker writes it."""
    quality = _assess(make_volume, *chest, tags=ScanTags(convolution_kernel=kernel))
    assert any(f"kernel {kernel}" in reason for reason in quality.reasons) is sharp


def test_lungs_cut_off_are_told_by_end_and_share(chest, make_volume):
    """The upper half cut away: both lungs cut above, and about half of the height is there."""
    hu, lungs = chest
    quality = _assess(make_volume, hu[:30], lungs[:30])
    assert quality.level is QualityLevel.LIMITED
    assert "The right lung is cut off above." in quality.reasons
    assert "The left lung is cut off above." in quality.reasons
    assert not any("below" in reason for reason in quality.reasons)
    assert quality.lung_coverage_percent is not None
    assert quality.lung_coverage_percent < 60


def test_a_few_slices_of_lung_are_not_analysable(chest, make_volume):
    """Too little of the lungs, cut off at both ends."""
    hu, lungs = chest
    quality = _assess(make_volume, hu[20:27], lungs[20:27])
    assert quality.level is QualityLevel.NOT_ANALYSABLE
    assert quality.reasons[0] == "Too little of the lungs is imaged."


def test_a_lung_at_the_border_of_the_field_of_view_is_named(chest, make_volume):
    """Cropped through the right lung, or that part left out of the circle of reconstruction: right, and not left."""
    hu, lungs = chest
    cropped = measure_coverage(make_volume(hu[:, :, 60:]), Lungs(labels=lungs[:, :, 60:]))
    circle, inside = hu.copy(), lungs.copy()
    circle[:, :, :60], inside[:, :, :60] = -1024, 0
    padded = measure_coverage(make_volume(circle), Lungs(labels=inside))
    for coverage in (cropped, padded):
        assert coverage is not None
        assert coverage.sides == ("right",)
        assert coverage.cut_off_percent > 2
    assert any("right lung is cut off by the field of view" in r for r in _assess(make_volume, circle, inside).reasons)


@pytest.mark.parametrize("slip", [6, 9])
def test_a_breath_between_two_slices_shows(chest, make_volume, slip):
    """From one slice on the chest lies 12 mm and more further up: a jump, and the reason says so."""
    hu, lungs = chest
    breathed, moved = hu.copy(), lungs.copy()
    breathed[12:-slip], moved[12:-slip] = hu[12 + slip :], lungs[12 + slip :]
    quality = _assess(make_volume, breathed, moved)
    assert quality.motion_jump_mm is not None
    assert quality.motion_jump_mm > 4
    assert any("breathed or moved" in reason for reason in quality.reasons)


def test_few_slices_say_nothing_about_motion(chest, make_volume):
    """A dozen slices have no usual step to compare with."""
    hu, lungs = chest
    assert measure_motion_mm(make_volume(hu[20:32]), Lungs(labels=lungs[20:32])) is None


@pytest.mark.parametrize(("shift_hu", "level"), [(0, "diagnostic"), (100, "limited"), (170, "not_analysable")])
def test_a_scale_that_is_off_is_told_by_the_air(chest, make_volume, shift_hu, level):
    """Air is -1000 HU by definition; a hundred off is told, more than 150 cannot be measured on."""
    hu, lungs = chest
    quality = _assess(make_volume, hu + shift_hu, lungs, limits=QualityLimits(expiratory_lung_hu=0))
    assert quality.level == level
    assert any("Air around the body" in reason for reason in quality.reasons) is (shift_hu > 0)


def test_foam_is_not_lung(make_chest, make_volume, chest):
    """The same chest with lungs of one even density, however noisy: not analysable."""
    quality = _assess(make_volume, make_chest(noise_hu=25.0), chest[1])
    assert quality.level is QualityLevel.NOT_ANALYSABLE
    assert "even as foam" in quality.reasons[0]


def test_contrast_is_told_by_the_blood_or_by_the_header(chest, make_volume):
    """Bright blood, or a contrast agent in the header with blood that is not bright."""
    hu, lungs = chest
    bright = np.where((lungs == 0) & (hu > -50) & (hu < 150), hu + 180, hu)
    assert any("(220 HU)" in reason or "Contrast" in reason for reason in _assess(make_volume, bright, lungs).reasons)
    told = _assess(make_volume, hu, lungs, tags=ScanTags(contrast_bolus_agent="Iomeron")).reasons
    assert any("name a contrast agent" in reason for reason in told)


def test_expiration_is_told_outside_the_opacities(chest, make_volume):
    """Dense lung is expiration; the same density marked as opacity is not held against the images."""
    hu, lungs = chest
    dense = np.where(lungs > 0, hu + 150, hu)
    assert any("expiration" in reason for reason in _assess(make_volume, dense, lungs).reasons)
    half = np.where((lungs > 0) & (np.arange(hu.shape[1])[:, None] > 110), hu + 400, hu)
    opacity = ((lungs > 0) & (np.arange(hu.shape[1])[:, None] > 110)).astype(np.uint8)
    assert not any("expiration" in r for r in _assess(make_volume, half, lungs, lesions=opacity).reasons)


def test_methods_that_disagree_lower_the_level(chest, make_volume):
    """A Dice of 0.85 is limited, of 0.5 not analysable, and of 0.97 no matter."""
    levels = [_assess(make_volume, *chest, lung_agreement=dice).level for dice in (0.97, 0.85, 0.5)]
    assert levels == ["diagnostic", "limited", "not_analysable"]


def test_what_screening_noted_is_a_reason(chest, make_volume):
    """Slices that do not touch, unequal steps and a tilted gantry are said in words; other notes are not."""
    results = tuple(
        RuleResult(rule=rule, value="", expected="", outcome=Outcome.NOTED)
        for rule in (Rule.SLICE_CONTACT, Rule.SLICE_STEP, Rule.GANTRY_TILT, Rule.BODY_PART)
    )
    quality = _assess(make_volume, *chest, screening=Screening(results=results, profile=Profile.CHEST_CT))
    assert len(quality.reasons) == 3
    assert quality.level is QualityLevel.LIMITED


def test_a_ctac_is_limited_by_its_nature(chest, make_volume):
    """Shallow breathing and low dose are said in words."""
    quality = _assess(make_volume, *chest, profile=Profile.CTAC)
    assert quality.level is QualityLevel.LIMITED
    assert any("attenuation correction" in reason for reason in quality.reasons)


def test_without_lungs_nothing_is_measured(make_volume, make_chest):
    """No lung at all: not analysable, and no figure of the lungs."""
    quality = _assess(make_volume, make_chest(20), np.zeros((20, 200, 240), np.uint8))
    assert quality.level is QualityLevel.NOT_ANALYSABLE
    assert (quality.lung_coverage_percent, quality.lung_hu, quality.motion_jump_mm) == (None, None, None)
