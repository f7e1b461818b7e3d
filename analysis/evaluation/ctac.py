"""Makes the look of a CT for attenuation correction from a diagnostic scan, the same for the same seed and case.

Free breathing (aerated lung denser, more so where it lies lowest), slices of 3 to 5 mm, a soft kernel, the noise of a
low dose. What cannot be made is left out: breathing artefacts at the diaphragm, arms beside the body, a truncated view.
"""

import zlib
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from analysis.evaluation.reading import LabelledScan, plain_volume
from analysis.model.resampling import OUTSIDE_HU

CTAC_ASSUMPTION = (
    "CTAC is simulated from diagnostic scans (expiration, slices of 3 to 5 mm, blur, noise; fixed by seed and case): "
    "how the model does on real CTAC is not known."
)

_AERATED_BELOW_HU, _AERATED_WIDTH_HU = -450.0, 60.0
_FLOOR_HU, _CEILING_HU = -1024, 3071
_HALF = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class CtacLook:
    """What makes one simulated scan: HU added to aerated lung everywhere and, beside that, in its lowest part."""

    slice_mm: float
    blur_mm: float
    noise_hu: float
    grain_mm: float
    expiration_hu: float
    dependent_hu: float

    def document(self) -> dict[str, Any]:
        """The look as the JSON holds it."""
        return {key: round(value, 2) for key, value in asdict(self).items()}


def draw_look(name: str, seed: int) -> tuple[CtacLook, np.random.Generator]:
    """The look of a case, and the generator that its noise comes from."""
    random = np.random.default_rng([seed, zlib.crc32(name.encode())])
    look = CtacLook(
        slice_mm=random.uniform(3.0, 5.0),
        blur_mm=random.uniform(0.9, 1.8),
        noise_hu=random.uniform(25.0, 60.0),
        grain_mm=random.uniform(0.6, 1.2),
        expiration_hu=random.uniform(20.0, 100.0),
        dependent_hu=random.uniform(0.0, 100.0),
    )
    return look, random


def simulate_ctac(name: str, scan: LabelledScan, *, seed: int) -> tuple[LabelledScan, CtacLook]:
    """The scan as a CTAC, its truth on the new slices; a scan with thicker slices keeps its own.

    A voxel is lung, or lesion, where at least half of what it averages is.
    """
    look, random = draw_look(name, seed)
    volume = scan.volume
    weights = _averaging(len(volume.hu), volume.slice_spacing_mm, max(look.slice_mm, volume.slice_spacing_mm))
    spacing_mm = volume.slice_spacing_mm * len(volume.hu) / len(weights)
    pixel_mm = volume.column_spacing_mm
    height = np.linspace(0.0, 1.0, volume.hu.shape[1], dtype=np.float32)[:, None]
    hu = np.empty((len(weights), *volume.hu.shape[1:]), np.int16)
    lung, lesion, known = (np.empty(hu.shape, bool) for _ in range(3))
    for index, row in enumerate(weights):
        used = np.flatnonzero(row)
        share = row[used].astype(np.float32)
        plane = np.tensordot(share, volume.hu[used].astype(np.float32), 1)
        for masks, source in ((lung, scan.lung), (lesion, scan.lesion), (known, scan.known)):
            masks[index] = True if source is None else np.tensordot(share, source[used].astype(np.float32), 1) >= _HALF
        aerated = lung[index] / (1 + np.exp((plane - _AERATED_BELOW_HU) / _AERATED_WIDTH_HU))
        plane += aerated * (look.expiration_hu + look.dependent_hu * height**2)
        plane = cv2.GaussianBlur(plane, (0, 0), look.blur_mm / pixel_mm)
        plane += _noise(plane.shape, look, pixel_mm, random)
        plane[~known[index]] = OUTSIDE_HU
        hu[index] = np.clip(np.rint(plane), _FLOOR_HU, _CEILING_HU)
    lesion &= lung
    made = plain_volume(hu, (spacing_mm, volume.row_spacing_mm, volume.column_spacing_mm))
    return LabelledScan(volume=made, lung=lung, lesion=lesion, known=None if scan.known is None else known), look


def _averaging(count: int, from_mm: float, to_mm: float) -> npt.NDArray[np.float64]:
    """Which share each of ``count`` slices has in each thicker one: (thicker slice, slice), rows add up to one."""
    wanted = max(1, round(count * from_mm / to_mm))
    edges = np.linspace(0.0, count, wanted + 1)
    slices = np.arange(count)
    shares = np.minimum(edges[1:, None], slices + 1.0) - np.maximum(edges[:-1, None], slices)
    shares = np.clip(shares, 0.0, None)
    return shares / shares.sum(axis=1, keepdims=True)


def _noise(
    shape: tuple[int, ...], look: CtacLook, pixel_mm: float, random: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Noise of the look's grain, scaled to its standard deviation."""
    white = random.standard_normal(shape, np.float32)
    grainy = np.asarray(cv2.GaussianBlur(white, (0, 0), look.grain_mm / pixel_mm), np.float32)
    return grainy * np.float32(look.noise_hu / max(float(grainy.std()), 1e-6))
