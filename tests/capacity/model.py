"""A week of a nation's chest CT: examinations come by day and hour, wait for a core, and are analysed.

Arrivals are a Poisson process whose rate follows the hours and days; every core takes the next examination in line as
soon as it is free, and needs what was measured. All is drawn from one seed: the same costs give the same figures.
"""

import heapq
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Load", "figures", "load", "week"]

HERE = Path(__file__).resolve().parent
SEED = 20261201
HOUR_S, DAY_S = 3600.0, 86_400.0
WEEKS_A_YEAR = 365.25 / 7
_GIB, _TIB = 2.0**30, 2.0**40


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Costs that were measured, and what is assumed of the nation."""

    costs: dict[str, Any]
    assumed: dict[str, Any]

    @property
    def examinations_a_year(self) -> int:
        """Chest CT and CTAC."""
        return int(self.assumed["chest_ct_a_year"] + self.assumed["ctac_a_year"])

    @property
    def images_an_examination(self) -> float:
        """On average."""
        chest, ctac = self.assumed["chest_ct_a_year"], self.assumed["ctac_a_year"]
        images = chest * self.assumed["images_of_a_chest_ct"] + ctac * self.assumed["images_of_a_ctac"]
        return float(images / (chest + ctac))

    @property
    def analysis_s(self) -> float:
        """Of one core: as long for each image as it was measured."""
        return float(self.costs["analysis_processor_s"] / self.costs["analysis_images"] * self.images_an_examination)

    @property
    def rates(self) -> NDArray[np.float64]:
        """Examinations an hour, for each hour of a week from Monday's midnight on."""
        days = np.asarray(self.assumed["day_weights"], float)
        hours = np.asarray(self.assumed["hour_weights"], float)
        weights = np.outer(days, hours).ravel()
        return self.examinations_a_year / WEEKS_A_YEAR * weights / weights.sum()


@dataclass(frozen=True, slots=True, kw_only=True)
class Week:
    """What became of a week: seconds from the last image to the result, and how busy the cores were."""

    cores: int
    p50_s: float
    p95_s: float
    longest_s: float
    longest_line: int
    busy: float


def load() -> Load:
    """Of the two files beside this one."""
    costs, assumed = (tomllib.loads((HERE / name).read_text()) for name in ("costs.toml", "assumptions.toml"))
    return Load(costs=costs, assumed=assumed)


def arrivals(given: Load) -> NDArray[np.float64]:
    """Seconds of the week at which examinations end, in their order."""
    generator = np.random.default_rng(SEED)
    counts = generator.poisson(given.rates)
    starts = np.repeat(np.arange(len(counts)) * HOUR_S, counts)
    return np.sort(starts + generator.uniform(0, HOUR_S, len(starts)))


def week(given: Load, at: NDArray[np.float64], cores: int) -> Week:
    """The week with so many cores, first come first served."""
    service = given.analysis_s
    free = [0.0] * cores
    begins = np.empty(len(at))
    for number, moment in enumerate(at.tolist()):
        begun = max(moment, free[0])
        heapq.heapreplace(free, begun + service)
        begins[number] = begun
    late = begins - at + service
    p50, p95 = np.quantile(late, [0.5, 0.95])
    line = np.arange(1, len(at) + 1) - np.searchsorted(begins, at, side="right")
    return Week(
        cores=cores,
        p50_s=float(p50),
        p95_s=float(p95),
        longest_s=float(late.max()),
        longest_line=int(line.max()),
        busy=len(at) * service / (cores * 7 * DAY_S),
    )


def least(given: Load, at: NDArray[np.float64]) -> Week:
    """The week with the fewest cores that keep the promise."""
    mean = len(at) * given.analysis_s / (7 * DAY_S)
    low, high = int(mean), int(given.rates.max() / HOUR_S * given.analysis_s) + 2
    while low + 1 < high:
        middle = (low + high) // 2
        if week(given, at, middle).p95_s <= given.assumed["results_within_s"]:
            high = middle
        else:
            low = middle
    return week(given, at, high)


def figures() -> str:
    """All of them, as the document has them."""
    given = load()
    at = arrivals(given)
    best = least(given, at)
    peak = float(given.rates.max()) / HOUR_S
    rows = [
        ("examinations a year", f"{given.examinations_a_year:,}"),
        ("examinations an hour, on average and at the peak", f"{_mean(given) * HOUR_S:,.0f}; {peak * HOUR_S:,.0f}"),
        ("images a second at the peak", f"{peak * given.images_an_examination:,.0f}"),
        ("bytes a second at the peak", f"{_peak_bytes(given) / 1e6:,.0f} MB"),
        ("one analysis on one core", f"{given.analysis_s:.0f} s"),
    ]
    lines = ["### The load", *_table(("", ""), rows), "", "### Cores for analysis"]
    weeks = [best, *(week(given, at, round(best.cores * share)) for share in (0.9, 0.8, 1.2))]
    lines += _table(
        ("cores", "busy", "result after, half", "95 %", "longest", "longest line"),
        [
            (
                f"{one.cores:,}",
                f"{one.busy:.0%}",
                _time(one.p50_s),
                _time(one.p95_s),
                _time(one.longest_s),
                f"{one.longest_line:,}",
            )
            for one in sorted(weeks, key=lambda one: one.cores)
        ],
    )
    lines += ["", "### What else", *_table(("", "at the peak, or a year", "one gives", "needed"), _others(given, peak))]
    lines += ["", "### What grows", *_table(("", "a year"), _growth(given))]
    return "\n".join(lines) + "\n"


def _others(given: Load, peak: float) -> list[tuple[str, ...]]:
    costs, share = given.costs, given.assumed["core_share"]
    images = peak * given.images_an_examination
    an_image = costs["receiver_processor_s_an_instance"]
    jobs_a_connection = 1 / costs["database_s_a_job"]
    return [
        (
            "receiver",
            f"{images:,.0f} images/s",
            f"{share / an_image:,.0f} images/s a core",
            f"{_up(images * an_image / share)} cores",
        ),
        (
            "database: jobs",
            f"{peak:.1f} jobs/s",
            f"{jobs_a_connection:.0f} jobs/s a connection",
            f"{_up(peak / jobs_a_connection / share)} connections at work",
        ),
        ("network to the store", f"{_peak_bytes(given) * 8 / 1e9:.1f} Gbit/s in, as much out", "", ""),
    ]


def _growth(given: Load) -> list[tuple[str, ...]]:
    costs, year = given.costs, given.examinations_a_year
    images = year * given.images_an_examination
    kept = images * costs["instance_bytes"] * given.assumed["images_kept_days"] / 365.25
    flagged = year * given.assumed["flagged_share"]
    return [
        ("rows of instances", f"{images / 1e9:.1f} thousand million"),
        ("database: instances", f"{images * costs['database_bytes_an_instance'] / _TIB:.1f} TiB"),
        ("database: all else", f"{year * costs['database_bytes_a_result'] / _GIB:,.0f} GiB"),
        ("results of flagged examinations", f"{flagged * costs['result_bytes'] / _TIB:.1f} TiB"),
        (f"images, of {given.assumed['images_kept_days']} days", f"{kept / _TIB:,.0f} TiB, and no more"),
    ]


def _mean(given: Load) -> float:
    return given.examinations_a_year / (WEEKS_A_YEAR * 7 * DAY_S)


def _peak_bytes(given: Load) -> float:
    return float(given.rates.max()) / HOUR_S * given.images_an_examination * float(given.costs["instance_bytes"])


def _up(value: float) -> int:
    return int(np.ceil(value))


def _time(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 600
        else f"{seconds / 60:.0f} min"
        if seconds < 36_000
        else f"{seconds / HOUR_S:.0f} h"
    )


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows)]
