"""Learn where a lung lies beside the other one, and judge it on chests of which a lung is painted opaque.

``python -m analysis.training.places --data FOLDER --out analysis/weights/places`` reads ``lobes`` (whole lungs without
grey values) to learn from, and ``lctsc`` and ``covid20`` to judge by: each lung of ``lctsc`` is filled with
consolidation as a whole, in its lower half and in its back, and no scan as it comes may gain anything.
"""

import argparse
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from analysis.anatomy import LEFT, RIGHT, LungModel, Lungs, segment_lungs
from analysis.anatomy.air import Grid
from analysis.anatomy.hidden_lung import GRID_MM, LIKELY, WEIGHTS_NAME, PlaceModel
from analysis.anatomy.place_frame import SAMPLES, Field, PlaceFrame
from analysis.anatomy.sides import split_sides
from analysis.anatomy.weights import write_weights
from analysis.measure.hidden import with_hidden_lung
from analysis.series.volume import Volume
from analysis.training.datasets import Source
from analysis.training.lobe_maps import LobeMap, load_maps, scan_of
from analysis.training.lung_cases import LungScan, read_scans

Mask = NDArray[np.bool_]

SIDES = {RIGHT: "right", LEFT: "left"}
_AIR_HU = -930
_GRAIN_PX, _GRAIN_HU, _NOISE_HU, _DENSE_HU = 1.5, 45.0, 12.0, 20.0
_WITHIN_PERCENT = 20.0
_LOG = logging.getLogger(__name__)


def learn(maps: Sequence[LobeMap]) -> dict[str, Field]:
    """For either lung the share of the maps in which each place beside the other lung is that lung."""
    return {name: np.mean([_place_of(map_, side) for map_ in maps], axis=0) for side, name in SIDES.items()}


def _place_of(map_: LobeMap, side: int) -> Field:
    volume, lungs = scan_of(map_.lobes, map_.spacing_mm)
    axes_mm = tuple(np.arange(count) * map_.spacing_mm for count in volume.hu.shape)
    frame = PlaceFrame.beside(lungs.labels == RIGHT + LEFT - side, axes_mm, towards=1 if side == LEFT else -1)
    return frame.taken(lungs.labels == side, axes_mm)


def opaque(scan: LungScan, sides: NDArray[np.uint8], *, seed: int = 0) -> Iterator[tuple[str, int, Mask, Volume]]:
    """Each lung of a scan filled as a whole, in its lower half and in its back: name, side, what was filled, volume.

    The air of the bronchi stays.
    """
    grain = gaussian_filter(np.random.default_rng(seed).normal(0, 1, scan.volume.hu.shape), _GRAIN_PX)
    noise = np.random.default_rng(seed + 1).normal(0, _NOISE_HU, grain.shape)
    dense = (_DENSE_HU + _GRAIN_HU * grain / grain.std() + noise).astype(np.int16)
    levels, rows, _ = np.ogrid[tuple(map(slice, grain.shape))]
    for side, name in SIDES.items():
        places = np.nonzero(sides == side)
        for part, held in (
            ("whole", np.ones_like(levels, bool)),
            ("lower half", levels <= np.median(np.unique(places[0]))),
            ("back", rows > np.median(places[1])),
        ):
            filled = (sides == side) & held
            hu = np.where(filled & (scan.volume.hu > _AIR_HU), dense, scan.volume.hu)
            yield f"{name}, {part}", side, filled, replace(scan.volume, hu=hu)


def judge(scans: Sequence[LungScan], lungs: LungModel, places: PlaceModel) -> dict[str, object]:
    """How much of a painted opacity is found, the burden by it against the true one, and what healthy scans gain."""
    painted: dict[str, dict[str, float]] = {}
    gained: dict[str, float] = {}
    for scan in scans:
        plain = segment_lungs(scan.volume, lungs, valid=scan.known)
        gained[scan.name] = round(_volume_ml(scan.volume, with_hidden_lung(scan.volume, plain, places).hidden), 1)
        if scan.source is not Source.LCTSC:
            continue
        sides = split_sides(_grid(scan.volume), scan.lung.astype(np.uint32), np.ones_like(scan.lung))
        for name, _side, filled, volume in opaque(scan, sides):
            found = with_hidden_lung(volume, segment_lungs(volume, lungs), places)
            painted[f"{scan.name}, {name}"] = _figures(found, filled, sides)
            _LOG.info("%s, %s: %s", scan.name, name, painted[f"{scan.name}, {name}"])
    plain = {"scans": len(gained), "gaining": sum(ml > 0 for ml in gained.values())}
    return {"painted": _summed(painted), "as_they_come": plain, "gained_ml": gained, "cases": painted}


def _figures(found: Lungs, filled: Mask, sides: NDArray[np.uint8]) -> dict[str, float]:
    hidden = np.zeros_like(filled) if found.hidden is None else found.hidden
    opaque_voxels, added = int(np.count_nonzero(filled)), int(np.count_nonzero(hidden))
    true = 100 * opaque_voxels / int(np.count_nonzero(sides))
    burden = 100 * added / max(1, int(np.count_nonzero(found.labels)))
    return {
        "found_share": round(int(np.count_nonzero(found.mask & filled)) / opaque_voxels, 3),
        "hidden_dice": round(2 * int(np.count_nonzero(hidden & filled)) / (added + opaque_voxels), 3),
        "burden_percent": round(burden, 2),
        "true_burden_percent": round(true, 2),
        "burden_error_percent": round(100 * (burden / true - 1), 1),
    }


def _summed(painted: Mapping[str, Mapping[str, float]]) -> dict[str, object]:
    """Means by part, and the share of cases whose burden is told within a fifth."""
    summed: dict[str, object] = {}
    for part in ("whole", "lower half", "back"):
        own = [item for name, item in painted.items() if name.endswith(part)]
        if own:
            errors = np.abs([item["burden_error_percent"] for item in own])
            summed[part] = {
                "cases": len(own),
                "found_share": round(float(np.mean([item["found_share"] for item in own])), 3),
                "hidden_dice": round(float(np.mean([item["hidden_dice"] for item in own])), 3),
                "within_a_fifth": int(np.count_nonzero(errors <= _WITHIN_PERCENT)),
                "worst_error_percent": float(errors.max()),
            }
    return summed


def _volume_ml(volume: Volume, mask: Mask | None) -> float:
    return 0.0 if mask is None else float(mask.sum(axis=(1, 2)) @ volume.voxel_volumes_ml())


def _grid(volume: Volume) -> Grid:
    return Grid(
        hu=volume.hu.astype(np.float32),
        slice_mm=volume.slice_spacing_mm,
        row_mm=volume.row_spacing_mm,
        column_mm=volume.column_spacing_mm,
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds lobes/, lctsc/ and covid20/")
    parser.add_argument("--out", type=Path, required=True, help="folder for weights, manifest and figures")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    maps = load_maps(arguments.data / "lobes")
    state = {name: torch.from_numpy(share).half() for name, share in learn(maps).items()}
    manifest = {
        "name": "place of a lung beside the other",
        "version": "0.1.0",
        "samples": list(SAMPLES),
        "grid_mm": GRID_MM,
        "likely": LIKELY,
        "training": {"maps": len(maps), "data": "LUNA16 lobe label maps (CC BY-NC-SA 4.0)"},
    }
    write_weights(arguments.out, WEIGHTS_NAME, manifest, state, evaluation={})
    figures = judge(tuple(read_scans(arguments.data)), LungModel.load(), PlaceModel.load(arguments.out))
    what = "a lung of lctsc painted opaque, found by its place; scans as they come gain nothing"
    write_weights(arguments.out, WEIGHTS_NAME, manifest, state, evaluation={"what": what, **figures})
    print(json.dumps(figures["painted"], indent=1))  # noqa: T201


if __name__ == "__main__":
    main()
