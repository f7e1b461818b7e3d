"""The five lobes, estimated from the shape of the lungs; fissures are not looked for."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

import analysis
from analysis.anatomy.lungs import LEFT, RIGHT, Lungs
from analysis.errors import UntrustedWeights
from analysis.findings import Lobe
from analysis.series.volume import Volume

if TYPE_CHECKING:
    from analysis.anatomy.lobe_network import LobeNetwork  # torch takes seconds to load; only an analysis needs it

Labels = npt.NDArray[np.uint8]

LOBE_LABELS: Mapping[int, Lobe] = {
    4: Lobe.RIGHT_UPPER,
    5: Lobe.RIGHT_MIDDLE,
    6: Lobe.RIGHT_LOWER,
    7: Lobe.LEFT_UPPER,
    8: Lobe.LEFT_LOWER,
}

MANIFEST_NAME, WEIGHTS_NAME = "manifest.json", "lobes.safetensors"

LEAST_CONFIDENCE_PERCENT = 65.0
"""Mean certainty of the network in a lobe's voxels under which the lobe is not told."""

_CUT_SHARE = 0.1
"""A lung is cut off where the first or last slice holds more than this share of its largest area."""
_SIDES = {RIGHT: (4, 5, 6), LEFT: (7, 8)}
_MARGIN_VOXELS = 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lobes:
    """Labels 4 to 8 of ``LOBE_LABELS`` on the grid of a volume, uint8 (slice, row, column); 0 where no lobe is told.

    ``confidence_percent`` is the mean certainty of the estimate in each lobe that is told. ``cut`` are those of them of
    which the scan shows a part only, ``untold`` those that are not told although their lung is there.
    """

    labels: Labels
    confidence_percent: Mapping[Lobe, float]
    cut: frozenset[Lobe]
    untold: frozenset[Lobe]

    @property
    def scorable(self) -> bool:
        """Severity scores need all five lobes, whole."""
        return set(self.confidence_percent) == set(Lobe) and not self.cut


def estimate_lobes(volume: Volume, lungs: Lungs, *, directory: Path | None = None) -> Lobes:
    """Estimate the lobes from the shape of both lungs on a coarse grid, with borders brought to the volume's own.

    Time: one pass of a small network, and one interpolation of each slice (about half a second for 148 slices of
    512 x 512 on a core). ``directory`` holds weights and manifest; default: those of the package.

    Raises:
        UntrustedWeights: the weights are missing or not the ones that the manifest names.
    """
    labels = np.zeros(lungs.labels.shape, np.uint8)
    box = lungs.box
    if box is None:
        return Lobes(labels=labels, confidence_percent={}, cut=frozenset(), untold=frozenset())
    network, grid_mm = _load(directory or Path(analysis.__path__[0]) / "weights" / "lobes")
    right, left, imaged, start_mm = _coarse_lungs(volume, lungs, box, grid_mm)
    probabilities = _ask(network, right, left, imaged)
    sums, voxels = np.zeros(9), np.zeros(9)
    levels = (volume.slice_positions_mm - start_mm) / grid_mm - 0.5
    rows, columns = box[1], box[2]
    size = (columns.stop - columns.start, rows.stop - rows.start)
    for index in range(box[0].start, box[0].stop):
        sides = lungs.labels[index, rows, columns]
        plane = _at_level(probabilities, float(levels[index]))
        for side, members in _SIDES.items():
            inside = sides == side
            if not inside.any():
                continue
            fine = [_enlarged(plane[label - 4], size, volume, grid_mm)[inside] for label in members]
            best = np.argmax(fine, axis=0)
            found = np.asarray(members, np.uint8)[best]
            labels[index, rows, columns][inside] = found
            sums += np.bincount(
                found, weights=np.max(fine, axis=0) / np.maximum(np.sum(fine, axis=0), 1e-6), minlength=9
            )
            voxels += np.bincount(found, minlength=9)
    return _told(labels, sums, voxels, lungs)


def _coarse_lungs(
    volume: Volume, lungs: Lungs, box: tuple[slice, slice, slice], grid_mm: float
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.bool_], float]:
    """Share of right and left lung on the coarse grid, which of its levels were imaged, and where it begins in mm."""
    height = round((box[1].stop - box[1].start) * volume.row_spacing_mm / grid_mm + 0.5)
    width = round((box[2].stop - box[2].start) * volume.column_spacing_mm / grid_mm + 0.5)
    half = volume.slice_weights_mm / 2
    low = float(volume.slice_positions_mm[box[0].start] - half[box[0].start])
    high = float(volume.slice_positions_mm[box[0].stop - 1] + half[box[0].stop - 1])
    start = low - _MARGIN_VOXELS * grid_mm
    count = int(np.ceil((high - low) / grid_mm)) + 2 * _MARGIN_VOXELS
    shares = np.zeros((2, count, height + 2 * _MARGIN_VOXELS, width + 2 * _MARGIN_VOXELS), np.float32)
    padded = (round(height * grid_mm / volume.row_spacing_mm), round(width * grid_mm / volume.column_spacing_mm))
    inner = slice(_MARGIN_VOXELS, -_MARGIN_VOXELS)
    for index in range(box[0].start, box[0].stop):
        sides = lungs.labels[index, box[1], box[2]]
        bottom = (volume.slice_positions_mm[index] - half[index] - start) / grid_mm
        top = (volume.slice_positions_mm[index] + half[index] - start) / grid_mm
        for channel, side in enumerate((RIGHT, LEFT)):
            canvas = np.zeros((max(padded[0], sides.shape[0]), max(padded[1], sides.shape[1])), np.float32)
            canvas[: sides.shape[0], : sides.shape[1]] = sides == side
            small = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)
            for level in range(int(bottom), min(count, int(np.ceil(top)))):
                part = min(top, level + 1) - max(bottom, level)
                shares[channel, level, inner, inner] += np.float32(max(0.0, part)) * small
    places = start + (np.arange(count) + 0.5) * grid_mm
    positions = volume.slice_positions_mm
    imaged = (places >= positions[0] - half[0]) & (places <= positions[-1] + half[-1])
    return np.clip(shares[0], 0, 1), np.clip(shares[1], 0, 1), imaged, start


def _ask(
    network: "LobeNetwork",
    right: npt.NDArray[np.float32],
    left: npt.NDArray[np.float32],
    imaged: npt.NDArray[np.bool_],
) -> npt.NDArray[np.float32]:
    """Probabilities (5, slice, row, column); within a lung its own lobes sum to 1."""
    import torch  # noqa: PLC0415 - see the top

    from analysis.anatomy.lobe_network import network_inputs  # noqa: PLC0415 - see the top

    with torch.inference_mode():
        logits = network(torch.from_numpy(network_inputs(right, left, imaged))[None])[0]
        parts = [torch.softmax(logits[:3], 0), torch.softmax(logits[3:], 0)]
        return torch.cat(parts)[:, : right.shape[0], : right.shape[1], : right.shape[2]].numpy()


def _at_level(probabilities: npt.NDArray[np.float32], level: float) -> npt.NDArray[np.float32]:
    level = min(max(level, 0.0), probabilities.shape[1] - 1.0)
    lower = min(int(level), probabilities.shape[1] - 2)
    share = np.float32(level - lower)
    plane = (1 - share) * probabilities[:, lower] + share * probabilities[:, lower + 1]
    return plane.astype(np.float32, copy=False)


def _enlarged(
    plane: npt.NDArray[np.float32], size: tuple[int, int], volume: Volume, grid_mm: float
) -> npt.NDArray[np.float32]:
    """Bring a coarse plane (row, column) to the pixels of the lung box; its margin lies outside the box."""
    across, along = volume.column_spacing_mm / grid_mm, volume.row_spacing_mm / grid_mm
    offset = _MARGIN_VOXELS - 0.5
    matrix = np.asarray([[across, 0, offset + across / 2], [0, along, offset + along / 2]], np.float64)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(plane, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE), np.float32)


def _told(labels: Labels, sums: npt.NDArray[np.float64], voxels: npt.NDArray[np.float64], lungs: Lungs) -> Lobes:
    confidence: dict[Lobe, float] = {}
    cut: set[Lobe] = set()
    untold: set[Lobe] = set()
    refused = np.zeros(9, bool)
    for side, members in _SIDES.items():
        area = (lungs.labels == side).sum(axis=(1, 2))
        if not area.any():
            continue
        ends = [index for index in (0, -1) if area[index] > _CUT_SHARE * area.max()]
        for label in members:
            lobe = LOBE_LABELS[label]
            certainty = 100.0 * float(sums[label]) / max(1.0, float(voxels[label]))
            if voxels[label] == 0 or certainty < LEAST_CONFIDENCE_PERCENT:
                untold.add(lobe)
                refused[label] = True
                continue
            confidence[lobe] = certainty
            if any((labels[index] == label).any() for index in ends):
                cut.add(lobe)
    if refused.any():
        labels = np.where(refused[labels], np.uint8(0), labels)
    return Lobes(labels=labels, confidence_percent=confidence, cut=frozenset(cut), untold=frozenset(untold))


@cache
def _load(directory: Path) -> "tuple[LobeNetwork, float]":
    """Read the network of a folder, if its weights are those that the manifest names; also its grid in mm."""
    from safetensors.torch import load  # noqa: PLC0415 - see the top

    from analysis.anatomy.lobe_network import build  # noqa: PLC0415 - see the top

    try:
        manifest = json.loads((directory / MANIFEST_NAME).read_text())
        content = (directory / WEIGHTS_NAME).read_bytes()
        widths, grid_mm = tuple(int(width) for width in manifest["widths"]), float(manifest["grid_mm"])
        named = str(manifest["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UntrustedWeights("The weights of the lobes, or their manifest, are missing or malformed.") from error
    found = hashlib.sha256(content).hexdigest()
    if found != named:
        raise UntrustedWeights(f"{WEIGHTS_NAME} has SHA-256 {found}, its manifest names {named}.")
    return build(load(content), widths), grid_mm
