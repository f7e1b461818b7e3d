"""Attenuation of what is known: the air around the body, the lung outside opacities, the blood."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from analysis.anatomy.lungs import Lungs
from analysis.series.volume import MINIMUM_HU, Volume

_SLICES = 12
_AIR_BELOW_HU = -400
_AIR_MARGIN_PX = 5
_LEAST_PIXELS = 500
_LUNG_MARGIN_MM = 5.0
_MIDDLE_ROWS, _MIDDLE_COLUMNS, _MIDDLE_SLICES = (0.15, 0.6), (0.3, 0.7), (0.33, 0.67)
"""Where heart and great vessels lie in the box of both lungs: between them, in front of the spine, half-way up."""
_BLOOD_MM = 7.0
_BLOOD_HU = (0.0, 600.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LungAttenuation:
    """Median of the lung outside opacities, in HU; how far apart the 5th and 95th percentile of all lung lie."""

    median_hu: float
    spread_hu: float


def measure_air_hu(volume: Volume) -> float | None:
    """Median of the air around the body, which is -1000 HU by definition; None where hardly any is imaged.

    Air is what touches the border of the image. Padding outside the circle of reconstruction lies at the floor of the
    scale and is left out.
    """
    found: list[npt.NDArray[np.int16]] = []
    for index in _spread(0, len(volume.hu)):
        pixels = volume.hu[index]
        thin = cv2.erode((pixels < _AIR_BELOW_HU).astype(np.uint8), np.ones((_AIR_MARGIN_PX, _AIR_MARGIN_PX), np.uint8))
        labels = np.asarray(cv2.connectedComponents(thin, connectivity=4)[1], np.int32)
        border = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
        around = np.zeros(int(labels.max()) + 1, bool)
        around[border[border > 0]] = True
        values = pixels[around[labels]]
        found.append(values[values > MINIMUM_HU])
    return _median(np.concatenate(found))


def measure_lung(volume: Volume, lungs: Lungs, lesions: npt.NDArray[np.uint8] | None = None) -> LungAttenuation | None:
    """Attenuation of the inner lung, 5 mm off its border; None where there is hardly any, or none without opacity.

    Vessels make the spread wide, some 170 to 430 HU. Slices are smoothed over 3 x 3 pixels, so that noise does not.
    """
    box = lungs.box
    if box is None:
        return None
    margin = 2 * max(1, round(_LUNG_MARGIN_MM / max(volume.row_spacing_mm, volume.column_spacing_mm))) + 1
    inner_hu: list[npt.NDArray[np.float32]] = []
    clear_hu: list[npt.NDArray[np.float32]] = []
    for index in _spread(box[0].start, box[0].stop):
        lung = lungs.labels[index, box[1], box[2]] > 0
        inner = cv2.erode(lung.astype(np.uint8), np.ones((margin, margin), np.uint8)) > 0
        smooth = _smoothed(volume.hu[index, box[1], box[2]], (3, 3))
        inner_hu.append(smooth[inner])
        clear_hu.append(smooth[inner & (lesions[index, box[1], box[2]] == 0)] if lesions is not None else smooth[inner])
    clear = np.concatenate(clear_hu)
    if clear.size < _LEAST_PIXELS:
        return None
    low, high = np.percentile(np.concatenate(inner_hu), (5, 95))
    return LungAttenuation(median_hu=float(np.median(clear)), spread_hu=float(high - low))


def measure_blood_hu(volume: Volume, lungs: Lungs) -> float | None:
    """Median of heart and great vessels, smoothed over 7 mm: about 40 HU, more with contrast; None without lungs."""
    box = lungs.box
    if box is None:
        return None
    slices, rows, columns = (
        _part(whole, share) for whole, share in zip(box, (_MIDDLE_SLICES, _MIDDLE_ROWS, _MIDDLE_COLUMNS), strict=True)
    )
    size = (max(1, round(_BLOOD_MM / volume.column_spacing_mm)), max(1, round(_BLOOD_MM / volume.row_spacing_mm)))
    found: list[npt.NDArray[np.float32]] = []
    for index in _spread(slices.start, slices.stop):
        smooth = _smoothed(volume.hu[index, rows, columns], size)
        values = smooth[lungs.labels[index, rows, columns] == 0]
        found.append(values[(values > _BLOOD_HU[0]) & (values < _BLOOD_HU[1])])
    return _median(np.concatenate(found))


def _smoothed(pixels: npt.NDArray[np.int16], size: tuple[int, int]) -> npt.NDArray[np.float32]:
    return np.asarray(cv2.blur(pixels.astype(np.float32), size), np.float32)


def _spread(start: int, stop: int) -> npt.NDArray[np.intp]:
    """Return up to 12 indices from start to before stop, evenly."""
    return np.unique(np.linspace(start, stop - 1, _SLICES).astype(np.intp))


def _part(whole: slice, share: tuple[float, float]) -> slice:
    length = whole.stop - whole.start
    start = whole.start + int(share[0] * length)
    return slice(start, max(start + 1, whole.start + int(share[1] * length)))


def _median(values: npt.NDArray[np.int16] | npt.NDArray[np.float32]) -> float | None:
    return float(np.median(values)) if values.size >= _LEAST_PIXELS else None
