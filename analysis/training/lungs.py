"""Train the networks of the lungs on manual lungs, and cross-validate them by patient.

``python -m analysis.training.lungs --data FOLDER --out analysis/weights/lungs --folds 0 1 2 3 4`` reads ``lctsc`` and
``covid20`` under the folder, cross-validates, then trains on all scans and exports the weights with their manifest and
the figures of every scan that was held out, as it is and with a left lung that is opaque in part or throughout. With
``--work FOLDER`` a training that was broken off is resumed, and networks that are done are not trained again.
"""

import argparse
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from analysis.anatomy import cavity_network, lung_network
from analysis.anatomy.classical import classical_lungs
from analysis.anatomy.lung_field import Border, LungNetworks, tell_lungs
from analysis.anatomy.lungs import CAVITIES_PREFIX, LUNGS_PREFIX, WEIGHTS_NAME, add_airless, draw_lungs, working_grid
from analysis.anatomy.weights import write_weights
from analysis.training.datasets import FOLD_COUNT, Source
from analysis.training.fitting import Fitting
from analysis.training.lung_border import fit_border
from analysis.training.lung_cases import LungCase, LungScan, even_case, read_scans
from analysis.training.lung_networks import WIDTHS, trained
from analysis.training.lung_opacities import Opacity, opaque

LUNG_STEPS, CAVITY_STEPS = 450, 2000
RATE = 2e-3
_LOG = logging.getLogger(__name__)

Figures = Mapping[str, float | str | None]


def score(networks: LungNetworks, border: Border, scan: LungScan) -> dict[str, float | str | None]:
    """Dice of both lungs on the scan's own grid, share of its lesions inside, and volume against the true one.

    ``dense_percent`` is what the lungs hold that is without air and thick, in percent of them.
    """
    grid = working_grid(scan.volume, scan.known)
    field = tell_lungs(networks, grid, scan.volume.slice_positions_mm, classical_lungs(grid))
    labels = draw_lungs(field, grid, border, scan.lung.shape)
    dense = np.count_nonzero(add_airless(labels, scan.volume, field))
    found = labels > 0
    lesion = int(np.count_nonzero(scan.lesion))
    total = np.count_nonzero(found) + np.count_nonzero(scan.lung)
    return {
        "source": scan.source.value,
        "dice": round(float(2 * np.count_nonzero(found & scan.lung) / total), 4),
        "lesion_inside": round(float(np.count_nonzero(found & scan.lesion) / lesion), 4) if lesion else None,
        "volume_ratio": round(float(np.count_nonzero(found) / np.count_nonzero(scan.lung)), 4),
        "dense_percent": round(100 * float(dense / max(1, np.count_nonzero(found))), 2),
    }


def score_opaque(networks: LungNetworks, border: Border, scan: LungScan, *, seed: int) -> dict[str, Figures]:
    """The same of a whole chest whose left lung is opaque in each way; ``true_dense_percent`` is what is so."""
    found: dict[str, Figures] = {}
    for kind in Opacity:
        dense = with_dense_lung(scan, kind, np.random.default_rng((seed, len(found))))
        share = float(np.count_nonzero(dense.lesion) / np.count_nonzero(dense.lung))
        figures = score(networks, border, dense) | {"true_dense_percent": round(100 * share, 2)}
        found[f"{scan.name} {kind.value}"] = figures | {"source": f"opaque {kind.value}"}
    return found


def with_dense_lung(scan: LungScan, kind: Opacity, random: np.random.Generator) -> LungScan:
    """A scan whose left lung is opaque, with what is so as its lesion."""
    _, _, columns = np.nonzero(scan.lung)
    middle = (int(columns.min()) + int(columns.max())) // 2
    lung = scan.lung.astype(np.float32)
    left = lung * (np.arange(lung.shape[2]) > middle)
    hu, share = opaque(scan.volume.hu.astype(np.float32), left, lung - left, kind, random)
    if scan.known is not None:
        hu = np.where(scan.known, hu, scan.volume.hu)
    lesion = scan.lesion | ((share > 0.5) & scan.lung & (left > 0))
    return replace(scan, volume=replace(scan.volume, hu=np.rint(hu).astype(np.int16)), lesion=lesion)


def cross_validate(
    scans: Sequence[LungScan],
    cases: Sequence[LungCase],
    *,
    lungs: Fitting,
    cavities: Fitting,
    folds: Sequence[int] = tuple(range(FOLD_COUNT)),
    widths: tuple[int, ...] = WIDTHS,
    work: Path | None = None,
) -> dict[str, Figures]:
    """Figures of each scan of these folds, by networks and a border that have not seen it."""
    found: dict[str, Figures] = {}
    for fold in folds:
        networks = trained(fold, cases, lungs=lungs, cavities=cavities, widths=widths, work=work)
        border = fit_border(networks, [scan for scan in scans if scan.fold != fold], seed=lungs.seed)
        figures: dict[str, Figures] = {}
        for scan in scans:
            if scan.fold == fold:
                figures[scan.name] = score(networks, border, scan)
                if scan.source is Source.LCTSC:
                    figures |= score_opaque(networks, border, scan, seed=lungs.seed)
        _LOG.info("fold %d: %s %s", fold, json.dumps(figures), border)
        found |= figures
    return found


def report(figures: Mapping[str, Figures]) -> dict[str, object]:
    """Mean and worst Dice and share of lesions inside, by source, and the figures of each scan."""
    found: dict[str, object] = {
        "what": "both lungs against manual ones on held-out scans; split by patient; covid20 at an assumed size"
    }
    sources = (Source.LCTSC.value, Source.COVID20.value, *(f"opaque {kind.value}" for kind in Opacity))
    for source in sources:
        own = [item for item in figures.values() if item["source"] == source]
        for figure in ("dice", "lesion_inside"):
            values = [float(value) for item in own if isinstance(value := item[figure], float)]
            if values:
                found[f"{source.replace(' ', '_')}_{figure}"] = {
                    "scans": len(values),
                    "mean": round(float(np.mean(values)), 4),
                    "worst": min(values),
                }
    return found | {"scans": dict(figures)}


def joined_state(networks: LungNetworks) -> dict[str, Tensor]:
    """The tensors of both networks under the names that the file of weights has for them."""
    state = {LUNGS_PREFIX + name: value for name, value in networks.lungs.state_dict().items()}
    return state | {CAVITIES_PREFIX + name: value for name, value in networks.cavities.state_dict().items()}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds lctsc/ and covid20/")
    parser.add_argument("--out", type=Path, required=True, help="folder for weights, manifest and report")
    parser.add_argument("--work", type=Path, help="folder for checkpoints and networks that are done; resumes from it")
    parser.add_argument("--folds", type=int, nargs="*", default=[], help="cross-validate these folds of 0 to 4 first")
    parser.add_argument("--steps", type=int, default=LUNG_STEPS, help="steps of the network of the lungs")
    parser.add_argument("--cavity-steps", type=int, default=CAVITY_STEPS, help="steps of that of the cavities")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    scans = tuple(read_scans(arguments.data))
    cases = tuple(even_case(scan) for scan in scans)
    if arguments.work is not None:
        arguments.work.mkdir(parents=True, exist_ok=True)
    lungs, cavities = (
        Fitting(steps=steps, seed=arguments.seed, rate=RATE) for steps in (arguments.steps, arguments.cavity_steps)
    )
    figures = cross_validate(scans, cases, lungs=lungs, cavities=cavities, folds=arguments.folds, work=arguments.work)
    networks = trained(None, cases, lungs=lungs, cavities=cavities, work=arguments.work)
    border = fit_border(networks, scans, seed=arguments.seed)
    manifest = {
        "name": "right and left lung",
        "version": "0.2.0",
        "widths": list(networks.lungs.widths),
        "cavity_widths": list(networks.cavities.widths),
        "grid_mm": lung_network.GRID_MM,
        "cavity_grid_mm": cavity_network.GRID_MM,
        "border": asdict(border),
        "training": {
            "scans": len(cases),
            "steps": lungs.steps,
            "cavity_steps": cavities.steps,
            "seed": arguments.seed,
            "data": "LCTSC (CC BY 3.0); COVID-19 CT Lung and Infection Segmentation (non-commercial)",
        },
    }
    write_weights(
        arguments.out,
        WEIGHTS_NAME,
        manifest,
        joined_state(networks),
        evaluation={"folds": arguments.folds, **report(figures)},
    )


if __name__ == "__main__":
    main()
