"""Factories of headers and volumes that say nothing in particular but what a test asks for."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from analysis.series import InstanceHeader, NativeGrid, Series, StudyContext, Volume


def header(index: int = 0, **changes: Any) -> InstanceHeader:
    """One axial slice of a plain chest CT, 2 mm above the one before."""
    plain = InstanceHeader(
        path=Path(f"slice{index}.dcm"),
        sop_instance_uid=f"1.2.3.{index + 1}",
        sop_class_uid=CTImageStorage,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        study_instance_uid="1.2",
        series_instance_uid="1.2.3",
        frame_of_reference_uid="1.2.4",
        modality="CT",
        image_type=("ORIGINAL", "PRIMARY", "AXIAL"),
        series_number=2,
        instance_number=index + 1,
        acquisition_number=1,
        series_description="Thorax 2.0",
        study_description="Thorax",
        protocol_name="Thorax",
        requested_procedure="",
        reason_for_request="",
        body_part_examined="CHEST",
        patient_position="HFS",
        convolution_kernel="B30f",
        manufacturer="Maker",
        manufacturer_model_name="Scanner",
        rows=512,
        columns=512,
        number_of_frames=1,
        pixel_spacing_mm=(0.7, 0.7),
        image_orientation_patient=(1, 0, 0, 0, 1, 0),
        image_position_patient_mm=(-180.0, -180.0, 2.0 * index),
        slice_thickness_mm=2.0,
        gantry_detector_tilt_deg=0.0,
        rescale_slope=1.0,
        rescale_intercept=-1024.0,
        rescale_type="HU",
        reconstruction_diameter_mm=360.0,
        kvp=120.0,
        exposure_mas=110.0,
        contrast_bolus_agent="",
    )
    return replace(plain, **changes)


def series(count: int = 120, *, context: StudyContext | None = None, **changes: Any) -> Series:
    """A plain chest CT; every header takes the changes, a callable among them is asked for each index."""
    headers = tuple(
        header(index, **{name: value(index) if callable(value) else value for name, value in changes.items()})
        for index in range(count)
    )
    first = headers[0]
    return Series(
        study_instance_uid=first.study_instance_uid,
        series_instance_uid=first.series_instance_uid,
        revision=1,
        headers=headers,
        context=context or StudyContext(),
    )


def volume(hu: np.ndarray, spacing_mm: tuple[float, float, float] = (2.0, 1.5, 1.5)) -> Volume:
    """A volume of evenly spaced slices."""
    count = len(hu)
    return Volume(
        hu=hu.astype(np.int16),
        slice_positions_mm=np.arange(count) * spacing_mm[0],
        slice_weights_mm=np.full(count, spacing_mm[0]),
        row_spacing_mm=spacing_mm[1],
        column_spacing_mm=spacing_mm[2],
        sop_instance_uids=tuple(f"1.2.3.{index + 1}" for index in range(count)),
        frame_numbers=(None,) * count,
        native=NativeGrid(transposed=False, rows_flipped=False, columns_flipped=False),
    )


def chest(count: int = 60, *, noise_hu: float = 15.0, seed: int = 0) -> np.ndarray:
    """A crude chest at 2 x 1.5 x 1.5 mm: body, two lungs that taper at both ends, trachea above, spine."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:200, :240]
    hu = np.full((count, 200, 240), -1000.0)
    for index in range(count):
        taper = np.sqrt(max(0.0, 1 - ((index - count / 2) / (count / 2 - 2)) ** 2))
        plane = hu[index]
        plane[((rows - 100) / 75) ** 2 + ((columns - 120) / 105) ** 2 < 1] = 40
        if taper > 0:
            for middle in (70, 170):
                plane[((rows - 100) / (52 * taper)) ** 2 + ((columns - middle) / (34 * taper)) ** 2 < 1] = -850
        plane[((rows - 155) / 12) ** 2 + ((columns - 120) / 12) ** 2 < 1] = 300
        if index > count / 2:
            plane[(rows - 85) ** 2 + (columns - 120) ** 2 < 6**2] = -1000
    return np.clip(np.rint(hu + random.normal(0, noise_hu, hu.shape)), -1024, 3000).astype(np.int16)


@pytest.fixture(scope="session")
def make_header() -> Callable[..., InstanceHeader]:
    return header


@pytest.fixture(scope="session")
def make_series() -> Callable[..., Series]:
    return series


@pytest.fixture(scope="session")
def make_volume() -> Callable[..., Volume]:
    return volume


@pytest.fixture(scope="session")
def make_chest() -> Callable[..., np.ndarray]:
    return chest
