"""Which series are analysed, and the reason for every one that is not."""

import math

import numpy as np
import pytest
from model_sets import lung_model
from pydicom.uid import MRImageStorage, NuclearMedicineImageStorage, PositronEmissionTomographyImageStorage

from analysis.anatomy import segment_lungs
from analysis.findings import Profile
from analysis.series import Outcome, Rule, StudyContext, screen_headers, screen_volume


def test_a_plain_chest_ct_is_eligible_and_every_rule_leaves_a_trace(make_series):
    """A plain chest CT passes, and every rule says what it saw."""
    screening = screen_headers(make_series())
    assert screening.eligible
    assert screening.reason is None
    assert screening.profile is Profile.CHEST_CT
    applied = [result.rule for result in screening.results]
    later = {
        *(Rule.STORED_VALUES, Rule.HOUNSFIELD_SCALE, Rule.LUNG_PRESENT),
        *(Rule.RECONSTRUCTION, Rule.OTHER_RECONSTRUCTION, Rule.READABLE, Rule.ON_DISK, Rule.ONE_STUDY, Rule.SCREENING),
    }
    assert len(set(applied)) == len(applied)
    assert set(applied) == set(Rule) - later
    assert all(result.value and result.expected for result in screening.results)


def _tilted(degrees: float) -> tuple[float, ...]:
    angle = math.radians(degrees)
    return (1, 0, 0, 0, math.cos(angle), -math.sin(angle))


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("SOP class", {"sop_class_uid": MRImageStorage}),
        ("SOP class", {"sop_class_uid": PositronEmissionTomographyImageStorage}),
        ("modality", {"modality": "MR"}),
        ("image type", {"image_type": ("ORIGINAL", "PRIMARY", "LOCALIZER")}),
        ("image type", {"image_type": ("DERIVED", "SECONDARY", "AXIAL", "MPR")}),
        ("description", {"series_description": "Topogram 0.6"}),
        ("description", {"series_description": "Chest MIP axial"}),
        ("matrix", {"rows": lambda index: 512 if index else 256}),
        ("matrix", {"pixel_spacing_mm": lambda index: (0.7, 0.7) if index else (0.8, 0.8)}),
        ("plane attributes", {"image_position_patient_mm": None}),
        ("plane attributes", {"number_of_frames": 2}),
        ("orientation", {"image_orientation_patient": (1, 0, 0, 0, 0, -1)}),
        ("orientation", {"image_orientation_patient": lambda index: _tilted(3) if index == 50 else (1, 0, 0, 0, 1, 0)}),
        ("gantry tilt", {"image_orientation_patient": _tilted(15), "gantry_detector_tilt_deg": 15.0}),
        ("slice positions", {"image_position_patient_mm": lambda index: (0.0, 0.0, 2.0 * (index // 2))}),
        ("alignment", {"image_position_patient_mm": lambda index: (9.0 * (index % 2), 0.0, 2.0 * index)}),
        ("slice step", {"image_position_patient_mm": lambda index: (0.0, 0.0, 2.0 * (index + (index > 40)))}),
        ("slice step", {"image_position_patient_mm": lambda index: (0.0, 0.0, 20.0 * index)}),
        ("field of view", {"pixel_spacing_mm": (0.2, 0.2)}),
        ("rescale", {"rescale_slope": None}),
    ],
)
def test_a_rule_excludes_and_is_the_reason(make_series, rule, changes):
    """What cannot be analysed is excluded by the rule that names it first."""
    screening = screen_headers(make_series(**changes))
    assert not screening.eligible
    assert screening.profile is None
    assert screening.reason is not None
    assert screening.reason.startswith(f"{rule}: ")


def test_a_series_that_is_too_short_is_excluded(make_series):
    """Twenty slices over 40 mm hold too little lung."""
    assert "too short: 20 slices over 40 mm" in (screen_headers(make_series(20)).reason or "")


def test_a_missing_slice_is_named_by_its_position(make_series):
    """The reason says where the slice is missing."""
    moved = make_series(image_position_patient_mm=lambda index: (0.0, 0.0, 2.0 * (index + (index > 40))))
    assert "1 slice(s) missing at 82.0 mm" in (screen_headers(moved).reason or "")


@pytest.mark.parametrize("description", ["Thorax_Cor", "Compressed", "Emphysema", "MIPS study"])
def test_a_description_that_merely_contains_a_word_is_not_excluded(make_series, description):
    """Only whole words of the description count."""
    assert screen_headers(make_series(series_description=description)).eligible


def test_a_derived_axial_ctac_is_eligible(make_series):
    """Siemens marks axial CTAC as DERIVED; that alone excludes nothing."""
    image_type = ("DERIVED", "CT_SOM5 SPI", "PRIMARY", "AXIAL")
    assert screen_headers(make_series(image_type=image_type)).eligible


def test_a_localizer_within_the_series_is_left_out_and_noted(make_series):
    """One localizer among 120 slices costs nothing but a note."""
    words = ("ORIGINAL", "PRIMARY", "LOCALIZER")
    mixed = make_series(image_type=lambda index: words if index == 0 else ("ORIGINAL", "PRIMARY", "AXIAL"))
    screening = screen_headers(mixed)
    assert screening.eligible
    assert {result.rule: result.outcome for result in screening.results}["image type"] is Outcome.NOTED


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("body part", {"body_part_examined": "HEAD"}),
        ("slice contact", {"slice_thickness_mm": 1.0}),
        ("slice contact", {"slice_thickness_mm": None}),
        ("slice step", {"image_position_patient_mm": lambda index: (0.0, 0.0, 2.0 * index + 0.08 * (index % 2))}),
        ("gantry tilt", {"image_orientation_patient": _tilted(3), "gantry_detector_tilt_deg": 3.0}),
        ("gantry tilt", {"gantry_detector_tilt_deg": 15.0}),
        ("rescale", {"rescale_type": "US"}),
        ("field of view", {"pixel_spacing_mm": (0.4, 0.4)}),
    ],
)
def test_a_small_irregularity_is_noted_and_analysed(make_series, rule, changes):
    """What merely lowers the quality is noted."""
    screening = screen_headers(make_series(**changes))
    assert screening.eligible
    assert {result.rule: result.outcome for result in screening.results}[rule] is Outcome.NOTED


def test_emission_series_are_kept_as_context(make_series):
    """An NM series is excluded, and the reason says that it is kept as context."""
    screening = screen_headers(make_series(sop_class_uid=NuclearMedicineImageStorage, modality="NM"))
    assert "kept as context" in (screening.reason or "")


@pytest.mark.parametrize("description", ["AC CT", "CT AC 3.0", "CTAC", "CT Attn Corr", "ACCT", "WB CTAC"])
def test_a_description_tells_a_ctac(make_series, description):
    """The usual names of attenuation-correction CT are enough by themselves."""
    screening = screen_headers(make_series(series_description=description))
    assert screening.profile is Profile.CTAC
    assert any("description" in cue for cue in screening.profile_cues)


def test_an_emission_series_in_the_same_frame_of_reference_with_other_cues_tells_a_ctac(make_series):
    """PT beside it, a PET/CT scanner and a wide field of view add up."""
    context = StudyContext(modalities=frozenset({"PT", "CT"}), emission_frame_of_reference_uids=frozenset({"1.2.4"}))
    wide = {"manufacturer_model_name": "Biograph 40", "reconstruction_diameter_mm": 600.0, "slice_thickness_mm": 3.0}
    assert screen_headers(make_series(context=context, **wide)).profile is Profile.CTAC
    lung = {"manufacturer_model_name": "Biograph 40", "series_description": "Lung 1.0", "slice_thickness_mm": 1.0}
    assert screen_headers(make_series(context=context, **lung)).profile is Profile.CHEST_CT


def test_a_chest_passes_the_pixel_rules(make_volume, make_chest):
    """HU with air, tissue and lung pass."""
    scan = make_volume(make_chest())
    assert all(
        result.outcome is Outcome.PASSED for result in screen_volume(scan, segment_lungs(scan, lung_model()).mask)
    )


@pytest.mark.parametrize(("slope", "offset"), [(1.0, 1000.0), (0.4, 400.0), (0.0001, 0.1)])
def test_a_map_that_is_not_in_hounsfield_units_is_excluded(make_volume, make_chest, slope, offset):
    """A map of attenuation coefficients has no air near -1000."""
    scan = make_volume(make_chest() * slope + offset)
    _, scale, _ = screen_volume(scan, np.zeros(scan.hu.shape, bool))
    assert scale.outcome is Outcome.EXCLUDED


def test_a_body_without_lungs_is_excluded(make_volume, make_chest):
    """A body of water with no lung in it has none."""
    hu = make_chest()
    scan = make_volume(np.where((hu < -700) & (hu > -950), np.int16(40), hu))
    *_, lung = screen_volume(scan, segment_lungs(scan, lung_model()).mask)
    assert lung.outcome is Outcome.EXCLUDED
