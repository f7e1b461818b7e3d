"""What makes the phantom's grey values look measured: parenchyma, blur of the scanner, noise, the table."""

import numpy as np
from scipy import ndimage

from dicom_node.simulator.geometry import Floats, Grid

_GRADIENT_HU_PER_MM = 0.42
_LOBULE_MM = 5.0
_FINE_MM = 1.1


def correlated_noise(grid: Grid, sigma_mm: float, rng: np.random.Generator) -> Floats:
    """Gaussian noise of unit variance whose correlation length is sigma_mm, (slice, row, column)."""
    steps = [max(1, int(sigma_mm / (1.5 * spacing))) for spacing in grid.spacing_mm]
    coarse = tuple(-(-n // step) + 1 for n, step in zip(grid.shape, steps, strict=True))
    sigmas = [sigma_mm / (spacing * step) for spacing, step in zip(grid.spacing_mm, steps, strict=True)]
    noise = ndimage.gaussian_filter(rng.standard_normal(coarse, dtype=np.float32), sigmas, truncate=3.0)
    for axis, step in enumerate(steps):
        noise = _interleaved(noise, axis, step, grid.shape[axis])
    return (noise / noise.std()).astype(np.float32)


def _interleaved(values: Floats, axis: int, step: int, size: int) -> Floats:
    """Values on a grid ``step`` times finer along an axis, by linear interpolation, cut to ``size``."""
    if step == 1:
        return values.take(range(size), axis=axis)
    place = np.arange(size, dtype=np.float32) / step
    low = place.astype(np.intp)
    share = (place - low).reshape([-1 if i == axis else 1 for i in range(values.ndim)])
    return (values.take(low, axis=axis) * (1 - share) + values.take(low + 1, axis=axis) * share).astype(np.float32)


def parenchyma(grid: Grid, *, mean_hu: float, rng: np.random.Generator) -> Floats:
    """Aerated lung in HU, (slice, row, column): denser towards the back (supine) and mottled by its lobules."""
    y = grid.y_mm[None, :, None]
    tissue = np.full(grid.shape, mean_hu, np.float32) + _GRADIENT_HU_PER_MM * (y - 5.0)
    tissue += 13.0 * correlated_noise(grid, _LOBULE_MM, rng)
    tissue += 16.0 * correlated_noise(grid, _FINE_MM, rng)
    return tissue


def scanned(hu: Floats, grid: Grid, *, blur_mm: float, noise_hu: float, rng: np.random.Generator) -> np.ndarray:
    """The image a scanner would make of it, int16 HU: blurred, noisy in its own grain, clipped at -1024."""
    slice_mm, row_mm, column_mm = grid.spacing_mm
    image = ndimage.gaussian_filter(hu, (0.35 * 2.0 / slice_mm, blur_mm / row_mm, blur_mm / column_mm), truncate=3.0)
    white = rng.standard_normal(hu.shape, dtype=np.float32)
    grain = ndimage.gaussian_filter(white, (0.0, 0.7 * blur_mm / row_mm, 0.7 * blur_mm / column_mm), truncate=3.0)
    grain -= ndimage.uniform_filter(white, (1, 7, 7))  # pyright: ignore[reportArgumentType]
    # ... because reconstruction filters pass little of the lowest frequencies
    grain /= grain.std()
    x, y = grid.planes()
    path = np.exp(-((x / 170.0) ** 2 + (y / 125.0) ** 2))  # more tissue to pass in the middle: more noise
    image += noise_hu * (0.55 + 0.75 * path)[None] * grain
    return np.clip(np.rint(image), -1024, 3071).astype(np.int16)


def draw_table(hu: Floats, grid: Grid) -> None:
    """A curved couch top under the patient, in place."""
    x, y = grid.planes()
    for sag_mm, thickness_mm, value in ((0.0, 1.2, -250.0), (34.0, 1.6, 60.0)):
        bottom = 137.0 + sag_mm - (x / 26.0) ** 2
        shell = np.abs(y - bottom) - thickness_mm
        share = np.clip(0.5 - shell / grid.spacing_mm[1], 0, 1) * (np.abs(x) < 215.0)
        hu += (share * (value - np.maximum(hu, -1000.0)) * (hu < -900.0)).astype(np.float32)
