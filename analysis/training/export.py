"""Turns a run into the model folder: ``python -m analysis.training.export --run FILE --version X --out DIR``.

``--run`` is a checkpoint (``*.pt``, also of a run that is still going on: its averaged weights are taken) or the
``NAME.safetensors`` of a cross-validation. The figures of the card come from ``--evaluation NAME.json``; without it
the cases that the fold did not see are evaluated now.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from safetensors import safe_open

from analysis.errors import AnalysisError
from analysis.findings import Profile
from analysis.model.designs import network_of as network_of_shape
from analysis.model.labels import LESION_PROBABILITY
from analysis.model.lite_network import LiteNetwork
from analysis.model.network import ConvLstmNetwork
from analysis.model.weights import (
    CARD_NAME,
    EVALUATION_NAME,
    LESION_THRESHOLD,
    Manifest,
    TrainingSummary,
    pack_weights,
    read_manifest,
    write_weights,
)
from analysis.training.augment import SliceStore
from analysis.training.blend import KEPT_SHARE
from analysis.training.card import anatomy_figures, model_card
from analysis.training.datasets import CLASS_BITS, EVERYTHING, LUNG, PATIENTS, Cache, Source, load_cache, source_told
from analysis.training.evaluation import evaluate_cases, summarise
from analysis.training.networks import network_shape
from analysis.training.recipes import Recipe
from analysis.training.trainer import OtherRun, normalisation_of

EXPORTED_KINDS = ("convlstm", "lite")
"""The networks that the segmenter has; others are measured, not exported."""
_TERMS: dict[str, str] = {
    Source.COVID20: "covid20 (via Inf-Net, non-commercial)",
    Source.MEDSEG: "medseg (via Inf-Net, non-commercial)",
    Source.LCTSC: "lctsc (CC BY 3.0)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The weights of one run and what is known of it; ``kept_share`` of them are those that it went on from."""

    state: Mapping[str, torch.Tensor]
    recipe: Recipe
    fold: str
    steps: int
    seconds: float
    device: str | None
    kept_share: float = 0.0


def read_run(path: Path, fold: str, evaluation: Mapping[str, Any] | None) -> Run:
    """A run from a checkpoint or from the weights of a cross-validation, whose figures tell steps and seconds."""
    recipes = TypeAdapter(Recipe)
    kept_share = 0.0
    told = next((run for run in (evaluation or {}).get("runs", ()) if run["fold"] == fold), {})
    if path.suffix == ".pt":
        stored = torch.load(path, map_location="cpu", weights_only=True)
        recipe = recipes.validate_json(stored["recipe"])
        if stored.get("fold", fold) != fold:
            raise OtherRun(f"{path.name} is of fold {stored['fold']}, not of fold {fold}")
        state = stored["average" if recipe.optimiser.keeps_weights else "network"]
        steps, seconds = int(stored["step"]), float(stored["seconds"])
        kept_share = float(stored.get(KEPT_SHARE, 0.0))
    else:
        prefix = f"fold{fold}."
        with safe_open(str(path), framework="pt") as stored:
            names = list(stored.keys())
            state = {key.removeprefix(prefix): stored.get_tensor(key) for key in names if key.startswith(prefix)}
            recipe = recipes.validate_json(stored.metadata()["recipe"])
        if not state:
            raise ValueError(f"no weights of fold {fold} in {path.name}")
        steps, seconds = int(told.get("steps", 0)), float(told.get("seconds", 0.0))
    return Run(
        state=state,
        recipe=recipe,
        fold=fold,
        steps=steps,
        seconds=seconds,
        device=told.get("device"),
        kept_share=kept_share,
    )


def network_of(run: Run) -> ConvLstmNetwork | LiteNetwork:
    """The network of a run with its weights, ready for inference."""
    if run.recipe.network.kind not in EXPORTED_KINDS:
        raise ValueError(f"the segmenter has no network of the kind {run.recipe.network.kind}")
    network = network_of_shape(network_shape(run.recipe.network))
    network.load_state_dict(run.state)
    return network.eval()


def export(
    run: Run,
    cache: Cache,
    out: Path,
    *,
    name: str,
    version: str,
    evaluation: Mapping[str, Any] | None,
    interim: bool,
    started_from: Path | None = None,
    thresholds: Mapping[Profile, float] | None = None,
    evaluations: Sequence[Mapping[str, Any]] = (),
    cross_validations: Sequence[Mapping[str, Any]] = (),
) -> Manifest:
    """Write the weights, the manifest, the figures and the card of a run.

    ``started_from`` is the model folder that the run went on from, ``thresholds`` are the lesion probabilities by
    profile (without one: 0.5), ``evaluations`` and ``cross_validations`` what the card shows beside the run's own
    figures (:func:`.card.model_card`). A run on every case has no figures of its own: without ``evaluation`` those of
    ``evaluations``, on cases of other data, are all there are.
    """
    fold = None if run.fold == EVERYTHING else int(run.fold)
    mean_hu, sd_hu = normalisation_of(run.recipe, cache, cache.training(fold))
    if evaluation is not None:
        cases = list(evaluation["cases"])
        if not cases:
            raise ValueError("the evaluation holds no case: that of the five folds is meant, not that of this run")
    elif fold is None and evaluations:
        cases = []
    else:
        store = SliceStore(cache, torch.device("cpu"))
        held_out = cache.held_out(fold)
        if not held_out:
            raise ValueError("no case was held out: --evaluation of its folds is needed, or --measured on others")
        network = network_of(run)
        cases = evaluate_cases(
            network,
            cache,
            store,
            held_out,
            mean_hu=mean_hu,
            sd_hu=sd_hu,
            slices=run.recipe.network.slices,
            ablations=not interim,
        )
    content, sha256 = pack_weights(network_of(run).state_dict())
    earlier = None if started_from is None else read_manifest(started_from)
    data = _data(cache.trained_on(fold), earlier)
    training = TrainingSummary(
        recipe=run.recipe.name,
        data=data,
        fold=run.fold,
        steps=run.steps,
        seconds=round(run.seconds, 1),
        started_from=None if earlier is None else _described(earlier),
        kept_share=run.kept_share,
    )
    manifest = Manifest(
        name=name,
        version=version,
        sha256=sha256,
        network=network_shape(run.recipe.network),
        mean_hu=mean_hu,
        sd_hu=sd_hu,
        training=training,
        terms=_terms(data),
        thresholds={
            profile: {LESION_THRESHOLD: (thresholds or {}).get(profile, LESION_PROBABILITY)} for profile in Profile
        },
    )
    write_weights(out, manifest, content)
    figures = {"set": "held out", "model": name, "version": version, "cases": cases, "mean": summarise(cases)}
    (out / EVALUATION_NAME).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    card = model_card(
        manifest,
        run.recipe,
        cases,
        device=run.device,
        highest_burden_percent=_highest_burden_percent(cache, fold),
        interim=interim,
        evaluations=evaluations,
        cross_validations=cross_validations,
        lungs=anatomy_figures("lungs"),
        lobes=anatomy_figures("lobes"),
        places=anatomy_figures("places"),
    )
    (out / CARD_NAME).write_text(card, encoding="utf-8")
    return manifest


def _data(own: Sequence[str], earlier: Manifest | None) -> tuple[str, ...]:
    """What the run was trained on, and what the model that it went on from was: its data and their terms stay."""
    sources = {source_told(told) for told in own}
    inherited = () if earlier is None else earlier.training.data
    return (*own, *(told for told in inherited if source_told(told) not in sources))


def _terms(data: Sequence[str]) -> str:
    """The terms of use that follow from the data, each told as ``source (slices)``."""
    named = [_TERMS.get(source_told(told), f"{source_told(told)} (the terms of whoever gave it)") for told in data]
    return f"Research use only. Trained on {', '.join(named)}: the strictest of their terms holds."


def _highest_burden_percent(cache: Cache, fold: int | None) -> float:
    burdens = [0.0]
    for case in cache.training(fold):
        if case.source in PATIENTS:
            mask = cache.mask[case.start : case.stop]
            burdens.append(100.0 * int(((mask & CLASS_BITS) > 0).sum()) / max(1, int(((mask & LUNG) > 0).sum())))
    return max(burdens)


def _threshold(given: str) -> tuple[Profile, float]:
    profile, _, probability = given.partition("=")
    return Profile(profile), float(probability)


def _described(manifest: Manifest) -> str:
    """A model in a sentence of another one's card, with all that it went on from itself."""
    training = manifest.training
    left_out = "on every case" if training.fold == EVERYTHING else f"without the cases of fold {training.fold}"
    before = f"; it went on from {training.started_from}" if training.started_from else ""
    kept = f", {100 * training.kept_share:g} % of whose weights are in it" if training.kept_share else ""
    return (
        f"{manifest.name} {manifest.version} (recipe `{training.recipe}`, {training.steps} steps {left_out}, "
        f"SHA-256 `{manifest.sha256[:12]}`{before}{kept})"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="a checkpoint *.pt, or NAME.safetensors")
    parser.add_argument("--fold", required=True, help="the fold of the run, or 'all'")
    parser.add_argument("--evaluation", type=Path, default=None, help="NAME.json of the cross-validation")
    parser.add_argument(
        "--cache", type=Path, default=Path(".train/cache.npz"), help="what it was trained on (default: %(default)s)"
    )
    parser.add_argument("--name", default="lungsentry-convlstm", help="of the model (default: %(default)s)")
    parser.add_argument("--version", required=True, help="of the model")
    parser.add_argument("--started-from", type=Path, default=None, help="the model folder that the run went on from")
    parser.add_argument("--interim", action="store_true", help="say so in the card; leave the ablations out")
    parser.add_argument(
        "--threshold",
        type=_threshold,
        action="append",
        default=[],
        metavar="PROFILE=PROBABILITY",
        help="from which a pixel is lesion, chest_ct or ctac (default: 0.5)",
    )
    parser.add_argument("--measured", type=Path, nargs="*", default=[], help="JSON files of `lungsentry evaluate`")
    parser.add_argument("--beside", type=Path, nargs="*", default=[], help="JSON files of other cross-validations")
    parser.add_argument("--out", type=Path, required=True, help="the model folder to write")
    arguments = parser.parse_args(argv)
    evaluation = json.loads(arguments.evaluation.read_text(encoding="utf-8")) if arguments.evaluation else None
    try:
        manifest = _exported(arguments, evaluation)
    except (ValueError, AnalysisError) as error:
        parser.error(f"{error}")
    print(f"{manifest.name} {manifest.version}, {manifest.training.steps} steps, SHA-256 {manifest.sha256}")  # noqa: T201
    return 0


def _exported(arguments: argparse.Namespace, evaluation: Mapping[str, Any] | None) -> Manifest:
    run = read_run(arguments.run, arguments.fold, evaluation)
    return export(
        run,
        load_cache(arguments.cache),
        arguments.out,
        name=arguments.name,
        version=arguments.version,
        evaluation=evaluation,
        started_from=arguments.started_from,
        interim=arguments.interim,
        thresholds=dict(arguments.threshold),
        evaluations=[json.loads(path.read_text(encoding="utf-8")) for path in arguments.measured],
        cross_validations=[json.loads(path.read_text(encoding="utf-8")) for path in arguments.beside],
    )


if __name__ == "__main__":
    sys.exit(main())
