"""The PET series that goes with an attenuation-correction CT: context for the node, never analysed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import PositronEmissionTomographyImageStorage
from scipy import ndimage

from dicom_node.simulator.phantom import Phantom
from dicom_node.simulator.series import SeriesHeader, decimal, examination, header_for, save, set_pixels

_PET_STEP = 4
_TISSUE_HU = -300
_UPTAKE_LUNG_BQML = 900.0
_UPTAKE_TISSUE_BQML = 4200.0


def write_pet_series(phantom: Phantom, folder: Path, header: SeriesHeader | None = None) -> list[Path]:
    """Write a PET series in the frame of reference of the phantom's CT, every slice, on a coarser matrix."""
    ct_header = header or header_for(phantom)
    pet_header = replace(
        ct_header, series_description="PET WB AC", series_number=ct_header.series_number + 1, kernel="OSEM"
    )
    folder.mkdir(parents=True, exist_ok=True)
    coarse = phantom.hu[:, ::_PET_STEP, ::_PET_STEP].astype(np.float32)
    uptake = np.where(coarse > _TISSUE_HU, _UPTAKE_TISSUE_BQML, np.where(coarse > -950, _UPTAKE_LUNG_BQML, 0.0))
    uptake = ndimage.gaussian_filter(uptake, (0.5, 1.0, 1.0))
    count = len(uptake)
    paths: list[Path] = []
    for number in range(1, count + 1):
        index = count - number
        dataset = _pet_image(phantom, pet_header, uptake[index], index=index, number=number, count=count)
        paths.append(save(dataset, folder / f"{pet_header.series_number:02d}-{number:04d}.dcm"))
    return paths


def _pet_image(
    phantom: Phantom, header: SeriesHeader, uptake: np.ndarray, *, index: int, number: int, count: int
) -> Dataset:
    """One slice as a PET Image (PS3.3 section A.21)."""
    dataset = examination(header, modality="PT")
    dataset.SOPClassUID = PositronEmissionTomographyImageStorage
    dataset.SOPInstanceUID = header.uid("image", header.series_number, number)
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    del dataset.PatientPosition  # the orientation codes below stand for it
    dataset.Units = "BQML"
    dataset.CountsSource = "EMISSION"
    dataset.SeriesType = ["WHOLE BODY", "IMAGE"]
    dataset.NumberOfSlices = count
    dataset.CorrectedImage = ["DECY", "ATTN", "SCAT", "NORM"]
    dataset.DecayCorrection = "START"
    dataset.CollimatorType = "NONE"
    dataset.AttenuationCorrectionMethod = "measured from CT"
    dataset.RandomsCorrectionMethod = "DLYD"
    dataset.RadiopharmaceuticalInformationSequence = Sequence([_tracer()])
    dataset.PatientOrientationCodeSequence = Sequence([_code("102538003", "SCT", "recumbent")])
    dataset.PatientOrientationCodeSequence[0].PatientOrientationModifierCodeSequence = Sequence(
        [_code("40199007", "SCT", "supine")]
    )
    dataset.PatientGantryRelationshipCodeSequence = Sequence([_code("102540008", "SCT", "headfirst")])
    dataset.FrameReferenceTime = decimal(1000.0 * index)
    dataset.ActualFrameDuration = 120000
    dataset.ImageIndex = number
    dataset.DecayFactor = 1
    x_mm, y_mm, z_mm = phantom.first_position_mm
    pixel_mm = phantom.pixel_spacing_mm * _PET_STEP
    dataset.InstanceNumber = number
    dataset.SliceThickness = decimal(phantom.slice_spacing_mm)
    dataset.PixelSpacing = [decimal(pixel_mm)] * 2
    dataset.ImagePositionPatient = [
        decimal(x_mm),
        decimal(y_mm),
        decimal(z_mm + index * phantom.slice_spacing_mm),
    ]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    set_pixels(dataset, np.rint(uptake).astype(np.uint16))
    dataset.BitsStored, dataset.HighBit = 16, 15
    dataset.RescaleIntercept = 0
    dataset.RescaleSlope = 1
    return dataset


def _tracer() -> Dataset:
    tracer = Dataset()
    tracer.Radiopharmaceutical = "Fluorodeoxyglucose"
    tracer.RadiopharmaceuticalStartTime = "091500"
    tracer.RadionuclideTotalDose = 300000000
    tracer.RadionuclideHalfLife = 6586
    tracer.RadionuclideCodeSequence = Sequence([_code("77004003", "SCT", "^18^Fluorine")])
    return tracer


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code
