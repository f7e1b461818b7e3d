"""The model card's section on data: what the weights were trained on, under which terms, and by which commands."""
# ruff: noqa: E501 - a row of a Markdown table is one line

from collections.abc import Iterator

from analysis.model.weights import Manifest, TrainingSummary
from analysis.training.datasets import EVERYTHING, Source, source_told
from analysis.training.recipes import Recipe

_ROWS = {
    Source.COVID20: "| covid20: COVID-19 CT Lung and Infection Segmentation (Coronacases, Radiopaedia), lung crops "
    "| manual lesions, one class | via COVID19-CT-Segmentation (MIT) and Inf-Net (non-commercial) |",
    Source.MEDSEG: "| medseg: single slices of MedSeg / SIRM | manual, both classes: the only such truth "
    "| via Inf-Net, non-commercial |",
    Source.LCTSC: "| lctsc: TCIA LCTSC, radiotherapy planning, without COVID-19 "
    "| manual lungs; no opacity is taken to be there | CC BY 3.0 |",
    Source.HOSPITAL: "| hospital: own series with opacities | DICOM SEG or NIfTI masks | whoever gave them |",
    Source.HOSPITAL_CONTROL: "| hospital_control: own series without any | marked as such | whoever gave them |",
}
_OFTEN = 20
"""Passes over the slices under which a run that began anew is called short."""
_IMAGENET = "| ImageNet's weights of EfficientNet-Lite0, with which the trunk began | | Apache 2.0 |"
_VGG = "| VGG16's features, for the perceptual loss | | CC BY 4.0 |"
_OPEN_CLASS = (
    "Where a lesion's class is not labelled (covid20) it is left open in training: the sum of both opacities is supervised, "
    "and density\n(split at {split_hu:g} HU) decides between them with a weight of {split_weight:g}."
)


def data_section(manifest: Manifest, recipe: Recipe, *, device: str | None) -> str:
    """The section as Markdown; ``device`` is what the run was trained on, where that was noted."""
    return "\n".join(_lines(manifest, recipe, device)) + "\n"


def is_of_a_hospital(training: TrainingSummary) -> bool:
    """Whether series of the hospital's own were trained on."""
    return bool({Source.HOSPITAL, Source.HOSPITAL_CONTROL} & set(_sources(training)))


def _lines(manifest: Manifest, recipe: Recipe, device: str | None) -> Iterator[str]:
    training = manifest.training
    left_out = "every case" if training.fold == EVERYTHING else f"every case but those of fold {training.fold}"
    begun = f" It went on from {training.started_from}." if training.started_from else ""
    kept = f" Of that model's weights {100 * training.kept_share:g} % are mixed in." if training.kept_share else ""
    yield "\n## Data and their terms"
    yield (
        f"Trained on {left_out} (slices: {', '.join(training.data)}), recipe `{training.recipe}`, {training.steps} steps "
        f"in {training.seconds / 60:.0f} minutes{f' on {device}' if device else ''}.{begun}{kept} Folds are by patient."
    )
    yield from _budget(training, recipe)
    yield "\n```"
    yield from _commands(training)
    yield "```\n"
    yield "| data | truth | terms |"
    yield "|---|---|---|"
    yield from (_ROWS[source] for source in _sources(training))
    if recipe.network.imagenet or (manifest.network.design == "lite" and training.started_from):
        yield _IMAGENET
    if recipe.loss.perceptual:
        yield _VGG
    yield f"\n**{manifest.terms}**\n"
    yield _OPEN_CLASS.format(split_hu=recipe.loss.split_hu, split_weight=recipe.loss.split_weight)


def _budget(training: TrainingSummary, recipe: Recipe) -> Iterator[str]:
    """How short a run was that began anew; nothing of one that saw its slices often, or went on from another."""
    slices = sum(int(told.rpartition("(")[2].rstrip(")")) for told in training.data)
    windows = training.steps * recipe.data.batch
    if training.started_from is None and windows < _OFTEN * slices:
        yield (
            f"\n**A small budget: {windows:,} windows of {recipe.data.crop} pixels, {windows / slices:.1f} passes over its "
            "slices, where the paper trains until the loss falls no more. The figures are of this budget, not of what the "
            "network can do; it is here to be compared with, and is not used unless it is activated.**"
        )


def _commands(training: TrainingSummary) -> Iterator[str]:
    """What repeats the run, for each model of the chain that it went on from in turn."""
    start = " --start-from MODEL" if training.started_from else ""
    if is_of_a_hospital(training):
        yield f"lungsentry train --data DATA --recipe {training.recipe} --steps {training.steps}{start} --out OUT"
        return
    yield "python -m analysis.training.prepare --data DATA"
    yield (
        f"python -m analysis.training.crossvalidate --recipe {training.recipe} --folds {training.fold} "
        f"--steps {training.steps}{start} --checkpoints RUNS"
    )
    run = f"RUNS/{training.recipe}-{training.fold}.pt"
    if training.kept_share:
        yield f"python -m analysis.training.blend --run {run} --with MODEL --share {training.kept_share:g} --out BLENDED.pt"
        run = "BLENDED.pt"
    went_on = " --started-from MODEL" if training.started_from else ""
    yield f"python -m analysis.training.export --run {run} --fold {training.fold}{went_on} --version VERSION --out OUT"


def _sources(training: TrainingSummary) -> list[Source]:
    """Those of the manifest that this version knows."""
    names = {source_told(told) for told in training.data}
    return [source for source in Source if source.value in names]
