"""Volumes on slices of a tilted gantry, from files to millilitres."""

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from analysis.anatomy import Lungs
from analysis.measure import measure
from analysis.series import assemble, read_series

_ROWS, _COLUMNS, _ROW_MM, _COLUMN_MM = 120, 110, 1.0, 0.9
_HALF_AXES_MM = (40.0, 45.0, 70.0)
_INSIDE_HU, _OUTSIDE_HU = -500, 40


def _write(folder: Path, tilt_deg: float, table_steps_mm: list[float]) -> None:
    """An ellipsoid about (0, 0, 100) in the patient's coordinates, cut by slices that lean while the table moves on."""
    tilt = np.deg2rad(tilt_deg)
    down = np.asarray([0.0, np.cos(tilt), -np.sin(tilt)])
    across = np.asarray([1.0, 0.0, 0.0])
    z = 0.0
    for number, step in enumerate(table_steps_mm, start=1):
        z += step
        origin = -across * _COLUMN_MM * (_COLUMNS - 1) / 2 - down * _ROW_MM * (_ROWS - 1) / 2 + np.asarray([0, 0, z])
        rows, columns = np.arange(_ROWS)[:, None, None], np.arange(_COLUMNS)[None, :, None]
        place = origin + rows * _ROW_MM * down + columns * _COLUMN_MM * across - np.asarray([0, 0, 100.0])
        inside = ((place / np.asarray(_HALF_AXES_MM)) ** 2).sum(axis=2) < 1
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = CTImageStorage
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = f"1.2.3.{number}"
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.Modality = "1.2", "1.2.3", "CT"
        dataset.ImageType, dataset.InstanceNumber = ["ORIGINAL", "PRIMARY", "AXIAL"], number
        dataset.ImageOrientationPatient = [f"{value:.9f}" for value in (*across, *down)]
        dataset.ImagePositionPatient = [f"{value:.6f}" for value in origin]
        dataset.PixelSpacing, dataset.SliceThickness = [_ROW_MM, _COLUMN_MM], 3
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.Rows, dataset.Columns = inside.shape
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
        dataset.PixelData = np.where(inside, _INSIDE_HU + 1024, _OUTSIDE_HU + 1024).astype("<u2").tobytes()
        dataset.save_as(folder / f"{number:03d}.dcm", enforce_file_format=True)


@pytest.mark.parametrize("tilt_deg", [0.0, 6.0, 20.0])
@pytest.mark.parametrize("steps", [[2.0] * 100, [1.0, 3.0] * 50], ids=["even", "uneven"])
def test_a_tilted_gantry_changes_no_volume(tilt_deg: float, steps: list[float], tmp_path: Path) -> None:
    """The same ellipsoid of 528 mL on slices that lean by 0, 6 or 20 degrees, evenly spaced or not: within 1 %.

    Slices lie closer together along their normal than the table moves; a volume by table steps would be 6 % too large.
    """
    _write(tmp_path, tilt_deg, steps)
    volume = assemble(read_series([tmp_path]).series[0])
    ellipsoid = (volume.hu == _INSIDE_HU).astype(np.uint8)
    found = measure(volume, Lungs(labels=ellipsoid), ellipsoid)
    expected_ml = 4 / 3 * np.pi * np.prod(_HALF_AXES_MM) / 1000
    assert found.right_lung.lung_volume_ml == pytest.approx(expected_ml, rel=0.01)
    assert found.right_lung.ggo_volume_ml == pytest.approx(expected_ml, rel=0.01)
