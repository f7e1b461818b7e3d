"""Findings and policies by factory."""

from collections.abc import Callable
from typing import Any

import pytest

from alerts import AlertPolicy, ProfileThresholds
from analysis.findings import Findings, Profile, Provenance, Quality, QualityLevel, RegionFindings


def _region(lung_ml: float, ggo_ml: float, high_ml: float) -> RegionFindings:
    return RegionFindings(
        lung_volume_ml=lung_ml,
        ggo_volume_ml=ggo_ml,
        high_opacity_volume_ml=high_ml,
        high_density_volume_ml=high_ml / 2,
    )


def _findings(*, lung_ml: float = 4000.0, ggo_ml: float = 300.0, high_ml: float = 100.0, **changes: Any) -> Findings:
    values: dict[str, Any] = {
        "study_instance_uid": "1.2.3",
        "series_instance_uid": "1.2.3.4",
        "revision": 1,
        "profile": Profile.CHEST_CT,
        "profile_cues": (),
        "slice_count": 3,
        "both_lungs": _region(lung_ml, ggo_ml, high_ml),
        "right_lung": _region(lung_ml * 0.5, ggo_ml * 0.5, high_ml * 0.5),
        "left_lung": _region(lung_ml * 0.5, ggo_ml * 0.5, high_ml * 0.5),
        "lobes": {},
        "lss": None,
        "lhos": None,
        "lesion_count": 7,
        "lesion_mean_hu": -512.3456,
        "lesion_sd_hu": 140.25,
        "key_slices": (),
        "quality": Quality(level=QualityLevel.DIAGNOSTIC),
        "provenance": Provenance(
            model_name="opacity-convlstm",
            model_version="1.0.0",
            weights_sha256="ab" * 32,
            thresholds={"ggo": 0.5, "high_opacity": 0.4},
            runtime="torch 2.13",
            device="cpu",
            software_version="0.1.0",
        ),
    }
    return Findings(**(values | changes))


@pytest.fixture(scope="session")
def make_findings() -> Callable[..., Findings]:
    """Findings of 10 % burden; volumes by keyword, any other field replaced by name."""
    return _findings


@pytest.fixture(scope="session")
def make_region() -> Callable[[float, float, float], RegionFindings]:
    """A region from its lung, GGO and high-opacity volumes."""
    return _region


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
