"""A CTAC is told by weighed cues, and never by a loose word."""

import pytest

from analysis.findings import Profile
from analysis.series import StudyContext, screen_headers

SCREENING = {"convolution_kernel": "STANDARD", "exposure_mas": 20.0, "manufacturer_model_name": "Revolution EVO"}
WIDE = {"slice_thickness_mm": 5.0, "reconstruction_diameter_mm": 500.0, "exposure_mas": 30.0}


@pytest.mark.parametrize(
    "description", ["LDCT CHEST 2.5", "LD CT THORAX", "CHEST LOW DOSE 2.5", "LD-CT Screening", "LDCT lung nodule"]
)
@pytest.mark.parametrize("changes", [{}, WIDE, {**WIDE, "study_description": "CT LOW DOSE LUNG SCREENING"}])
def test_a_low_dose_screening_ct_is_no_ctac(make_series, description, changes):
    """Low dose, soft kernel, thick slices and a wide field of view are what a screening CT has as well."""
    screening = screen_headers(make_series(series_description=description, **{**SCREENING, **changes}))
    assert screening.profile is Profile.CHEST_CT
    assert any("description says" in cue for cue in screening.profile_cues)


def test_low_dose_with_its_emission_series_is_a_ctac(make_series):
    """The same words beside a PT series in the same frame of reference, on a PET/CT."""
    context = StudyContext(modalities=frozenset({"PT", "CT"}), emission_frame_of_reference_uids=frozenset({"1.2.4"}))
    series = make_series(series_description="LD CT", manufacturer_model_name="Biograph 64", context=context)
    assert screen_headers(series).profile is Profile.CTAC


def test_the_weights_are_shown(make_series):
    """Each cue with its points, and the sum with what it takes."""
    cues = screen_headers(make_series(series_description="CTAC", contrast_bolus_agent="Iomeprol")).profile_cues
    assert cues == ('+4 description says "CTAC"', "-2 contrast agent", "together +2: a CTAC from +4 on")
