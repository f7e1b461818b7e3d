"""Small figures as SVG values: attributes only, for a strict policy forbids styles in pages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from alerts.change import days_between
from analysis.findings import Findings, Lobe, RegionFindings

__all__ = ["Bar", "LobeShape", "StripBar", "TrendPoint", "bar_of", "lobes_of", "strip_of", "trend_of"]

_FULL_PERCENT = 50.0
_LOBES: dict[Lobe, str] = {
    # the patient's right is on the left, as on every picture
    Lobe.RIGHT_UPPER: "M44 6 C30 8 17 22 12 40 L46 46 L46 10 Z",
    Lobe.RIGHT_MIDDLE: "M11 45 L46 51 L46 68 L22 58 C18 56 12 52 10 50 Z",
    Lobe.RIGHT_LOWER: "M8 53 C14 58 20 62 46 74 L46 88 C34 84 18 84 6 90 C4 76 5 64 8 53 Z",
    Lobe.LEFT_UPPER: "M56 6 C70 8 83 22 88 42 C86 56 72 62 54 74 L54 10 Z",
    Lobe.LEFT_LOWER: "M90 48 C94 60 97 76 94 90 C82 84 66 84 54 88 L54 80 C72 68 86 62 90 48 Z",
}
_GRADES = (1.0, 5.0, 25.0)
"""Shares (percent) from which a lobe is drawn a shade stronger; below a tenth of one it counts as clear."""
_CLEAR_PERCENT = 0.1
_LABEL_APART = 20.0
"""Dates of a trend closer than this would lie on each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """Widths in percent of the bar: ground glass, then high opacity."""

    ggo: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LobeShape:
    """A lobe to draw: its outline, its share, and the class of its shade."""

    name: str
    path: str
    percent: float | None
    shade: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendPoint:
    """An examination in the trend: where it lies in a box of 100 x 60, and what it says."""

    x: float
    y: float
    percent: float
    date: str
    ctac: bool
    labelled: bool


def bar_of(region: RegionFindings, full_percent: float = _FULL_PERCENT) -> Bar:
    """The region's opacities on a bar whose end is ``full_percent``."""
    ggo = min(100.0, region.ggo_percent / full_percent * 100)
    return Bar(ggo=round(ggo, 2), high=round(min(100.0 - ggo, region.pho_percent / full_percent * 100), 2))


def lobes_of(findings: Findings) -> tuple[LobeShape, ...]:
    """The five lobes, shaded by their share of opacity; outlined only where one was not told."""
    return tuple(_lobe(findings, lobe, path) for lobe, path in _LOBES.items())


def trend_of(points: Sequence[tuple[str, float, bool]]) -> tuple[TrendPoint, ...]:
    """Examinations (date, burden, whether a CTAC), the earliest first, spread by time; none where there is one only."""
    if len(points) < 2:
        return ()
    dates = [date for date, _, _ in points]
    spread = days_between(dates[0], dates[-1]) or 0
    most = max(percent for _, percent, _ in points) or 1.0
    places = [
        round(6 + 88 * _share(index, days_between(dates[0], date), spread, len(points)), 2)
        for index, date in enumerate(dates)
    ]
    return tuple(
        TrendPoint(
            x=places[index],
            labelled=index in {0, len(points) - 1}
            or min(places[index] - places[index - 1], places[-1] - places[index]) >= _LABEL_APART,
            y=round(54 - 44 * percent / most, 2),
            percent=percent,
            date=_short(date),
            ctac=ctac,
        )
        for index, (date, percent, ctac) in enumerate(points)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class StripBar:
    """One slice on the strip of 1000 x 100, the head on the left: heights of lung, ground glass and high opacity."""

    index: int
    x: float
    width: float
    lung: float
    ggo: float
    high: float


def strip_of(manifest: Mapping[str, Any]) -> tuple[StripBar, ...]:
    """Area of opacity by slice; the tallest fills the strip, the lung behind it is drawn to a scale of its own."""
    count = int(manifest["slices"])
    ggo, high, lung = manifest["ggo_mm2"], manifest["high_opacity_mm2"], manifest["lung_mm2"]
    most = max((a + b for a, b in zip(ggo, high, strict=True)), default=0.0) or 1.0
    most_lung = max(lung, default=0.0) or 1.0
    width = 1000 / count
    return tuple(
        StripBar(
            index=index,
            x=round((count - 1 - index) * width, 2),
            width=round(width * 0.86, 2),
            lung=round(90 * lung[index] / most_lung, 1),
            ggo=round(96 * ggo[index] / most, 1),
            high=round(96 * high[index] / most, 1),
        )
        for index in range(count)
    )


def _share(index: int, days: int | None, spread: int, count: int) -> float:
    return days / spread if days is not None and spread > 0 else index / (count - 1)


def _short(date: str) -> str:
    try:
        return datetime.strptime(date, "%Y%m%d").strftime("%-d %b %y")  # noqa: DTZ007 - a date of a study has no zone
    except ValueError:
        return date


def _lobe(findings: Findings, lobe: Lobe, path: str) -> LobeShape:
    region = findings.lobes.get(lobe)
    if region is None or not findings.reliable:
        return LobeShape(name=lobe.value, path=path, percent=None, shade="lobe-untold")
    percent = region.burden_percent
    grade = 0 if percent < _CLEAR_PERCENT else 1 + sum(percent >= bound for bound in _GRADES)
    return LobeShape(name=lobe.value, path=path, percent=percent, shade=f"lobe-{grade}" if grade else "")
