"""Cross-validation by patient: ``python -m analysis.training.crossvalidate --cache FILE --recipe NAME --out DIR``.

Trains each fold, evaluates the cases it did not see, and writes ``NAME.json`` (figures of every case, means, log) and
``NAME.safetensors`` (the weights of every fold, names prefixed ``fold0.``). The fold ``all`` trains on every case.
Needs torch, numpy, pydantic and safetensors only. ``--jobs`` trains several runs at a time, each its own process.

``--start-from`` goes on from a model, or for each fold from its own: what a run is measured on, its model must not have
seen (:mod:`.starting`).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from analysis.errors import AnalysisError
from analysis.model.network import parameter_count
from analysis.model.weights import read_manifest
from analysis.training.datasets import EVERYTHING, FOLD_COUNT, fold_name, load_cache
from analysis.training.evaluation import cross_validation, evaluate_cases, summarise
from analysis.training.recipes import DEFAULT_RECIPE, load_recipe
from analysis.training.starting import check_start, start_folder
from analysis.training.trainer import RunLimit, Trainer, terminal_progress

_MAX_SAVED_PARAMETERS = 4_000_000  # baselines are measured, not shipped
_INTERRUPTED = 130  # what a shell reports of a process that SIGINT ended


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0 when every fold ended."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.worker:
        return _work(arguments)
    try:
        _check_starts(arguments)
    except AnalysisError as error:
        parser.error(str(error))
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        runs = [(recipe, fold) for recipe in arguments.recipe for fold in arguments.folds]
        with ThreadPoolExecutor(arguments.jobs) as pool:
            codes = list(pool.map(lambda run: _run_worker(arguments, Path(folder), *run), runs))
        for recipe in arguments.recipe:
            _gather(recipe, Path(folder), arguments.out, label=arguments.label)
    print(f"{len(runs)} runs in {time.monotonic() - started:.0f} s")  # noqa: T201
    return 1 if any(codes) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--cache", type=Path, default=Path(".train/cache.npz"), help="what analysis.training.prepare made (%(default)s)"
    )
    parser.add_argument(
        "--recipe", type=lambda text: text.split(","), default=[DEFAULT_RECIPE], help="names or TOML files, by comma"
    )
    parser.add_argument("--folds", type=_folds, default=_folds("0,1,2,3,4"), help="numbers or 'all', by comma")
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--seconds-per-fold", type=float, default=None, help="length of each run in seconds")
    length.add_argument("--steps", type=int, default=None, help="length of each run in steps: reproducible")
    parser.add_argument("--seed", type=int, default=0, help="what every random choice comes from (%(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time on the one device")
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="where to train (%(default)s)"
    )
    parser.add_argument(
        "--vgg",
        type=Path,
        default=Path(".train/vgg16_to_conv3_3.npz"),
        help="VGG16's features, for recipes with a perceptual loss (%(default)s); `lungsentry train --help` tells more",
    )
    parser.add_argument("--checkpoints", type=Path, default=None, help="folder to resume from and to write to")
    parser.add_argument(
        "--start-from",
        type=Path,
        default=None,
        help="a model folder to go on from, or one that holds fold0 to fold4 (foldall for 'all'): a fold goes on from "
        "the model of the same fold or of other data, 'all' from any",
    )
    parser.add_argument("--label", default="", help="suffix of the files written, to tell runs of a recipe apart")
    parser.add_argument("--out", type=Path, default=Path(".train/out"), help="folder to write to (%(default)s)")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser


def _folds(text: str) -> list[int | None]:
    folds = [None if part == EVERYTHING else int(part) for part in text.split(",")]
    if any(fold is not None and not 0 <= fold < FOLD_COUNT for fold in folds):
        raise argparse.ArgumentTypeError(f"folds are 0 to {FOLD_COUNT - 1}, or 'all'")
    return folds


def _run_name(recipe: str, fold: int | None) -> str:
    return f"{Path(recipe).stem}-{fold_name(fold)}"


def _check_starts(arguments: argparse.Namespace) -> None:
    """Refuse, before the first run begins, a model that a fold must not go on from."""
    if arguments.start_from is not None:
        cache = load_cache(arguments.cache)
        for fold in arguments.folds:
            check_start(read_manifest(start_folder(arguments.start_from, fold)), fold, cache)


def _work(arguments: argparse.Namespace) -> int:
    """One run in this process; what it cannot do is told in a line."""
    try:
        _train_fold(arguments, arguments.recipe[0], arguments.folds[0])
    except AnalysisError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    return 0


def _run_worker(arguments: argparse.Namespace, folder: Path, recipe: str, fold: int | None) -> int:
    """One run in its own process, so that runs share the device and none shares an interpreter."""
    command = [sys.executable, "-m", "analysis.training.crossvalidate", "--worker", "--cache", str(arguments.cache)]
    command += [
        "--recipe",
        recipe,
        "--folds",
        fold_name(fold),
        "--seed",
        str(arguments.seed),
        "--device",
        arguments.device,
    ]
    command += ["--vgg", str(arguments.vgg), "--out", str(folder)]
    if arguments.seconds_per_fold is not None:
        command += ["--seconds-per-fold", str(arguments.seconds_per_fold)]
    if arguments.steps is not None:
        command += ["--steps", str(arguments.steps)]
    if arguments.start_from is not None:
        command += ["--start-from", str(arguments.start_from)]
    if arguments.checkpoints is not None:
        command += ["--checkpoints", str(arguments.checkpoints)]
    threads = str(max(1, len(os.sched_getaffinity(0)) // arguments.jobs))
    return subprocess.run(command, check=False, env={**os.environ, "OMP_NUM_THREADS": threads}).returncode  # noqa: S603


def _train_fold(arguments: argparse.Namespace, recipe_name: str, fold: int | None) -> None:
    torch.backends.cudnn.benchmark = arguments.steps is None
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    name = _run_name(recipe_name, fold)
    recipe, cache = load_recipe(recipe_name), load_cache(arguments.cache)
    limit = RunLimit(seconds=arguments.seconds_per_fold, steps=arguments.steps)
    log = arguments.out / f"{name}.jsonl"
    trainer = Trainer(
        cache,
        recipe,
        fold=fold,
        seed=arguments.seed,
        device=arguments.device,
        vgg_weights=arguments.vgg if recipe.loss.perceptual else None,
        log=log,
        start_from=None if arguments.start_from is None else start_folder(arguments.start_from, fold),
    )
    checkpoint = arguments.checkpoints / f"{name}.pt" if arguments.checkpoints else None
    trained = trainer.train(limit, checkpoint=checkpoint, progress=terminal_progress(f"{name} "))
    store = trainer.sampler.store
    cases = evaluate_cases(
        trained.network,
        cache,
        store,
        cache.held_out(fold),
        mean_hu=trained.mean_hu,
        sd_hu=trained.sd_hu,
        slices=trained.slices,
    )
    windows = trained.steps * recipe.data.batch
    curve = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
    record = {
        "fold": fold_name(fold),
        "seed": arguments.seed,
        "recipe": asdict(recipe),
        "parameters": parameter_count(trainer.network),
        "mean_hu": trained.mean_hu,
        "sd_hu": trained.sd_hu,
        "steps": trained.steps,
        "seconds": trained.seconds,
        "windows_per_second": windows / max(trained.seconds, 1e-9),
        "final_loss": trained.final_loss,
        "best_validation_loss": trained.best_validation_loss,
        "device": torch.cuda.get_device_name() if arguments.device.startswith("cuda") else arguments.device,
        "torch": torch.__version__,
        "cases": cases,
        "curve": curve[:: max(1, len(curve) // 200)],
    }
    (arguments.out / f"{name}.json").write_text(json.dumps(record), encoding="utf-8")
    if parameter_count(trainer.network) <= _MAX_SAVED_PARAMETERS:
        weights = {key: value.contiguous().cpu() for key, value in trained.network.state_dict().items()}
        save_file(weights, str(arguments.out / f"{name}.safetensors"))
    figures = " ".join(f"{key}={value:.3f}" for key, value in summarise(cases).items() if key in _SHOWN)
    speed = f"{trained.steps} steps, {record['windows_per_second']:.0f} windows/s, loss {trained.final_loss:.3f}"
    print(f"{name}: {speed} {figures}", flush=True)  # noqa: T201


_SHOWN = (
    "covid20_lesion_dice",
    "covid20_lesion_dice_worst",
    "covid20_lesion_dice_no_context",
    "covid20_burden_r2",
    "lctsc_burden_percent",
    "lctsc_burden_percent_worst",
    "lctsc_burden_percent_no_context",
    "medseg_ggo_dice",
    "medseg_high_opacity_dice",
    "medseg_ggo_dice_pooled",
    "medseg_high_opacity_dice_pooled",
)


def _gather(recipe: str, folder: Path, out: Path, *, label: str) -> None:
    """One JSON and one weights file of a recipe's runs, and a table of the held-out cases."""
    stem = Path(recipe).stem
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob(f"{stem}-*.json"))]
    if not runs:
        return
    content = cross_validation(stem, runs)
    cases, summary = content["cases"], content["mean"]
    (out / f"{stem}{label}.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    weights = {
        f"fold{run['fold']}.{key}": value
        for run in runs
        if (path := folder / f"{stem}-{run['fold']}.safetensors").exists()
        for key, value in load_file(str(path)).items()
    }
    if weights:
        save_file(weights, str(out / f"{stem}{label}.safetensors"), metadata={"recipe": json.dumps(runs[0]["recipe"])})
    print(f"== {stem}{label}: {len(runs)} runs, {runs[0]['parameters']} parameters")  # noqa: T201
    for case in cases:
        if case["set"] != "medseg":
            dice = case.get("lesion_dice")
            shown = f"dice {dice:.3f} (no context {case['lesion_dice_no_context']:.3f})" if dice is not None else ""
            burden = f"burden {case['burden_percent']:6.2f} % of {case['true_burden_percent']:6.2f} %"
            print(f"  {case['case']:22s} {burden} (no context {case['burden_percent_no_context']:.2f}) {shown}")  # noqa: T201
    for key, value in summary.items():
        print(f"  {key:40s} {value:8.4f}")  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
