"""The model card's section on the networks of the papers: what each costs, what was measured, what was published."""
# ruff: noqa: E501 - a row of a Markdown table is one line

from collections.abc import Mapping
from typing import Any

_PUBLISHED = """
Published, as named there. None is a figure of this project; only those on the same slices can be held against each other.

| network | figure | on |
|---|---|---|
| ConvLSTM, UNet2D, UNet3D (Killekar et al. 2022, table 5) | Dice of GGO 0.917, 0.915, 0.895; of high opacity 0.947, 0.943, 0.940 | 197 patients of its own, five folds |
| ConvLSTM with controls in training, without (the same, table 8) | at 95 % sensitivity a specificity of 77.3 %, 70.8 % (McNemar p < 0.0001) | 892 persons |
| Semi-Inf-Net + MC (Fan et al. 2020) | Dice of GGO 0.639, of consolidation 0.471 | test half of medseg |
| FSS-2019-nCov | Dice of GGO 0.679, of consolidation 0.529 | test half of medseg |
| DeepLabv3 in two stages (Zhang et al. 2020) | mean Dice 0.587 | data of its own, five folds |
| DCN (Gao et al. 2021) | lesion Dice 0.835, AUROC 0.977 | data of its own |
"""


def networks_section(document: Mapping[str, Any]) -> str:
    """Costs and, where a network was trained on the same folds and budget, its figures beside ours; else nothing."""
    if not document:
        return ""
    trained = {row["kind"]: row for row in document["trained"]}
    how = (
        f"By `python -m analysis.evaluation.side_by_side` ({document['machine']}; a time on a shared machine is a rough "
        "one): multiply-adds of 16 windows as the network is written, processor time for 128 slices of 256x256 in the "
        "form in which it is fastest, memory for 16 slices at once."
    )
    told = "Where no figure stands the network was not trained on these folds at this budget: not measured."
    head, rule = "network | parameters | 10^12 multiply-adds | time, s | memory, MB", "|---|---|---|---|---|"
    if trained:
        head += " | lesion Dice | burden of controls | AUROC | p of Wilcoxon, of McNemar"
        rule += "---|---|---|---|"
    else:
        told = "They were not all trained on the same folds at one budget; those that were stand in the next table."
    lines = ["", "## The networks of the papers beside ours", f"{how} {told}", "", f"| {head} |", rule]
    for row in document["costs"]:
        cost = f"{row['parameters']:,} | {row['tera_macs_16']:.3f} | {row['cpu_seconds_128']:.0f} | {row['memory_mb_16']:,}"
        figures = f" {_figures(trained.get(row['kind']))} |" if trained else ""
        lines.append(f"| {row['title']} | {cost} |{figures}")
    return "\n".join(lines) + "\n" + _PUBLISHED


def _figures(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "- | - | - | -"
    against = row.get("against_ours") or {}
    kinds = (("lesion_dice", "wilcoxon_p"), ("calls", "mcnemar_p"))
    tests = [(against.get(name) or {}).get(key) for name, key in kinds]
    told = ", ".join("-" if value is None else f"{value:.3f}" for value in tests)
    mean, auroc = row["mean"], (row["discrimination"] or {}).get("auroc")
    return (
        f"{_number(mean.get('covid20_lesion_dice'), '.3f')} | {_number(mean.get('lctsc_burden_percent'), '.2f')} | "
        f"{_number(auroc, '.3f')} | {told}"
    )


def _number(value: object, form: str) -> str:
    return format(value, form) if isinstance(value, int | float) else "-"
