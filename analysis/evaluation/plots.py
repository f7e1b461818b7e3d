"""Plots of an evaluation's document, as PNG: agreement, discrimination, each case, two models side by side."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from statsmodels.graphics.agreement import mean_diff_plot

from analysis.evaluation import statistics
from analysis.evaluation.cases import EvaluationSet
from analysis.evaluation.document import MAIN_FIGURES

_BLUE, _ORANGE, _GREY = "#1f6f9f", "#d9730d", "#8a8f98"
_LEAST_PAIRS = 3
_DPI = 120
_BAR_INCHES = 0.24

Case = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A PNG with what it shows."""

    png: bytes
    caption: str


def plots(document: Mapping[str, Any]) -> list[Plot]:
    """Every plot that a document has the figures for."""
    return list(_plots(document))


def _plots(document: Mapping[str, Any]) -> Iterator[Plot]:
    cases, controls = document["cases"], document.get("controls", [])
    main = [key for key in MAIN_FIGURES[EvaluationSet(document["set"])] if _values(cases, key)]
    if main:
        yield _by_case([*cases, *controls], main[0])
    shares = [key for key in main if "dice" in key or "share" in key]
    if shares and len(cases) > 1:
        yield _distribution(cases, shares)
    for one, other, name in (
        ("burden_percent", "true_burden_percent", "burden (%)"),
        ("lesion_voxels", "true_lesion_voxels", "lesion (voxels)"),
        ("lung_volume_ml", "true_lung_volume_ml", "lung (mL)"),
    ):
        pairs = [
            (case[one], case[other]) for case in cases if case.get(one) is not None and case.get(other) is not None
        ]
        if len(pairs) >= _LEAST_PAIRS and any(true for _, true in pairs):
            yield _agreement(np.asarray(pairs, np.float64), name)
    if controls and _values(cases, "burden_percent"):
        yield _discrimination(_values(cases, "burden_percent"), _values(controls, "burden_percent"), document)
    if comparison := document.get("comparison"):
        yield from _side_by_side(comparison, document["model"])


def _values(cases: Sequence[Case], key: str) -> list[float]:
    return [float(case[key]) for case in cases if isinstance(case.get(key), int | float)]


def _by_case(cases: Sequence[Case], key: str) -> Plot:
    """The figure of every case, in order of its value."""
    told = sorted(((float(c[key]), str(c["case"])) for c in cases if isinstance(c.get(key), int | float)), reverse=True)
    figure, axes = _figure(6.0, 0.9 + _BAR_INCHES * len(told))
    axes.barh([name for _, name in told], [value for value, _ in told], color=_BLUE, height=0.7)
    axes.tick_params(axis="y", labelsize=7)
    axes.margins(y=0.01)
    axes.set_xlabel(_title(key))
    return Plot(png=_png(figure), caption=f"{_title(key)} of each case.")


def _distribution(cases: Sequence[Case], keys: Sequence[str]) -> Plot:
    figure, axes = _figure(6.0, 3.4)
    columns = [_values(cases, key) for key in keys]
    axes.boxplot(columns, showfliers=False, medianprops={"color": _ORANGE})
    random = np.random.default_rng(0)  # where points lie beside each other, nothing else
    for place, values in enumerate(columns, start=1):
        axes.plot(place + random.uniform(-0.12, 0.12, len(values)), values, "o", ms=3, color=_BLUE, alpha=0.6)
    axes.set_xticks(range(1, len(keys) + 1), [_title(key).replace(" ", "\n", 1) for key in keys], fontsize=8)
    axes.set_ylim(top=1.02)
    return Plot(png=_png(figure), caption="Distribution over cases: median, quartiles, and every case as a point.")


def _agreement(pairs: npt.NDArray[np.float64], name: str) -> Plot:
    """Found against true, and their difference against their mean (Bland and Altman)."""
    differs = np.ptp(pairs[:, 0] - pairs[:, 1]) > 0  # else there are no limits to show
    figure = Figure(figsize=(9.0 if differs else 4.5, 3.6), layout=None if differs else "constrained")
    left, *others = figure.subplots(1, 2 if differs else 1, squeeze=False)[0]
    top = float(pairs.max()) * 1.05
    left.plot([0, top], [0, top], color=_GREY, lw=1)
    left.plot(pairs[:, 1], pairs[:, 0], "o", color=_BLUE, ms=5, alpha=0.8)
    left.set_xlabel(f"true {name}")
    left.set_ylabel(f"found {name}")
    found = statistics.agreement(pairs[:, 0].tolist(), pairs[:, 1].tolist())
    r2 = found["pearson_r2"] if found else None
    left.set_title("" if r2 is None else f"Pearson R² {r2:.3f}", fontsize=9)
    for right in others:
        mean_diff_plot(pairs[:, 0], pairs[:, 1], ax=right, scatter_kwds={"color": _BLUE, "alpha": 0.8})
        low, high = right.get_ylim()  # set by the limits of agreement, which leave outliers out
        reach = 1.1 * float(np.abs(pairs[:, 0] - pairs[:, 1]).max())
        right.set_ylim(min(low, -reach), max(high, reach))
        right.set_xlabel(f"mean of found and true {name}", fontsize=9)
        right.set_ylabel(f"found minus true {name}", fontsize=9)
        right.tick_params(labelsize=8)
        for text in right.texts:
            text.set_fontsize(8)
    return Plot(
        png=_png(figure),
        caption=f"{name.capitalize()}: found against true with the line of identity, and Bland-Altman with "
        "bias and limits of agreement.",
    )


def _discrimination(patients: Sequence[float], controls: Sequence[float], document: Mapping[str, Any]) -> Plot:
    figure = Figure(figsize=(9.0, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(*statistics.roc(patients, controls), color=_BLUE, lw=2)
    left.plot([0, 1], [0, 1], color=_GREY, lw=1)
    left.set_xlabel("1 - specificity")
    left.set_ylabel("sensitivity")
    found = document["statistics"]["patients_against_controls"]
    low, high = found["auroc_ci95"] or (None, None)
    interval = "" if low is None else f" ({low:.3f} to {high:.3f})"
    left.set_title(f"AUROC {found['auroc']:.3f}{interval}", fontsize=9)
    for place, (values, colour) in enumerate(((controls, _GREY), (patients, _ORANGE))):
        right.plot(values, [place] * len(values), "o", color=colour, alpha=0.7)
    right.set_yticks([0, 1], ["controls", "patients"])
    right.set_ylim(-0.6, 1.6)
    right.set_xlabel("burden (%)")
    right.set_xscale("symlog", linthresh=1)
    if point := document["statistics"].get("operating_point"):
        right.axvline(point["threshold_burden_percent"], color=_BLUE, lw=1)
        right.set_title(f"threshold {point['threshold_burden_percent']:.2f} %", fontsize=9)
    return Plot(png=_png(figure), caption="Patients against controls by their burden; the line is the operating point.")


def _side_by_side(comparison: Mapping[str, Any], model: str) -> Iterator[Plot]:
    """The main figure of each case by both models, joined by a line."""
    key = next(iter(comparison["figures"]))
    pairs = [(case[key]["here"], case[key]["there"]) for case in comparison["cases"] if key in case]
    if not pairs:
        return
    figure, axes = _figure(4.2, 3.6)
    for here, there in pairs:
        axes.plot([0, 1], [there, here], "o-", color=_BLUE if here >= there else _ORANGE, lw=1, ms=4, alpha=0.8)
    axes.set_xticks([0, 1], [str(comparison["against"]), model], fontsize=8)
    axes.set_xlim(-0.3, 1.3)
    axes.set_ylabel(_title(key))
    yield Plot(png=_png(figure), caption=f"{_title(key)} of each case by both models.")


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _title(key: str) -> str:
    return key.replace("_percent", " %").replace("_", " ").replace("dice", "Dice")


def _png(figure: Figure) -> bytes:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    stream = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(stream, format="png", dpi=_DPI)
    return stream.getvalue()
