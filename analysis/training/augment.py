"""Windows of slices drawn from the cache and varied, whole batches at a time on the cache's own device.

Nothing here waits for the device: how many windows of a batch get a lesion pasted is fixed, every other choice is a
mask or a random number of the device's generator. HU float32 ``(window, slice, row, column)`` throughout.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from analysis.model.network import GROUND_GLASS, HIGH_OPACITY
from analysis.training.datasets import (
    CLASS_BITS,
    CODE_HU,
    CODE_ZERO_HU,
    CONTROLS,
    KNOWN,
    LESION_OF_OPEN_CLASS,
    LUNG,
    PATIENTS,
    SIZE,
    Cache,
    Case,
    Source,
)
from analysis.training.losses import Target
from analysis.training.recipes import AugmentRecipe, DataRecipe
from analysis.training.variation import (
    blur,
    box_of,
    dependent_density,
    masked_by_chance,
    smooth_field,
    uniform,
    vary_density,
    vary_image,
)

_AIR_HU = -1000.0
_SOFT_TISSUE_HU = 40.0
_DONOR_PIXELS = 200  # a slice with this much lesion is worth pasting from
_PAINTED_HU = (180.0, 600.0)  # fainter than that, dependent lung of a control is taken for opacity
_FAINT_HU = 330.0  # synthetic opacity that adds less than this is ground glass


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Windows ready for the network (clipped HU, not yet z-scored) and their target."""

    hu: Tensor
    target: Target


class SliceStore:
    """The cache on a device, and for each slice where its scan begins and ends."""

    def __init__(self, cache: Cache, device: torch.device) -> None:
        self.device = device
        self.grey = torch.from_numpy(cache.grey).to(device)
        self.mask = torch.from_numpy(cache.mask).to(device)
        lengths = torch.tensor([case.stop - case.start for case in cache.cases])
        self.first = torch.tensor([case.start for case in cache.cases]).repeat_interleave(lengths).to(device)
        self.last = torch.tensor([case.stop - 1 for case in cache.cases]).repeat_interleave(lengths).to(device)

    def hu(self, index: Tensor) -> Tensor:
        """HU of slices, any shape of indices; two axes are added."""
        return self.grey[index].float() * CODE_HU + CODE_ZERO_HU

    def neighbours(self, index: Tensor, offsets: Tensor) -> Tensor:
        """Indices at these offsets in the same scan; its ends are repeated beyond them."""
        first, last = (edge[index].view(-1, *[1] * (offsets.ndim - 1)) for edge in (self.first, self.last))
        return (index.view(-1, *[1] * (offsets.ndim - 1)) + offsets).clamp(first, last)


class WindowSampler:
    """Draws varied windows of the training cases of a fold, so many of each source in a batch."""

    def __init__(
        self,
        store: SliceStore,
        cases: Sequence[Case],
        data: DataRecipe,
        recipe: AugmentRecipe,
        *,
        slices: int = 3,
        split_hu: float,
    ) -> None:
        self.store = store
        self.recipe = recipe
        self.data = data
        self.slices = slices
        self.split_hu = split_hu
        controls, pictures = round(data.batch * data.controls), round(data.batch * data.medseg)
        wanted = (
            (CONTROLS, controls),
            ((Source.MEDSEG,), pictures),
            (PATIENTS, data.batch - controls - pictures),
        )
        present = [([c for c in cases if c.source in sources], count) for sources, count in wanted]
        lacking = sum(count for members, count in present if not members)
        self._pools: list[tuple[Tensor, Tensor, int]] = []
        for members, count in present:
            if not members or not count:
                continue
            index = torch.cat([torch.arange(c.start, c.stop) for c in members]).to(store.device)
            # A long scan counts as the root of its length: its slices resemble each other.
            weight = torch.cat([torch.full((c.stop - c.start,), (c.stop - c.start) ** -0.5) for c in members])
            self._pools.append((index, weight.to(store.device), count + lacking))
            lacking = 0
        # Controls are varied more; of lctsc's moreover nothing is known outside the lung's box.
        self._controls = torch.zeros(len(store.first), dtype=torch.bool, device=store.device)
        self._boxed = torch.zeros_like(self._controls)
        for case in cases:
            self._controls[case.start : case.stop] = case.source in CONTROLS
            self._boxed[case.start : case.stop] = case.source is Source.LCTSC
        everything = torch.cat([pool[0] for pool in self._pools])
        lesion = torch.cat([((store.mask[part] & CLASS_BITS) > 0).sum((1, 2)) for part in everything.split(256)])
        self._donors = everything[lesion >= _DONOR_PIXELS]

    def draw(self, generator: torch.Generator) -> Batch:
        """A batch of windows, in random order."""
        index = torch.cat(
            [i[torch.multinomial(w, n, replacement=True, generator=generator)] for i, w, n in self._pools]
        )
        order = torch.randperm(len(index), generator=generator, device=index.device)
        return self._varied(index[order], generator)

    def _gathered(self, index: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """HU and mask bytes of windows: random distance of the neighbours, random averaging over adjacent slices."""
        count, device = len(index), index.device
        stride = torch.randint(1, self.recipe.max_stride + 1, (count, 1), generator=generator, device=device)
        # Pictures come without neighbours, and hold lesions: windows of scans without any keep that from being a sign.
        alone = masked_by_chance(count, self.recipe.alone, generator).view(count, 1) > 0
        stride = stride.masked_fill(alone, 0)
        steps = torch.arange(self.slices, device=device) - self.slices // 2
        direction = 2 * torch.randint(0, 2, (count, 1), generator=generator, device=device) - 1
        centres = self.store.neighbours(index, stride * steps * (direction if self.recipe.flip else 1))
        share = uniform((count, 1, 1, 1), 0.1, 1 / 3, generator) * masked_by_chance(count, self.recipe.slab, generator)
        around = centres.unsqueeze(-1) + torch.tensor([-1, 0, 1], device=device)
        around = around.clamp(self.store.first[index].view(-1, 1, 1), self.store.last[index].view(-1, 1, 1))
        hu = self.store.hu(around)
        averaged = hu[:, :, 1] * (1 - 2 * share) + (hu[:, :, 0] + hu[:, :, 2]) * share
        return averaged, self.store.mask[centres]

    def _varied(self, index: Tensor, generator: torch.Generator) -> Batch:
        recipe, control = self.recipe, self._controls[index]
        hu, mask = self._gathered(index, generator)
        lung = (mask & LUNG) > 0
        if recipe.expired_controls:
            sinking = masked_by_chance(len(hu), recipe.expired_controls, generator) * control.view(-1, 1, 1, 1)
            hu = hu + sinking * dependent_density(hu, lung, generator)
        known = (mask & KNOWN) > 0
        classes = mask & CLASS_BITS
        # Those of lctsc are shown as the lung boxes of covid20 are, slice by slice, or the network learns the data set.
        boxed = masked_by_chance(len(hu), 0.5, generator) * self._boxed[index].view(-1, 1, 1, 1)
        known = torch.where(boxed > 0, known & box_of(lung), known)
        filling = torch.where(masked_by_chance(len(hu), 0.3, generator) > 0, _AIR_HU, _SOFT_TISSUE_HU)
        if recipe.hu_shift:  # the recipes of the papers, which have none, show every pixel with the HU that it has
            hu = torch.where(known, hu, filling.expand_as(hu))
        pasted = round(recipe.paste * len(hu))
        if pasted and len(self._donors):
            hu[:pasted], classes[:pasted] = self._paste(hu[:pasted], classes[:pasted], lung[:pasted], generator)
        painted = slice(pasted, pasted + round(recipe.synthetic * len(hu)))
        if painted.stop > painted.start:
            hu[painted], classes[painted] = _paint(hu[painted], classes[painted], lung[painted], generator)
        middle = self.slices // 2
        hu, labels = self._transformed(hu, classes[:, middle] | (known[:, middle] * KNOWN).to(torch.uint8), generator)
        classes, known = labels & CLASS_BITS, (labels & KNOWN) > 0
        smooth = functional.avg_pool2d(hu[:, middle : middle + 1], 3, stride=1, padding=1, count_include_pad=False)
        weak = torch.where(smooth.squeeze(1) > self.split_hu, HIGH_OPACITY, GROUND_GLASS).to(torch.uint8)
        hu = vary_density(hu, recipe, control, generator)
        hu = vary_image(hu, recipe, control, generator)
        return Batch(hu=hu, target=Target(classes=classes, weak=weak, known=known))

    def _paste(self, hu: Tensor, classes: Tensor, lung: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Lesions of other training scans, moved and resized, laid into these lungs; vessels stay on top."""
        count = len(hu)
        donors = self._donors[torch.randint(0, len(self._donors), (count,), generator=generator, device=hu.device)]
        donor_hu, donor_mask = self._gathered(donors, generator)
        theta = _affine(count, 20.0, (0.6, 1.1), 25.0, generator, flip=True)
        grid = functional.affine_grid(theta, list(donor_hu.shape), align_corners=False)
        donor_hu = functional.grid_sample(donor_hu, grid, padding_mode="border", align_corners=False)
        donor_classes = functional.grid_sample(
            (donor_mask & CLASS_BITS).float(), grid, mode="nearest", align_corners=False
        )
        inside = (donor_classes > 0) & lung
        opacity = blur(inside.float(), torch.full((count,), 1.0, device=hu.device)) * lung
        laid = torch.where(inside | (opacity > 0), opacity * torch.maximum(donor_hu, hu) + (1 - opacity) * hu, hu)
        return laid, torch.where(inside & (classes == 0), donor_classes.to(torch.uint8), classes)

    def _transformed(self, hu: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Rotated, scaled, shifted, mirrored and cropped alike: HU by interpolation, labels by the nearest pixel."""
        recipe, count = self.recipe, len(hu)
        theta = _affine(count, recipe.rotation_deg, recipe.scale, recipe.shift_px, generator, flip=recipe.flip)
        size = self.data.crop
        if size < SIZE:
            free = 1 - size / SIZE
            corner = uniform((count, 2, 1), -free, free, generator)
            theta[:, :, 2:] += theta[:, :, :2] @ corner
            theta[:, :, :2] *= size / SIZE
        grid = functional.affine_grid(theta, [count, 1, size, size], align_corners=False)
        hu = functional.grid_sample(hu, grid, padding_mode="border", align_corners=False)
        labels = functional.grid_sample(labels.unsqueeze(1).float(), grid, mode="nearest", align_corners=False)
        return hu, labels.squeeze(1).to(torch.uint8)


def _affine(
    count: int, degrees: float, scale: tuple[float, float], shift_px: float, generator: torch.Generator, *, flip: bool
) -> Tensor:
    """Random maps from output to input coordinates ``(window, 2, 3)``; ``scale`` is how much larger things become."""
    angle = torch.deg2rad(uniform((count,), -degrees, degrees, generator))
    sizes = 1 / uniform((count, 2), *scale, generator)
    mirror = 1 - 2 * torch.randint(0, 2, (count,), generator=generator, device=generator.device) * int(flip)
    cos, sin = torch.cos(angle), torch.sin(angle)
    shift = uniform((count, 2), -shift_px, shift_px, generator) * (2 / SIZE)
    rows = (
        torch.stack((cos * sizes[:, 0] * mirror, -sin * sizes[:, 1], shift[:, 0]), dim=1),
        torch.stack((sin * sizes[:, 0] * mirror, cos * sizes[:, 1], shift[:, 1]), dim=1),
    )
    return torch.stack(rows, dim=1)


def _paint(hu: Tensor, classes: Tensor, lung: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Synthetic, often diffuse opacity with soft edges and uneven density, in lung that has no label yet."""
    count = len(hu)
    cells = 6
    height = smooth_field(count, cells, generator)
    level = uniform((count, 1, 1, 1), -0.6, 0.8, generator)
    region = ((height > level) & lung).float()
    opacity = blur(region, uniform((count,), 0.6, 2.0, generator)) * lung
    added = uniform((count, 1, 1, 1), *_PAINTED_HU, generator)
    texture = (1 + 0.25 * smooth_field(count, 40, generator)).clamp(0.3, 1.7)
    raised = torch.maximum(hu, torch.minimum(hu + added * texture, torch.full_like(hu, 30.0)))
    kind = torch.where(added < _FAINT_HU, GROUND_GLASS, LESION_OF_OPEN_CLASS).to(torch.uint8)
    labelled = (region > 0) & (classes == 0)
    return hu + opacity * (raised - hu), torch.where(labelled, kind.expand_as(classes), classes)
