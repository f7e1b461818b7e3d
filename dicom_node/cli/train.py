"""``train``: from labelled data to a model that ``model install`` takes."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dicom_node.cli.failures import CommandError, UsageError
from dicom_node.cli.manual import RESEARCH_USE, ExitCode, epilog
from dicom_node.cli.options import Json  # noqa: TC001 - Typer reads annotations at run time
from dicom_node.cli.output import console, number, print_json, print_note, print_table, say

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from analysis.training.datasets import Cache
    from analysis.training.workflow import RunProgress, Workflow

_CODES = {
    ExitCode.OK: "trained, measured on the cases held out, and exported",
    ExitCode.FAILED: "the data cannot be used, or a run failed; --resume goes on",
}
_NEEDED = ("matplotlib", "nibabel")
_ALL = "all"
_DEFAULT_MINUTES = 60.0
_DEFAULT_RECIPE = "killekar2022"  # of analysis.training.recipes, known before anything heavy is imported
_RECIPES = (
    "convlstm",
    "convlstm_crop96",
    "denseunet3d",
    "grodecki2021",
    "killekar2022",
    "lungsentry",
    "lungsentry_crop96",
    "lungsentry_painted",
    "lungsentry_refine",
    "paper_loss_crop96",
    "unet2d",
    "unet2d_crop96",
    "unet3d",
)
_SHOWN = ("lesion_dice", "ggo_dice", "high_opacity_dice", "burden_percent", "burden_r2")


class _Device(StrEnum):
    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(
        epilog=epilog(
            "lungsentry train --data ./data --recipe lungsentry --out ./trained --minutes 40",
            "lungsentry train --data ./our-scans --recipe lungsentry --out ./trained --folds all",
            "lungsentry train --data ./our-scans --recipe lungsentry_refine --start-from ./my-model --out ./trained",
            "lungsentry train --out ./trained --resume",
            codes=_CODES,
        )
    )(train)


def train(
    *,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where everything goes; made if absent.")],
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="Folder of data sets, or of a hospital's series with masks."),
    ] = None,
    recipe: Annotated[
        str,
        typer.Option(
            "--recipe",
            metavar="NAME|TOML",
            help=f"A TOML file, or one of {', '.join(_RECIPES)}. The default is that of the paper, and needs --vgg.",
        ),
    ] = _DEFAULT_RECIPE,
    start_from: Annotated[
        Path | None,
        typer.Option(
            "--start-from",
            metavar="DIR",
            help="A model folder whose weights each run goes on from, or a folder with fold0 to fold4 (and foldall, "
            "for --folds all). Without it the runs begin anew.",
        ),
    ] = None,
    folds: Annotated[
        str,
        typer.Option(
            "--folds",
            metavar="N,...|all",
            help="Which fifth of the patients is held out, 0 to 4. all: each in turn, and then a model on every case.",
        ),
    ] = "0",
    steps: Annotated[int | None, typer.Option(min=1, help="Length of each run in steps: reproducible.")] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help=f"Length of each run in minutes (default: {_DEFAULT_MINUTES:g}).")
    ] = None,
    device: Annotated[
        _Device, typer.Option(help="Where to train; auto takes a GPU where there is one.")
    ] = _Device.AUTO,
    seed: Annotated[int, typer.Option(min=0, help="What every random choice comes from.")] = 0,
    vgg: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="For recipes with a perceptual loss: VGG16's convolutions up to conv3_3 as an npz file; see above.",
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the model that is made.")] = "local",
    version: Annotated[str | None, typer.Option(help="Its version; without it, the time: 20260131.1200.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what --out holds; no other option counts.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train by a recipe, measure on patients that were held out, draw the learning curve, write a model folder.

    DATA is a folder with covid20/, medseg/ or lctsc/ in the layout of those sets, or with CT series of your own as
    DICOM files, in any folders below it, and their masks.

    Masks are DICOM SEG objects anywhere below it, which name the series that they segment; or NIfTI files in the folder
    of the one series that they mark: lung.nii.gz, ggo.nii.gz, high_opacity.nii.gz, or lesion.nii.gz where the class is
    open. Voxels above 0 belong. A mask lies on the voxels of its series; one that was resampled is refused.

    Segments of a SEG count by code or label: lung; ground glass; consolidation, high opacity or effusion; lesion,
    infection or opacity of open class. Lungs that nobody outlined are found by the software.

    A healthy control has a lesion mask that is empty. A series without a lesion mask is left out, and told.

    Patients are dealt to five folds by a hash of their ID, which is stored nowhere.

    With --start-from the runs go on from a model, as lungsentry_refine and lungsentry_painted are made to. No fold may
    be measured on cases that its model has seen: the model is of other data than DATA (of covid20, medseg, lctsc, where
    DATA is a hospital's own), or of the same fold of the same data. A run on every case may go on from any.

    The file of --vgg holds the convolutions conv1_1, conv1_2, conv2_1, conv2_2, conv3_1, conv3_2 and conv3_3 of VGG16
    as ImageNet taught it, each as two float32 arrays, conv1_1.weight (output, input, row, column) and conv1_1.bias.
    They are the first seven Conv2d of torchvision's vgg16(weights="IMAGENET1K_V1").features, for numpy.savez.
    """
    _check_extra()
    workflow = _workflow(
        out, data=data, recipe=recipe, folds=folds, steps=steps, minutes=minutes, device=device, seed=seed, vgg=vgg,
        start_from=start_from, name=name, version=version, resume=resume,
    )  # fmt: skip
    print_note(f"reading {workflow.plan.data}")
    cache = workflow.prepare(print_note)
    for line in _what_will_be_done(workflow, cache):
        print_note(line)
    try:
        runs = workflow.runs(cache)
        with _bars(runs, hidden=as_json or not sys.stderr.isatty()) as show:
            for fold in runs:
                workflow.train(fold, show)
    except KeyboardInterrupt as error:
        raise CommandError(
            f"stopped; `lungsentry train --out {out} --resume` goes on from the last checkpoint"
        ) from error
    evaluation, model = workflow.finish(cache)
    if as_json:
        print_json({"model": model, "mean": evaluation["mean"], "cases": evaluation["cases"]})
    else:
        _print(evaluation["mean"], out, model)


def _workflow(
    out: Path,
    *,
    data: Path | None,
    recipe: str,
    folds: str,
    steps: int | None,
    minutes: float | None,
    device: _Device,
    seed: int,
    vgg: Path | None,
    start_from: Path | None,
    name: str,
    version: str | None,
    resume: bool,
) -> Workflow:
    from analysis.training.workflow import Plan, Workflow

    if resume:
        return Workflow.resume(out)
    if data is None:
        raise UsageError("--data says what to train on (--resume goes on with what --out holds)")
    if not data.is_dir():
        raise UsageError(f"there is no folder {data}")
    if steps is not None and minutes is not None:
        raise UsageError("--steps and --minutes exclude each other: name one of them")
    if vgg is not None and not vgg.is_file():
        raise UsageError(f"there is no file {vgg}")
    try:
        plan = Plan(
            data=data.resolve(),
            recipe=str(Path(recipe).resolve()) if recipe.endswith(".toml") else recipe,
            folds=_folds(folds),
            steps=steps,
            seconds=None if steps else 60.0 * (minutes or _DEFAULT_MINUTES),
            seed=seed,
            device=_device(device),
            name=name,
            version=version or datetime.now(UTC).strftime("%Y%m%d.%H%M"),
            vgg=None if vgg is None else vgg.resolve(),
            start_from=None if start_from is None else start_from.resolve(),
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    return Workflow.begin(plan, out)


def _folds(given: str) -> tuple[int | None, ...]:
    from analysis.training.datasets import FOLD_COUNT

    if given.strip().lower() == _ALL:
        return (*range(FOLD_COUNT), None)
    parts = [part.strip() for part in given.split(",")]
    if any(not part.isdigit() or int(part) >= FOLD_COUNT for part in parts):
        raise UsageError(f"--folds {given}: folds are 0 to {FOLD_COUNT - 1}, separated by commas, or 'all'")
    return tuple(dict.fromkeys(int(part) for part in parts))


def _device(wanted: _Device) -> str:
    import torch

    there = torch.cuda.is_available()
    if wanted is _Device.CUDA and not there:
        raise UsageError("--device cuda: this machine has no GPU that torch can use")
    return _Device.CUDA.value if there and wanted is not _Device.CPU else _Device.CPU.value


def _check_extra() -> None:
    if missing := [package for package in _NEEDED if find_spec(package) is None]:
        raise CommandError(f"training needs {', '.join(missing)}: pip install 'lungsentry[train]'")


def _what_will_be_done(workflow: Workflow, cache: Cache) -> Generator[str, None, None]:
    from analysis.training.datasets import Source
    from analysis.training.export import EXPORTED_KINDS

    plan = workflow.plan
    for source in Source:
        cases = [case for case in cache.cases if case.source is source]
        if cases:
            yield f"{source.value}: {len(cases)} cases, {sum(case.stop - case.start for case in cases)} slices"
    runs = len(workflow.runs(cache))
    length = f"{plan.steps} steps" if plan.steps else f"{(plan.seconds or 0) / 60:g} minutes"
    yield f"{runs} runs of {length} by recipe {workflow.recipe.name} on {plan.device}, and the cases held out measured"
    if plan.start_from is not None:
        yield f"each run goes on from the model in {plan.start_from}"
    elif workflow.recipe.network.kind == "lite" and not workflow.recipe.network.imagenet:
        yield f"recipe {workflow.recipe.name} begins with random weights, not ImageNet's; --start-from names a model"
    if plan.seconds:
        yield f"that takes {runs * plan.seconds / 60:g} minutes, and some for measuring"
    else:
        yield "how long that takes is known after the first steps"
    if workflow.recipe.network.kind not in EXPORTED_KINDS:
        yield f"a network of the kind {workflow.recipe.network.kind} is measured only: no model folder is made"


@contextmanager
def _bars(runs: Sequence[int | None], *, hidden: bool) -> Generator[Callable[[RunProgress], None], None, None]:
    """A bar a run on standard error; nothing at all where that is no terminal."""
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Bars(*columns, console=console(stderr=True), disable=hidden) as bars:
        tasks = {fold: bars.add_task(_described(fold), total=1.0, start=False) for fold in runs}

        def show(progress: RunProgress) -> None:
            task = tasks[progress.fold]
            bars.start_task(task)
            told = "" if progress.loss is None else f", step {progress.step}, loss {progress.loss:.3f}"
            bars.update(task, completed=progress.share, description=_described(progress.fold) + told)

        yield show


def _described(fold: int | None) -> str:
    return "every case" if fold is None else f"fold {fold}"


def _print(mean: Mapping[str, float], out: Path, model: Path | None) -> None:
    rows = [(key, number(value, 3)) for key, value in mean.items() if key.endswith(_SHOWN)]
    print_table(("on cases it did not see", "value"), rows, numeric=("value",), caption=RESEARCH_USE)
    say(f"{out / 'curves.png'}: the learning curve")
    say(f"{out / 'evaluation.json'}: the figures of every case")
    if model is not None:
        say(f"{model}: the model; `lungsentry models install {model}` takes it")
