"""Findings and policies by factory."""

from collections.abc import Callable
from typing import Any

import pytest
import sr_reports
from sr_reports import region_of

from alerts import AlertPolicy, ProfileThresholds
from analysis.findings import Findings, Profile, RegionFindings


def _findings(*, lung_ml: float = 4000.0, ggo_ml: float = 300.0, high_ml: float = 100.0, **changes: Any) -> Findings:
    volumes = {
        "both_lungs": region_of(lung_ml, ggo_ml, high_ml),
        "right_lung": region_of(lung_ml * 0.5, ggo_ml * 0.5, high_ml * 0.5),
        "left_lung": region_of(lung_ml * 0.5, ggo_ml * 0.5, high_ml * 0.5),
    }
    return sr_reports.make_findings(**(volumes | changes))


@pytest.fixture(scope="session")
def make_findings() -> Callable[..., Findings]:
    """Findings of 10 % burden; volumes by keyword, any other field replaced by name."""
    return _findings


@pytest.fixture(scope="session")
def make_region() -> Callable[[float, float, float], RegionFindings]:
    """A region from its lung, GGO and high-opacity volumes."""
    return region_of


@pytest.fixture(scope="session")
def policy() -> AlertPolicy:
    """Flags chest CT from 1 % and 5 mL, CTAC from 2 % and 10 mL; expects COVID and pneumonia."""
    return AlertPolicy(
        thresholds={
            Profile.CHEST_CT: ProfileThresholds(burden_percent=1.0, lesion_volume_ml=5.0),
            Profile.CTAC: ProfileThresholds(burden_percent=2.0, lesion_volume_ml=10.0),
        },
        expected_words=("covid", "sars-cov", "pneumonia", "corona"),
    )
