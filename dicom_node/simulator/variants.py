"""Series that a node must not analyse, or not as they come: what tests and trials send to see the reason."""

from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from pathlib import Path

import numpy as np
from pydicom.uid import MRImageStorage
from scipy import ndimage

from dicom_node.simulator.phantom import Phantom
from dicom_node.simulator.series import (
    SeriesHeader,
    ct_image,
    decimal,
    header_for,
    save,
    set_pixels,
    write_series,
)

_TILT_DEGREES = 12.0
_WATER_PER_CM = 0.096
_MU_SCALE = 10000
_WATER_HALF_WIDTH_MM = 90.0


class Variant(StrEnum):
    """What is wrong, or different, with the series."""

    MISSING_SLICE = "missing-slice"
    MR = "mr"
    LOCALIZER = "localizer"
    NO_LUNGS = "no-lungs"
    MU_MAP = "mu-map"
    TILTED = "tilted"
    TWO_RECONSTRUCTIONS = "two-reconstructions"


def write_variant(variant: Variant, phantom: Phantom, folder: Path, header: SeriesHeader | None = None) -> list[Path]:
    """Write the phantom as a series that is wrong in the way named; the salt differs from the sound series'."""
    given = header or header_for(phantom)
    folder.mkdir(parents=True, exist_ok=True)
    return _WRITERS[variant](phantom, folder, replace(given, salt=f"{given.salt}/{variant}"))


def _missing_slice(phantom: Phantom, folder: Path, header: SeriesHeader) -> list[Path]:
    paths = write_series(phantom, folder, header)
    paths.pop(len(paths) // 2).unlink()
    return paths


def _mr(phantom: Phantom, folder: Path, header: SeriesHeader) -> list[Path]:
    mr_header = replace(header, series_description="t2 haste tra", study_description="MR THORAX", kernel="")
    count = len(phantom.hu)
    paths: list[Path] = []
    for number in range(1, count + 1):
        dataset = ct_image(phantom, mr_header, index=count - number, number=number)
        dataset.SOPClassUID = MRImageStorage
        dataset.Modality = "MR"
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "M"]
        for keyword in (
            "KVP", "GantryDetectorTilt", "TableHeight", "RotationDirection", "ExposureTime", "XRayTubeCurrent",
            "Exposure", "ConvolutionKernel", "RescaleIntercept", "RescaleSlope", "RescaleType",
            "ReconstructionDiameter",
        ):  # fmt: skip
            delattr(dataset, keyword)
        dataset.ScanningSequence, dataset.SequenceVariant, dataset.ScanOptions = "SE", "SK", ""
        dataset.MRAcquisitionType, dataset.EchoTime, dataset.EchoTrainLength = "2D", 90, 128
        dataset.RepetitionTime = 800
        paths.append(save(dataset, folder / f"mr-{number:04d}.dcm"))
    return paths


def _localizer(phantom: Phantom, folder: Path, header: SeriesHeader) -> list[Path]:
    scout = replace(
        header,
        image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"),
        series_description="Topogram 0.6 T20f",
        series_number=1,
    )
    dataset = ct_image(phantom, scout, index=len(phantom.hu) // 2, number=1)
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    x_mm, _, z_mm = phantom.first_position_mm
    top = z_mm + (len(phantom.hu) - 1) * phantom.slice_spacing_mm
    dataset.ImagePositionPatient = [decimal(x_mm), "0", decimal(top)]
    dataset.PixelSpacing = [decimal(phantom.slice_spacing_mm), decimal(phantom.pixel_spacing_mm)]
    set_pixels(dataset, (phantom.hu[::-1].mean(axis=1) + 1024).clip(0, 4095).astype(np.uint16))
    return [save(dataset, folder / "localizer.dcm")]


def _no_lungs(phantom: Phantom, folder: Path, header: SeriesHeader) -> list[Path]:
    """A block of water on the table: CT in HU, nothing in it."""
    size = phantom.hu.shape[1]
    across = np.abs((np.arange(size) - size / 2) * phantom.pixel_spacing_mm)
    inside = (across[:, None] < _WATER_HALF_WIDTH_MM) & (across[None, :] < _WATER_HALF_WIDTH_MM)
    noise = np.random.default_rng(phantom.spec.seed).normal(0.0, 12.0, phantom.hu.shape)
    water = np.where(inside[None], noise, -1000.0 + 0.3 * noise)
    block = replace(phantom, hu=np.rint(water).clip(-1024, 3071).astype(np.int16))
    return write_series(block, folder, replace(header, series_description="QA water"))


def _mu_map(phantom: Phantom, folder: Path, header: SeriesHeader) -> list[Path]:
    """Linear attenuation at 511 keV, ten-thousandths per centimetre: an attenuation map that is not in HU."""
    named = replace(header, series_description="UMAP AC", image_type=("DERIVED", "SECONDARY", "AXIAL"))
    count = len(phantom.hu)
    paths: list[Path] = []
    for number in range(1, count + 1):
        index = count - number
        dataset = ct_image(phantom, named, index=index, number=number)
        attenuation = _WATER_PER_CM * (1.0 + phantom.hu[index].astype(np.float32) / 1000.0)
        set_pixels(dataset, np.rint(attenuation.clip(0) * _MU_SCALE).astype(np.uint16))
        dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "US"
        paths.append(save(dataset, folder / f"mu-{number:04d}.dcm"))
    return paths


def _tilted(phantom: Phantom, folder: Path, header: SeriesHeader) -> list[Path]:
    """The gantry tilted: the slices lean, while the table moves along the patient."""
    tilt = np.deg2rad(_TILT_DEGREES)
    down = [0.0, float(np.cos(tilt)), float(-np.sin(tilt))]
    count = len(phantom.hu)
    paths: list[Path] = []
    for number in range(1, count + 1):
        dataset = ct_image(phantom, header, index=count - number, number=number)
        dataset.ImageOrientationPatient = [1, 0, 0, *(decimal(value) for value in down)]
        dataset.GantryDetectorTilt = decimal(_TILT_DEGREES)
        paths.append(save(dataset, folder / f"tilt-{number:04d}.dcm"))
    return paths


def _two_reconstructions(phantom: Phantom, folder: Path, header: SeriesHeader) -> list[Path]:
    """The same acquisition through a soft and a sharp kernel, in one study."""
    edges = phantom.hu - ndimage.gaussian_filter(phantom.hu.astype(np.float32), (0.0, 1.2, 1.2))
    sharp = replace(phantom, hu=np.rint(phantom.hu + 1.3 * edges).clip(-1024, 3071).astype(np.int16))
    lung = replace(header, series_number=header.series_number + 1, kernel="Bl64", series_description="Lung Bl64")
    return [*write_series(phantom, folder / "soft", header), *write_series(sharp, folder / "sharp", lung)]


_WRITERS: dict[Variant, Callable[[Phantom, Path, SeriesHeader], list[Path]]] = {
    Variant.MISSING_SLICE: _missing_slice,
    Variant.MR: _mr,
    Variant.LOCALIZER: _localizer,
    Variant.NO_LUNGS: _no_lungs,
    Variant.MU_MAP: _mu_map,
    Variant.TILTED: _tilted,
    Variant.TWO_RECONSTRUCTIONS: _two_reconstructions,
}
