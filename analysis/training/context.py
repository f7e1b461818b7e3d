"""What the neighbouring slices are good for: ``python -m analysis.training.context --checkpoints DIR --out DIR``.

Each control is labelled twice by the run of a cross-validation that held it out: with its neighbours, and with the
centre slice in their place. Written are the false burdens of both, of the whole lung and of its basal third, where the
domes of diaphragm and stomach lie (``context.json``, ``context.png``), and the slices that differ most as pictures
(``slices/``; they show patients, and stay out of what is published).
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.training.datasets import CODE_HU, CODE_ZERO_HU, CONTROLS, LUNG, load_cache
from analysis.training.held_out import HeldOutRun, held_out_runs
from analysis.training.trainer import OtherRun

_WITH, _WITHOUT = "with neighbours", "centre slice three times"
_SHOWN_SLICES = 3
_WINDOW_HU = (-1000.0, 200.0)
_DPI = 110

Mask = NDArray[np.bool_]


def false_burdens_percent(found: Mask, lung: Mask) -> dict[str, float]:
    """Share of the lung that is called lesion, of all of it and of its basal third; slices run from feet to head."""
    slices = np.flatnonzero(lung.any(axis=(1, 2)))
    basal = slices[: max(1, len(slices) // 3)]
    return {
        "burden_percent": 100.0 * int((found & lung).sum()) / max(1, int(lung.sum())),
        "basal_burden_percent": 100.0 * int((found & lung)[basal].sum()) / max(1, int(lung[basal].sum())),
    }


def _compare(run: HeldOutRun, *, threshold: float, pictures: Path) -> list[dict[str, Any]]:
    compared = []
    for case in run.cases(CONTROLS):
        lung = (run.cache.mask[case.start : case.stop] & LUNG) > 0
        found = {
            name: (run.lesion_probability(case, context=context) >= threshold) & lung
            for name, context in ((_WITH, True), (_WITHOUT, False))
        }
        figures = {name: false_burdens_percent(mask, lung) for name, mask in found.items()}
        compared.append({"case": case.name, "fold": run.fold, **figures})
        grey = run.cache.grey[case.start : case.stop]
        differing = np.argsort([-int((found[_WITH][k] ^ found[_WITHOUT][k]).sum()) for k in range(len(lung))])
        for k in differing[:_SHOWN_SLICES].tolist():
            _draw_slice(grey[k], {name: mask[k] for name, mask in found.items()}, pictures / f"{case.name}-{k:03}.png")
    return compared


def mean_of(cases: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean over the controls of each figure, with neighbours and without."""
    return {
        name: {key: float(np.mean([case[name][key] for case in cases])) for key in cases[0][name]}
        for name in (_WITH, _WITHOUT)
    }


def _draw_slice(grey: NDArray[np.uint8], found: Mapping[str, Mask], path: Path) -> None:
    figure = Figure(figsize=(4 * len(found), 4.2), layout="constrained")
    hu = grey * CODE_HU + CODE_ZERO_HU
    for k, (name, mask) in enumerate(found.items()):
        axes = figure.add_subplot(1, len(found), k + 1)
        axes.imshow(hu, cmap="gray", vmin=_WINDOW_HU[0], vmax=_WINDOW_HU[1])
        if mask.any():
            axes.contour(mask, levels=[0.5], colors="tab:red", linewidths=0.8)
        axes.set_title(name, fontsize="small")
        axes.set_axis_off()
    FigureCanvasAgg(figure).print_figure(str(path), dpi=_DPI)


def draw(cases: Sequence[Mapping[str, Any]], path: Path) -> None:
    """False burden of each control with and without neighbours, whole lung and basal third, as bars."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    names, places = [case["case"] for case in cases], np.arange(len(cases))
    for k, (key, title) in enumerate((("burden_percent", "whole lung"), ("basal_burden_percent", "basal third"))):
        axes = figure.add_subplot(1, 2, k + 1)
        for side, name in ((-0.2, _WITH), (0.2, _WITHOUT)):
            axes.bar(places + side, [case[name][key] for case in cases], width=0.38, label=name)
        axes.set_xticks(places, names, rotation=45, ha="right", fontsize="x-small")
        axes.set(ylabel="false burden, %", title=title)
        axes.legend(fontsize="small")
    FigureCanvasAgg(figure).print_figure(str(path), dpi=_DPI)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoints", type=Path, required=True, help="folder with RECIPE-FOLD.pt")
    parser.add_argument("--recipe", default="lungsentry", help="whose runs (%(default)s)")
    parser.add_argument(
        "--cache", type=Path, default=Path(".train/cache.npz"), help="the cache that they were trained on (%(default)s)"
    )
    parser.add_argument("--threshold", type=float, default=0.5, help="probability from which a pixel is lesion")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    arguments = parser.parse_args(argv)
    pictures = arguments.out / "slices"
    pictures.mkdir(parents=True, exist_ok=True)
    try:
        runs = held_out_runs(load_cache(arguments.cache), arguments.checkpoints, arguments.recipe)
        cases = [
            compared for run in runs for compared in _compare(run, threshold=arguments.threshold, pictures=pictures)
        ]
    except OtherRun as error:
        parser.error(f"{error}")
    if not cases:
        parser.error(f"{arguments.checkpoints} has no run of {arguments.recipe} that held a control out")
    means = mean_of(cases)
    content = {
        "set": "context",
        "model": arguments.recipe,
        "threshold": arguments.threshold,
        "cases": cases,
        "mean": means,
    }
    (arguments.out / "context.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    draw(cases, arguments.out / "context.png")
    rows: list[dict[str, Any]] = [*cases, {"case": "mean", **means}]
    for case in rows:
        figures = "  ".join(
            f"{name}: {case[name]['burden_percent']:.2f} % (basal {case[name]['basal_burden_percent']:.2f} %)"
            for name in (_WITH, _WITHOUT)
        )
        print(f"{case['case']:16s} {figures}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
