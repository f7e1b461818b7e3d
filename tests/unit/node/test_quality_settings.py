"""Limits of image quality in the settings."""

from dataclasses import asdict

from analysis.measure import QUALITY_LIMITS
from dicom_node.settings import Quality, Settings
from dicom_node.work.publishing import quality_limits


def test_the_settings_hold_every_limit_with_the_analysis_own_default() -> None:
    """Nothing set: the limits are those that the analysis would use by itself; each can be set."""
    assert quality_limits(Settings().quality) == QUALITY_LIMITS
    assert set(Quality.model_fields) == set(asdict(QUALITY_LIMITS))
    assert quality_limits(Quality(limited_noise_hu=30)).limited_noise_hu == 30
