"""What a GPU is asked in one go: ``python -m analysis.training.gpu --cache FILE --out DIR --minutes 12``.

First the model of the package on the card and on the CPU: how many labels differ, and how long a scan takes
(``device.json``). Then, in the time that is left, the cross-validation of each recipe, all runs alike in length
(:mod:`.crossvalidate`, whose files and checkpoints lie beside it). Without a card the CPU takes its place.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from analysis.model.segmenter import Segmenter
from analysis.model.self_check import phantom
from analysis.training import crossvalidate
from analysis.training.datasets import FOLD_COUNT

RECIPES = ("lungsentry", "killekar2022", "unet2d", "unet3d", "denseunet3d")
"""Ours first: what is told last may run out of time."""

SLICES = 128
"""Length of the scan that is timed, as in the papers' tables."""

_COMPARED_SLICES = 6
_SPACING_MM = 3.0
_START_SECONDS = 12.0
"""What a run takes beside its steps: its process, its data, the judgement of its cases."""


def main(argv: Sequence[str] | None = None) -> int:
    """Compare, then train; 0 when every run ended."""
    arguments = _parser().parse_args(argv)
    started = time.monotonic()
    arguments.out.mkdir(parents=True, exist_ok=True)
    told = compared(arguments.device, slices=arguments.slices)
    (arguments.out / "device.json").write_text(json.dumps(told, indent=1), encoding="utf-8")
    print(json.dumps(told))  # noqa: T201
    folds = arguments.folds.split(",")
    words = ["--cache", str(arguments.cache), "--out", str(arguments.out), "--device", arguments.device]
    words += ["--recipe", arguments.recipe, "--folds", arguments.folds, "--jobs", str(arguments.jobs)]
    words += ["--checkpoints", str(arguments.out / "checkpoints"), "--vgg", str(arguments.vgg)]
    if arguments.steps is not None:
        return crossvalidate.main([*words, "--steps", str(arguments.steps)])
    left = 60 * arguments.minutes - (time.monotonic() - started)
    seconds = seconds_a_run(left, runs=len(folds) * len(arguments.recipe.split(",")), jobs=arguments.jobs)
    if seconds <= 0:
        print(f"{left:.0f} s are too little for these runs", file=sys.stderr)  # noqa: T201
        return 1
    return crossvalidate.main([*words, "--seconds-per-fold", f"{seconds:.1f}"])


def seconds_a_run(left: float, *, runs: int, jobs: int) -> float:
    """How long each run may train, so that all of them end in the time left; 0 where there is none."""
    rounds = -(-runs // jobs)
    return max(0.0, left / rounds - _START_SECONDS)


def compared(device: str, *, slices: int = SLICES) -> dict[str, Any]:
    """The package's model on this device and on the CPU, on a phantom: labels that differ, seconds of a scan."""
    hu, lung, _ = phantom()
    on_device, on_cpu = Segmenter.load(device=device), Segmenter.load(device="cpu")

    def labels(segmenter: Segmenter, count: int) -> tuple[np.ndarray, float]:
        index = np.arange(count) % len(hu)
        start = time.perf_counter()
        found = segmenter.segment(hu[index], lung[index], slice_spacing_mm=_SPACING_MM)
        return found, time.perf_counter() - start

    one, _ = labels(on_device, _COMPARED_SLICES)
    other, cpu_seconds = labels(on_cpu, _COMPARED_SLICES)
    _, seconds = labels(on_device, slices)
    return {
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else device,
        "torch": torch.__version__,
        "slices": slices,
        "seconds": round(seconds, 3),
        "cpu_seconds_a_slice": round(cpu_seconds / _COMPARED_SLICES, 4),
        "labels_differing_percent": 100 * float(np.mean(one != other)),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="what analysis.training.prepare made")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=12.0, help="for everything (%(default)s)")
    length.add_argument("--steps", type=int, default=None, help="length of each run in steps, for a trial")
    parser.add_argument("--recipe", default=",".join(RECIPES), help="names or TOML files, by comma (%(default)s)")
    parser.add_argument(
        "--folds", default=",".join(map(str, range(FOLD_COUNT))), help="numbers or 'all', by comma (%(default)s)"
    )
    parser.add_argument("--jobs", type=int, default=4, help="runs at a time on the one card (%(default)s)")
    parser.add_argument("--slices", type=int, default=SLICES, help="length of the scan that is timed (%(default)s)")
    parser.add_argument("--vgg", type=Path, default=Path(".train/vgg16_to_conv3_3.npz"), help="VGG16's features")
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="where to compute (%(default)s)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
