"""The networks of the papers beside ours: ``python -m analysis.evaluation.side_by_side --out DIR``.

Measures what each costs (parameters, multiply-adds, processor time for a scan of 128 slices, memory for 16), takes what
cross-validations on the same folds and budget found (``--beside NAME.json ...``), and writes ``networks.json`` with
tests against ours, and ``networks.png``. What was not trained has costs alone.
"""

import argparse
import json
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis.evaluation import statistics
from analysis.training.datasets import CONTROLS, PATIENTS
from analysis.training.network_costs import NETWORKS, OURS

_CALLED_AT_PERCENT = 2.0
"""The burden at which the node flags a chest CT by default."""

_DRAWN = (
    ("parameters", "parameters, millions", 1e6, ".2f"),
    ("cpu_seconds_128", "time for 128 slices, s", 1, ".0f"),
    ("memory_mb_16", "memory for 16 slices, GB", 1e3, ".1f"),
)
"""What is drawn of a network: its figure, the panel's title, the unit and the form."""


def measured(name: str, *, windows: int) -> dict[str, Any]:
    """What a network costs, measured in a process of its own so that its memory is its own."""
    words = [sys.executable, "-m", "analysis.training.network_costs", "--network", name, "--windows", str(windows)]
    return json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)  # noqa: S603


def compared(cross_validations: Sequence[Mapping[str, Any]], ours: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What each cross-validation found, and how it differs from ours on the cases that both judged.

    Wilcoxon on the lesion Dice of patients, McNemar on calls of patients and controls at the burden of the settings.
    """
    rows: list[dict[str, Any]] = []
    for content in cross_validations:
        patients = _burdens(content, PATIENTS)
        controls = _burdens(content, CONTROLS)
        point = statistics.operating_point(list(patients.values()), list(controls.values()))
        row: dict[str, Any] = {
            "recipe": content["model"],
            "kind": content["runs"][0]["recipe"]["network"]["kind"],
            "folds": [run["fold"] for run in content["runs"]],
            "steps": [run["steps"] for run in content["runs"]],
            "windows": sum(run["steps"] * run["recipe"]["data"]["batch"] for run in content["runs"]),
            "crop": content["runs"][0]["recipe"]["data"]["crop"],
            "mean": content["mean"],
            "discrimination": statistics.discrimination(list(patients.values()), list(controls.values())),
            "operating_point": None if point is None else point.document(),
        }
        if content["model"] != ours["model"]:
            row["against_ours"] = _difference(content, ours)
        rows.append(row)
    return rows


def _difference(one: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    here, there = (
        {case["case"]: case["lesion_dice"] for case in content["cases"] if case.get("lesion_dice") is not None}
        for content in (one, ours)
    )
    shared = sorted(set(here) & set(there))
    calls: list[list[bool]] = []
    for content in (one, ours):
        right = {name: burden >= _CALLED_AT_PERCENT for name, burden in _burdens(content, PATIENTS).items()}
        right |= {name: burden < _CALLED_AT_PERCENT for name, burden in _burdens(content, CONTROLS).items()}
        calls.append([right[case["case"]] for case in ours["cases"] if case["case"] in right])
    return {
        "patients": len(shared),
        "lesion_dice": statistics.paired_difference([here[name] for name in shared], [there[name] for name in shared]),
        "calls": statistics.call_difference(*calls) if len(calls[0]) == len(calls[1]) else None,
    }


def _burdens(content: Mapping[str, Any], sources: Sequence[str]) -> dict[str, float]:
    return {case["case"]: case["burden_percent"] for case in content["cases"] if case["set"] in set(sources)}


def draw(costs: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Parameters, processor time and memory of each network as bars, ours in another colour."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 0.4 * len(costs) + 1), dpi=150, layout="constrained")
    panels = figure.subplots(1, len(_DRAWN), sharey=True)
    titles = [row["title"] for row in costs]
    colours = ["tab:blue" if row["network"] == OURS else "tab:gray" for row in costs]
    for axes, (key, title, scale, form) in zip(panels, _DRAWN, strict=True):
        values = [row[key] / scale for row in costs]
        bars = axes.barh(titles, values, color=colours)
        axes.bar_label(bars, [format(value, form) for value in values], padding=3, fontsize=8)
        axes.set(title=title, xscale="log", xlim=(min(values) / 8, 4 * max(values)))
        axes.set_xticks([], minor=False)
        axes.set_xticks([], minor=True)
        axes.spines[["top", "right", "bottom"]].set_visible(False)
    panels[0].invert_yaxis()
    figure.savefig(path)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--networks", default=",".join(NETWORKS), help="names, by comma (%(default)s)")
    parser.add_argument("--windows", type=int, default=4, help="windows that are timed (%(default)s)")
    parser.add_argument("--beside", type=Path, nargs="*", default=[], help="JSON of cross-validations, ours first")
    arguments = parser.parse_args(argv)
    arguments.out.mkdir(parents=True, exist_ok=True)
    costs = [measured(name, windows=arguments.windows) for name in arguments.networks.split(",")]
    found = [json.loads(path.read_text(encoding="utf-8")) for path in arguments.beside]
    document = {
        "set": "networks",
        "machine": f"{platform.machine()}, one thread, float32",
        "costs": costs,
        "trained": compared(found, found[0]) if found else [],
    }
    (arguments.out / "networks.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    draw(costs, arguments.out / "networks.png")
    for row in costs:
        print(json.dumps(row))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
