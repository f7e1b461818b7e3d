"""The model card: ``python -m analysis.training.card --model DIR --evaluations DIR --out FILE``.

Written from the manifest, the recipe, and the figures that ``lungsentry evaluate`` and the cross-validation left as JSON
in the folder of ``--evaluations``; no figure stands in it that is not in one of these files.
"""
# ruff: noqa: E501 - a row of a Markdown table is one line

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from analysis.model.designs import network_of
from analysis.model.network import parameter_count
from analysis.model.weights import CARD_NAME, EVALUATION_NAME, Manifest, default_directory, read_manifest
from analysis.training.card_data import data_section, is_of_a_hospital
from analysis.training.card_figures import (
    anatomy_section,
    comparison_section,
    evaluations_section,
    lesion_threshold_section,
    thresholds_section,
)
from analysis.training.card_networks import networks_section
from analysis.training.datasets import Source
from analysis.training.evaluation import summarise
from analysis.training.recipes import DEFAULT_RECIPE, Recipe, load_recipe

NETWORKS_NAME = "networks.json"
"""Beside the shipped model: its network's cost and figures beside those of the papers."""

_TITLE = """# {name} {version}

{status}

Labels ground-glass opacity and high opacity (consolidation) in the lungs of a chest CT or a low-dose CT for attenuation
correction (CTAC), so that their volume can be measured. Network: {network} of Killekar et al. 2022
(J. Med. Imaging 9:054001){changed}, {parameters:,} parameters. SHA-256 of the weights: `{sha256}`.

## Intended use
Research. It measures opacity; it does not diagnose, and opacity has many causes beside COVID-19. Not a medical device,
not validated for clinical decisions, not for children. Every flagged case needs a reader.
"""

_LIMITS = """
## Limits
- Few scanners and patients{hospital}. Figures on so few held-out
  cases swing by 0.1 and more between checkpoints.
- No real CTAC was in the training data: blur and noise imitate one. Performance on real CTAC is not known.
- Diffuse disease: the training scans reach a burden of {highest:.0f} %; fuller ones are imitated by pasting and
  painting lesions.
- Truth is outlined by hand, now tightly, now widely: the last column of covid20's table tells how much of a labelled
  lesion is as aerated as the rest of its lungs. The model leaves that out, and stays below such a truth.
- Likely false positives: partial volume at the diaphragm and stomach, dependent and expiratory density, next to the
  heart; tumours and atelectasis are opacities too. No label tells pleural effusion from consolidation.
- An even, soft-edged opacity, as phantoms have, may be missed or taken for less than it is, wherever it lies: its
  border is called, its inside left out.
- Opacity outside the lung mask is not counted: where the mask misses lung, so does the result. Of one lung that was not
  found as a whole, soft tissue where it belongs counts as high opacity: consolidation, fluid, or what took its place.
- HU of covid20 are known to about 50 HU; those of medseg are estimated from soft tissue and aerated lung.
- Slices less than {nearest:g} mm or more than {farthest:g} mm apart were not trained on; beyond that the neighbours are
  taken farther away, or the slice stands in for them.
"""

_NETWORKS = {"paper": "the ConvLSTM segmentation network", "lite": "branches and gate of the ConvLSTM network"}
_CHANGED = {"paper": "", "lite": " at half of the resolution, with the trunk of EfficientNet-Lite0"}

_REASONS = {
    "loss.class_weights": "with 0.1, 1, 1 and gamma 3 background is called lesion up to a true probability of 9 %",
    "loss.gamma": "see class_weights",
    "loss.dice": "small lesions count as much as large ones",
    "loss.class_dice": "likewise for each class",
    "loss.perceptual": "judged with class_weights and gamma by `paper_loss_crop96` beside `lungsentry_crop96`",
    "loss.branches": "each branch learns to segment, not only their mix",
    "loss.split_weight": "consolidation is not a density threshold",
    "optimiser.learning_rate": "with warm-up and cosine a short run comes to its end",
    "optimiser.kind": "decay apart from the gradient",
    "optimiser.weight_decay": "AdamW in place of Adam",
    "optimiser.warmup": "the first steps do not throw the network off",
    "optimiser.gradient_norm": "one odd batch does not throw the network off",
    "optimiser.schedule": "a run of limited length comes to its end; no patient is kept from training",
    "optimiser.average_decay": "the running average of the weights is less noisy",
    "data.batch": "time",
    "data.controls": "few lesions: they are shown more often",
    "data.crop": "time; the network is fully convolutional",
    "augment.scale": "lungs of every size",
    "augment.max_stride": "slices of 1 to 9 mm",
    "augment.flip": "few patients",
    "augment.ctac": "no CTAC to train on",
    "augment.density": "expiration and dependent density are not lesion",
    "augment.expired_controls": "nor is deep expiration, or lung that sinks together where it lies lowest",
    "augment.paste": "few patients; higher burdens",
    "augment.synthetic": "higher burdens",
    "augment.alone": "pictures come without neighbours, and hold lesions: that must be no sign",
    "network.kind": "a trunk that ImageNet has taught learns more from few patients, at a fifteenth of the arithmetic",
    "network.imagenet": "see kind",
    "network.lstm_maps": "a richer context",
    "network.restructured": "concerns the paper's network alone",
    "network.head_maps": "pays for the ConvLSTM",
}
_OTHER_REASON = "few scanners: their look is varied"

_ALWAYS = {
    "paper": "a dense block starts from Xavier's initialisation (its ImageNet weights were not to be had); training in\n"
    "bfloat16 where the device has it. The paper leaves the sizes of the heads open: ours give its parameter count.",
    "lite": "another trunk at half of the resolution, so fewer parameters; training in bfloat16 where the device has it.",
}

_DEPARTURES = """
## Departures from the paper
Always: {always} In the
recipe:

| setting | paper | here | reason |
|---|---|---|---|
"""


def model_card(
    manifest: Manifest,
    recipe: Recipe,
    cases: Sequence[Mapping[str, Any]],
    *,
    device: str | None,
    highest_burden_percent: float,
    interim: bool,
    evaluations: Sequence[Mapping[str, Any]] = (),
    cross_validations: Sequence[Mapping[str, Any]] = (),
    lesion_threshold: Mapping[str, Any] | None = None,
    lungs: Mapping[str, Any] | None = None,
    lobes: Mapping[str, Any] | None = None,
    places: Mapping[str, Any] | None = None,
    networks: Mapping[str, Any] | None = None,
) -> str:
    """The card as Markdown; the highest burden is that of the training scans.

    ``cases`` are those of the recipe's own cross-validation, ``evaluations`` documents of ``lungsentry evaluate``,
    ``cross_validations`` those of every recipe that is shown beside it; ``lesion_threshold`` what
    :mod:`.thresholds` wrote; ``lungs``, ``lobes`` and ``places`` what the judgement of these models left,
    ``networks`` what ``analysis.evaluation.side_by_side`` wrote.
    """
    status = (
        "**Interim: exported before its training ended, so that the software can be run from end to end. "
        "Its measurements mean little.** Research use only."
        if interim
        else "Research use only. UNVERIFIED: the figures below are all that is known of it."
    )
    parts = [
        _TITLE.format(
            name=manifest.name,
            version=manifest.version,
            status=status,
            sha256=manifest.sha256,
            network=_NETWORKS[manifest.network.design],
            changed=_CHANGED[manifest.network.design],
            parameters=parameter_count(network_of(manifest.network)),
        ),
        data_section(manifest, recipe, device=device),
        evaluations_section(evaluations) if evaluations else "",
        _figures(cases) if cases else "",
        networks_section(networks or {}),
        comparison_section(cross_validations),
        anatomy_section(lungs or {}, lobes or {}, places or {}),
        _use(manifest),
        lesion_threshold_section(lesion_threshold or {}),
        thresholds_section(evaluations) if evaluations else "",
        _LIMITS.format(
            nearest=manifest.neighbour_distance_mm[0],
            farthest=manifest.neighbour_distance_mm[1],
            highest=highest_burden_percent,
            hospital="" if is_of_a_hospital(manifest.training) else ", and no patient of the hospital that runs it",
        ),
        _DEPARTURES.format(always=_ALWAYS[manifest.network.design]) + "\n".join(_departures(recipe)) + "\n",
    ]
    return "".join(parts)


def _figures(cases: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        "\n## Figures of the recipe, each case by the run that did not see it",
        "At a threshold of 0.5, at 256x256 inside the manual lung mask, in pixels. Dice is of both opacities together; a control should have none.",
        "",
        "| case | Dice | burden | true burden | Dice without neighbours |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {case['case']} | {_number(case.get('lesion_dice'), '.3f')} | {case['burden_percent']:.2f} % "
        f"| {case['true_burden_percent']:.2f} % | {_number(case.get('lesion_dice_no_context'), '.3f')} |"
        for case in cases
        if case["set"] != Source.MEDSEG
    ]
    pictures = [case for case in cases if case["set"] == Source.MEDSEG]
    if pictures:
        means = summarise(cases)
        shown = ", ".join(
            f"{title} {_number(means.get(f'medseg_{key}_dice'), '.3f')} (pooled {means[f'medseg_{key}_dice_pooled']:.3f})"
            for title, key in (("both opacities", "lesion"), ("ground glass", "ggo"), ("high opacity", "high_opacity"))
        )
        lines += ["", f"Single slices with both classes (medseg, {len(pictures)}), mean Dice where present: {shown}."]
    return "\n".join(lines) + "\n"


def _number(value: object, form: str) -> str:
    return format(value, form) if isinstance(value, float) else "-"


def _use(manifest: Manifest) -> str:
    thresholds = ", ".join(
        f"{profile.value}: {' '.join(f'{name} {value:g}' for name, value in sorted(values.items()))}"
        for profile, values in manifest.thresholds.items()
    )
    floor, ceiling = manifest.hu_range
    return (
        f"\n## Input, output, thresholds\n{manifest.network.slices} adjacent slices, cropped to the lung box of the scan "
        f"with {manifest.crop_margin_percent:g} % around it, {manifest.window_size}x{manifest.window_size}, HU clipped to "
        f"[{floor:g}, {ceiling:g}], z-score with mean {manifest.mean_hu:.1f} and standard deviation {manifest.sd_hu:.1f} HU "
        "(lung voxels of the training cases). A pixel is lesion where both opacities together reach the threshold and is "
        f"of the more probable one ({thresholds}).\n"
    )


def _departures(recipe: Recipe) -> list[str]:
    """One row for each setting that is not the paper's."""
    paper, ours = asdict(load_recipe(DEFAULT_RECIPE)), asdict(recipe)
    return [
        f"| {section}.{key} | {value} | {ours[section][key]} | {_REASONS.get(f'{section}.{key}', _OTHER_REASON)} |"
        for section, values in paper.items()
        if isinstance(values, dict)
        for key, value in values.items()
        if ours[section][key] != value
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """What a folder holds of evaluations, cross-validations and the choice of the lesion threshold, by name."""

    evaluations: tuple[dict[str, Any], ...] = ()
    cross_validations: tuple[dict[str, Any], ...] = ()
    lesion_threshold: dict[str, Any] = field(default_factory=dict)


def read_documents(folder: Path) -> Documents:
    """The JSON files of a folder by what they are; other JSON is passed over.

    Raises:
        ValueError: a file is not JSON.
    """
    evaluations: list[dict[str, Any]] = []
    cross_validations: list[dict[str, Any]] = []
    lesion_threshold: dict[str, Any] = {}
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            continue
        if "runs" in content:
            cross_validations.append(content)
        elif "statistics" in content:
            evaluations.append(content)
        elif "grid" in content:
            lesion_threshold = content
    return Documents(
        evaluations=tuple(evaluations), cross_validations=tuple(cross_validations), lesion_threshold=lesion_threshold
    )


def anatomy_figures(network: str) -> dict[str, Any]:
    """What the cross-validation of a network of the package left; empty where there is none."""
    path = default_directory() / network / EVALUATION_NAME
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def networks_beside() -> dict[str, Any]:
    """What the comparison with the papers' networks left; empty where there is none."""
    path = default_directory() / NETWORKS_NAME
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="the model folder")
    parser.add_argument("--evaluations", type=Path, required=True, help="folder of JSON files")
    parser.add_argument("--recipe", default=None, help="name or TOML file (default: the one that the manifest names)")
    parser.add_argument("--interim", action="store_true", help="say that the training had not ended")
    parser.add_argument("--out", type=Path, default=None, help=f"default: {CARD_NAME} in the model folder")
    arguments = parser.parse_args(argv)
    manifest = read_manifest(arguments.model)
    recipe = load_recipe(arguments.recipe or manifest.training.recipe)
    found = read_documents(arguments.evaluations)
    if not found.evaluations and not found.cross_validations:
        parser.error(f"{arguments.evaluations} holds no JSON of an evaluation or a cross-validation")
    own = next((one for one in found.cross_validations if one["model"] == recipe.name), None)
    cases = [] if own is None else own["cases"]
    known = [*cases, *(case for one in found.evaluations if one["set"] == Source.COVID20 for case in one["cases"])]
    card = model_card(
        manifest,
        recipe,
        cases,
        device=None if own is None else str(own["runs"][0]["device"]),
        highest_burden_percent=max([0.0, *(case.get("true_burden_percent") or 0.0 for case in known)]),
        interim=arguments.interim,
        evaluations=found.evaluations,
        cross_validations=found.cross_validations,
        lesion_threshold=found.lesion_threshold,
        lungs=anatomy_figures("lungs"),
        lobes=anatomy_figures("lobes"),
        places=anatomy_figures("places"),
        networks=networks_beside(),
    )
    out = arguments.out or arguments.model / CARD_NAME
    out.write_text(card, encoding="utf-8")
    print(f"{out}: {len(found.evaluations)} evaluations, {len(found.cross_validations)} cross-validations")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
