"""What ``model`` prints: a model as a document, and tables for people."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from dicom_node.cli.manual import RESEARCH_USE
from dicom_node.cli.output import number, print_fields, print_table, say, text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from analysis.model.registry import InstalledModel
    from analysis.model.weights import Manifest
    from db import ModelAssignment, StoredEvent, StoredShadowResult

_FIGURES = (
    "covid20_lesion_dice",
    "covid20_lesion_dice_worst",
    "covid20_burden_r2",
    "medseg_ggo_dice",
    "medseg_high_opacity_dice",
    "hospital_lesion_dice",
    "hospital_lesion_dice_worst",
    "lctsc_burden_percent",
    "lctsc_burden_percent_worst",
)
"""Of the means in ``evaluation.json``, those that are shown."""


def document(model: InstalledModel, assignments: Sequence[ModelAssignment]) -> dict[str, Any]:
    """The model as ``--json`` prints it; ``figures`` are the means of its ``evaluation.json``."""
    manifest = model.manifest
    return {
        "model": model.reference,
        "name": manifest.name,
        "version": manifest.version,
        "sha256": manifest.sha256,
        "shipped": model.shipped,
        "active_for": _profiles(model, assignments, "active"),
        "shadow_for": _profiles(model, assignments, "shadow"),
        "terms": manifest.terms,
        "thresholds": manifest.thresholds,
        "network": manifest.network,
        "training": manifest.training,
        "neighbour_distance_mm": manifest.neighbour_distance_mm,
        "figures": _figures(model),
        "folder": model.directory,
    }


def print_list(models: Sequence[InstalledModel], assignments: Sequence[ModelAssignment]) -> None:
    """One line a model."""
    print_table(
        ("model", "SHA-256", "network", "recipe", "active for", "in shadow for", "where from"),
        [
            (
                one.reference,
                f"{one.manifest.sha256[:12]}...",
                one.manifest.network.design,
                one.manifest.training.recipe,
                text(_profiles(one, assignments, "active")),
                text(_profiles(one, assignments, "shadow")),
                "shipped" if one.shipped else "package" if one.packaged else str(one.directory),
            )
            for one in models
        ],
        caption=RESEARCH_USE,
        empty="no model",
    )


def print_model(
    model: InstalledModel,
    assignments: Sequence[ModelAssignment],
    events: Sequence[StoredEvent],
    shadows: Sequence[StoredShadowResult],
) -> None:
    """All that is known of one model."""
    manifest, training = model.manifest, model.manifest.training
    nearest, farthest = manifest.neighbour_distance_mm
    left_out = "every case" if training.fold == "all" else f"every case but those of fold {training.fold}"
    print_fields(
        {
            "SHA-256": manifest.sha256,
            "terms": manifest.terms,
            "active for": _profiles(model, assignments, "active"),
            "in shadow for": _profiles(model, assignments, "shadow"),
            "network": f"{manifest.network.design}, {manifest.network.slices} slices",
            "slices apart": f"{nearest:g} to {farthest:g} mm in training",
            "recipe": f"{training.recipe}, {training.steps} steps in {training.seconds / 60:.0f} minutes",
            "trained on": left_out,
            "data, in slices": training.data,
            **_thresholds(manifest),
            "folder": model.directory,
            "card": next((path for path in (model.directory / "MODEL_CARD.md",) if path.is_file()), None),
        },
        title=model.reference,
    )
    figures = _figures(model)
    if shown := [(name, number(figures[name], 3)) for name in _FIGURES if name in figures]:
        print_table(("held-out cases, by the folds of its recipe", "mean"), shown, numeric=("mean",))
    if shadows:
        _print_shadows(shadows)
    if events:
        print_table(
            ("when", "event", "by", "what"),
            [(text(one.at), one.event, text(one.actor), text(one.detail)) for one in events],
            title="on this node",
        )
    say(RESEARCH_USE)


def print_checks(checks: Sequence[Mapping[str, Any]]) -> None:
    """One line a model that was verified."""
    for one in checks:
        if one["ok"]:
            found, true = one["phantom_opacity_percent"], one["phantom_true_opacity_percent"]
            seen = f"calls {found:.1f} % of a phantom's lung opacity ({true:.1f} % are)"
            say(f"{one['model']}: OK, SHA-256 {one['sha256']}, loads, {seen}", style="green")
        else:
            say(f"{one['model']}: not to be trusted. {one['why']}", style="bold red")


def _print_shadows(shadows: Sequence[StoredShadowResult]) -> None:
    measured = [one.shadow for one in shadows if one.shadow.findings is not None]
    dice = [one.lesion_dice for one in measured if one.lesion_dice is not None]
    print_fields(
        {
            "runs": len(shadows),
            "failed": len(shadows) - len(measured),
            "would have alerted": sum(1 for one in measured if one.would_alert),
            "Dice to the result, mean": number(sum(dice) / len(dice) if dice else None, 3),
            "seconds, mean": number(sum(one.seconds for one in measured) / len(measured) if measured else None, 1),
        },
        title="in shadow",
    )


def _profiles(model: InstalledModel, assignments: Sequence[ModelAssignment], role: str) -> list[str]:
    """The profiles for which the model has this role."""
    from analysis.findings import Profile

    told = {one.profile: one.reference for one in assignments if one.role.value == role}
    unassigned = model.reference if model.shipped and role == "active" else None
    return [profile.value for profile in Profile if told.get(profile, unassigned) == model.reference]


def _thresholds(manifest: Manifest) -> dict[str, object]:
    return {
        f"thresholds, {profile.value}": ", ".join(f"{name} {value:g}" for name, value in sorted(values.items()))
        for profile, values in manifest.thresholds.items()
    }


def _figures(model: InstalledModel) -> dict[str, float]:
    """The means of the model's own evaluation; none where it brought no figures that can be read."""
    from analysis.model.weights import EVALUATION_NAME

    try:
        means = json.loads((model.directory / EVALUATION_NAME).read_text(encoding="utf-8"))["mean"]
        return {str(name): float(value) for name, value in means.items() if isinstance(value, int | float)}
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return {}
