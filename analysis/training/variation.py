"""Random changes of an image's look: density, noise, sharpness, the look of a CTAC. Batched, on the device.

HU float32 ``(window, slice, row, column)``; every random number comes from the generator that is handed in.
"""

import torch
from torch import Tensor
from torch.nn import functional

from analysis.training.recipes import AugmentRecipe

_FLOOR_HU = -1024.0
_CEILING_HU = 600.0
_KERNEL_RADIUS = 5
_AERATED_BELOW_HU = -450.0
_BOX_MARGIN_PX = 7
_EXPIRATION_HU = (-20.0, 60.0)  # more, and faint ground glass is unlearnt: on a diffuse case it was called normal
_DEPENDENT_HU = (0.0, 90.0)
_CONTROL_EXPIRATION_HU = (0.0, 160.0)  # a control at -650 HU, 170 above the others, had 5 % of false opacity,
_SUNKEN_HU = (0.0, 400.0)  # nearly all in a crescent above the dependent pleura
_SUNKEN_DEPTH_PX = (4.0, 35.0)


def uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
    """Uniform random numbers on the generator's device."""
    return torch.rand(shape, generator=generator, device=generator.device) * (high - low) + low


def masked_by_chance(count: int, chance: float, generator: torch.Generator) -> Tensor:
    """1.0 with this chance, else 0.0: ``(window, 1, 1, 1)``."""
    return (torch.rand((count, 1, 1, 1), generator=generator, device=generator.device) < chance).float()


def blur(images: Tensor, sigma_px: Tensor) -> Tensor:
    """Gaussian blur with one standard deviation (pixels) a window; 0.05 or less leaves it as it is."""
    windows, slices, rows, columns = images.shape
    reach = torch.arange(-_KERNEL_RADIUS, _KERNEL_RADIUS + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-0.5 * (reach / sigma_px.clamp(min=0.05).view(-1, 1)) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(slices, 0)
    flat = images.reshape(1, windows * slices, rows, columns)
    r = _KERNEL_RADIUS
    flat = functional.pad(flat, (r, r, r, r), mode="replicate")
    flat = functional.conv2d(flat, kernel.view(-1, 1, 1, 2 * r + 1), groups=windows * slices)
    flat = functional.conv2d(flat, kernel.view(-1, 1, 2 * r + 1, 1), groups=windows * slices)
    return flat.view(windows, slices, rows, columns)


def smooth_field(count: int, cells: int, generator: torch.Generator, size: int = 256) -> Tensor:
    """A smooth random field with unit variance at its ``cells`` x ``cells`` knots: ``(window, 1, size, size)``."""
    knots = torch.randn((count, 1, cells, cells), generator=generator, device=generator.device)
    return functional.interpolate(knots, (size, size), mode="bicubic", align_corners=False)


def box_of(region: Tensor) -> Tensor:
    """True inside each slice's bounding box of the region, with a few pixels around; same shape."""
    inside = torch.ones_like(region)
    for axis in (2, 3):
        other = 5 - axis
        line = region.any(other).float()
        line = functional.max_pool1d(line, 2 * _BOX_MARGIN_PX + 1, stride=1, padding=_BOX_MARGIN_PX)
        span = line.cummax(-1).values * line.flip(-1).cummax(-1).values.flip(-1) > 0
        inside = inside & span.unsqueeze(other)
    return inside


def dependent_density(hu: Tensor, lung: Tensor, generator: torch.Generator) -> Tensor:
    """HU that aerated lung gains from lying lowest: most at the dependent pleura, falling off above it.

    ``lung`` bool; both, and the result, ``(window, slice, row, column)`` with the spine below.
    """
    count, _, rows, _ = hu.shape  # windows are square
    row = torch.arange(rows, device=hu.device).view(1, 1, -1, 1)
    lowest = torch.where(lung, row, 0).amax(2, keepdim=True)
    fall = uniform((count, 1, 1, 1), *_SUNKEN_DEPTH_PX, generator)
    most = uniform((count, 1, 1, 1), *_SUNKEN_HU, generator) * (
        1 + 0.3 * smooth_field(count, 12, generator, rows)
    ).clamp(min=0)
    return _aerated(hu) * lung * most * torch.exp(-(lowest - row).clamp(min=0) / fall)


def vary_density(hu: Tensor, recipe: AugmentRecipe, control: Tensor, generator: torch.Generator) -> Tensor:
    """Shifts and stretches the HU scale; makes aerated lung denser as expiration does, more so where it lies lowest.

    Expiration changes no label: it is what the network must not call ground glass. ``control``: which windows are of
    scans without any, and may be made much denser; ``(window,)``.
    """
    count, _, rows, _ = hu.shape
    if recipe.hu_gain:
        hu = (hu + 1000) * (1 + uniform((count, 1, 1, 1), -recipe.hu_gain, recipe.hu_gain, generator)) - 1000
    if recipe.hu_shift:
        hu = hu + uniform((count, 1, 1, 1), -recipe.hu_shift, recipe.hu_shift, generator)
    if recipe.density or recipe.expired_controls:
        height = torch.linspace(0, 1, rows, device=hu.device).view(1, 1, -1, 1)
        expiration = uniform((count, 1, 1, 1), *_EXPIRATION_HU, generator) * masked_by_chance(
            count, recipe.density, generator
        )
        deep = masked_by_chance(count, recipe.expired_controls, generator) * control.view(-1, 1, 1, 1)
        expiration = torch.where(deep > 0, uniform((count, 1, 1, 1), *_CONTROL_EXPIRATION_HU, generator), expiration)
        dependent = uniform((count, 1, 1, 1), *_DEPENDENT_HU, generator) * masked_by_chance(
            count, recipe.density, generator
        )
        hu = hu + _aerated(hu) * (expiration + dependent * height**2)
    return hu


def _aerated(hu: Tensor) -> Tensor:
    """How much of a pixel is aerated lung, 0 to 1."""
    return torch.sigmoid((_AERATED_BELOW_HU - hu) / 60)


def vary_image(hu: Tensor, recipe: AugmentRecipe, control: Tensor, generator: torch.Generator) -> Tensor:
    """Blur, sharpening (controls more: they come coarse), noise of two grains, the clip of an 8-bit export.

    A share (``ctac``) is blurred to the resolution of a CTAC, 2-5 mm; its noise is that of every other window.
    """
    count = len(hu)
    if recipe.blur or recipe.sharpen or recipe.ctac:
        ctac = masked_by_chance(count, recipe.ctac, generator)
        softened = masked_by_chance(count, recipe.blur, generator)
        chance = recipe.sharpen * (1 + control.view(-1, 1, 1, 1))
        sharpened = (torch.rand((count, 1, 1, 1), generator=generator, device=hu.device) < chance).float()
        sigma = uniform((count, 1, 1, 1), 0.4, 1.1, generator)
        sigma = torch.where(ctac > 0, uniform((count, 1, 1, 1), 1.2, 2.6, generator), sigma)
        gain = uniform((count, 1, 1, 1), 0.3, 1.5, generator)
        mix = torch.where(ctac + softened > 0, 1.0, torch.where(sharpened > 0, -gain, 0.0))
        hu = hu + mix * (blur(hu, sigma.flatten()) - hu)
    if recipe.noise_hu:
        white = torch.randn(hu.shape, generator=generator, device=hu.device)
        grain = uniform((count,), 0.5, 1.8, generator)
        coarse = blur(white, grain) * (2 * torch.pi**0.5 * grain).view(-1, 1, 1, 1)
        amount = uniform((count, 1, 1, 1), 0, 1, generator) ** 2 * recipe.noise_hu
        is_coarse = masked_by_chance(count, 0.5, generator)
        hu = hu + amount * torch.where(is_coarse > 0, coarse, white)
    if recipe.upper_clip:
        clipped = masked_by_chance(count, recipe.upper_clip, generator)
        ceiling = torch.where(clipped > 0, uniform((count, 1, 1, 1), 100, 500, generator), _CEILING_HU)
        hu = torch.minimum(hu, ceiling)
    return hu.clamp(_FLOOR_HU, _CEILING_HU)
