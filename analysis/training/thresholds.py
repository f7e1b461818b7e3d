"""Choose the probability from which a pixel is lesion: ``python -m analysis.training.thresholds --checkpoints DIR``.

Each case is predicted once, by the run of a cross-validation that held it out, and judged at every threshold of a grid.
Of those that keep the false burden of the controls within a limit, and whose mean Dice is the best or hardly less, the
lowest is chosen: Dice is flat around its best, and the lower threshold misses less. Because the same cases choose and
judge, the Dice of each fold at the threshold that the *other* folds choose is told beside it (``nested_lesion_dice``):
that is the figure to quote; one fold alone has none. One threshold more in the grid costs a comparison a pixel.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.training.datasets import CLASS_BITS, CONTROLS, LUNG, PATIENTS, load_cache
from analysis.training.held_out import HeldOutRun, held_out_runs
from analysis.training.trainer import OtherRun

GRID = tuple(round(0.05 * step, 2) for step in range(1, 15))
CONTROL_LIMIT_PERCENT = 1.0
"""Mean false burden of the controls above which a threshold is not chosen."""
DICE_TOLERANCE = 0.001
"""Mean Dice that is not told from the best: few cases move it by more."""


def judge(probability: NDArray[np.float32], mask: NDArray[np.uint8]) -> dict[str, Any]:
    """Lesion Dice (None without lesion) and burden in percent at each threshold of the grid, within the true lung.

    ``probability``: of lesion, ``(slice, row, column)``; ``mask``: the cache's bytes.
    """
    lung, lesion = (mask & LUNG) > 0, (mask & CLASS_BITS) > 0
    inside, true = probability[lung], lesion[lung]
    found = [inside >= threshold for threshold in GRID]
    total = int(lesion.sum())
    return {
        "true_burden_percent": 100.0 * total / max(1, inside.size),
        "burden_percent": [100.0 * int(one.sum()) / max(1, inside.size) for one in found],
        "lesion_dice": [2 * int((one & true).sum()) / (int(one.sum()) + total) for one in found] if total else None,
    }


def judge_run(run: HeldOutRun) -> list[dict[str, Any]]:
    """The judgements of the volumes that this run did not see."""
    return [
        {
            "case": case.name,
            "set": case.source.value,
            "fold": run.fold,
            **judge(run.lesion_probability(case), run.cache.mask[case.start : case.stop]),
        }
        for case in run.cases(PATIENTS + CONTROLS)
    ]


def choose(cases: Sequence[Mapping[str, Any]]) -> int:
    """Which threshold of the grid: the lowest of the best mean Dice where the controls allow it.

    Where they allow none, the one with the fewest false positives.
    """
    dice = np.mean([case["lesion_dice"] for case in cases if case["lesion_dice"] is not None], axis=0)
    controls = [case["burden_percent"] for case in cases if case["lesion_dice"] is None]
    false_percent = np.mean(controls, axis=0) if controls else np.zeros(len(GRID))
    allowed = false_percent <= CONTROL_LIMIT_PERCENT
    if not allowed.any():
        return int(false_percent.argmin())
    return int(np.argmax(allowed & (dice >= dice[allowed].max() - DICE_TOLERANCE)))


def summary(cases: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The table of the grid, what is chosen on all cases, and each fold's Dice at what the others choose."""
    patients = [case for case in cases if case["lesion_dice"] is not None]
    dice = np.array([case["lesion_dice"] for case in patients])
    burden = np.array([case["burden_percent"] for case in patients])
    true = np.array([case["true_burden_percent"] for case in patients])
    controls = np.array([case["burden_percent"] for case in cases if case["lesion_dice"] is None])
    chosen = choose(cases)
    folds = sorted({int(case["fold"]) for case in patients})
    nested = []
    for fold in folds if len(folds) > 1 else ():
        others = choose([case for case in cases if case["fold"] != fold])
        nested += [case["lesion_dice"][others] for case in patients if case["fold"] == fold]
    return {
        "threshold": GRID[chosen],
        "nested_lesion_dice": float(np.mean(nested)) if nested else None,
        "grid": [
            {
                "threshold": threshold,
                "lesion_dice": float(dice[:, k].mean()),
                "lesion_dice_worst": float(dice[:, k].min()),
                "burden_bias_points": float((burden[:, k] - true).mean()),
                "burden_r2": float(np.corrcoef(burden[:, k], true)[0, 1] ** 2) if len(patients) > 2 else None,
                "control_burden_percent": float(controls[:, k].mean()) if len(controls) else None,
            }
            for k, threshold in enumerate(GRID)
        ],
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoints", type=Path, required=True, help="folder with RECIPE-FOLD.pt")
    parser.add_argument("--recipe", default="lungsentry", help="whose runs (%(default)s)")
    parser.add_argument(
        "--cache", type=Path, default=Path(".train/cache.npz"), help="the cache that they were trained on (%(default)s)"
    )
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    arguments = parser.parse_args(argv)
    try:
        runs = held_out_runs(load_cache(arguments.cache), arguments.checkpoints, arguments.recipe)
        cases = [judged for run in runs for judged in judge_run(run)]
    except OtherRun as error:
        parser.error(f"{error}")
    if not any(case["lesion_dice"] is not None for case in cases):
        parser.error(f"{arguments.checkpoints} has no run of {arguments.recipe} that held a patient out")
    content: dict[str, Any] = {"set": "thresholds", "model": arguments.recipe, **summary(cases), "cases": cases}
    arguments.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    for row in content["grid"]:
        print("  ".join(f"{key} {value:.3f}" for key, value in row.items() if value is not None))  # noqa: T201
    nested = content["nested_lesion_dice"]
    told = "" if nested is None else f", nested lesion Dice {nested:.3f}"
    print(f"chosen {content['threshold']:g}{told}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
