"""Learning curves: read from the log of a run, drawn as a picture. Needs matplotlib (``lungsentry[train]``)."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

__all__ = ["draw_curves", "read_curve"]

_SMOOTH_SHARE = 0.05
_DPI = 120


def read_curve(log: Path) -> list[dict[str, float]]:
    """The entries of a run's log, one a step; of a step that was run again after a stop, the later one.

    A line that is still being written is left out; no log is an empty curve.
    """
    entries: dict[int, dict[str, float]] = {}
    if not log.exists():
        return []
    for line in log.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        entries[int(entry["step"])] = entry
    return [entries[step] for step in sorted(entries)]


def draw_curves(curves: Mapping[str, Sequence[Mapping[str, float]]], path: Path) -> None:
    """Draw the loss of each run over its steps: single batches faint, their running mean bold, validation dashed."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for name, entries in curves.items():
        steps, losses = [e["step"] for e in entries], [e["loss"] for e in entries]
        (faint,) = axes.plot(steps, losses, linewidth=0.8, alpha=0.3)
        axes.plot(steps, _running_mean(losses), color=faint.get_color(), linewidth=1.8, label=name)
        if validated := [(e["step"], e["validation_loss"]) for e in entries if "validation_loss" in e]:
            axes.plot(*zip(*validated, strict=True), "--", color=faint.get_color(), label=f"{name}, validation")
    axes.set(xlabel="step", ylabel="loss", title="Loss in training")
    axes.grid(alpha=0.3)
    if any(curves.values()):
        axes.legend(fontsize="small")
    FigureCanvasAgg(figure).print_figure(str(path), dpi=_DPI)


def _running_mean(values: Sequence[float]) -> list[float]:
    """Mean over the last twentieth of the run, so that the trend of noisy batches can be seen."""
    width = max(1, round(len(values) * _SMOOTH_SHARE))
    return [float(np.mean(values[max(0, k + 1 - width) : k + 1])) for k in range(len(values))]
