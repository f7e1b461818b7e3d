"""``evaluate``: measure a model on labelled data; figures of each case as JSON, tables, and a report with pictures."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dicom_node.cli.failures import CommandError, UsageError
from dicom_node.cli.invocation import Invocation
from dicom_node.cli.manual import RESEARCH_USE, ExitCode, epilog
from dicom_node.cli.output import console, number, plain, print_error, print_json, print_table, say, text

if TYPE_CHECKING:
    from collections.abc import Generator

    from analysis.evaluation.models import ModelSource
    from analysis.evaluation.results import Picture, Progress
    from analysis.models import LesionModel
    from dicom_node.settings import Settings

_CODES = {
    ExitCode.OK: "every case was evaluated",
    ExitCode.FAILED: "a case could not be read or evaluated, or there is none",
}
_STANDARD_OUTPUT = Path("-")
_WORDS = ("status", "quality", "lobes_flagged", "lobes_labelled", "reason")
"""What is shown of a case beside numbers."""


class _Set(StrEnum):
    """The layouts of ``analysis.evaluation.cases.EvaluationSet``, known before anything heavy is imported."""

    COVID20 = "covid20"
    MEDSEG = "medseg"
    LCTSC = "lctsc"
    LOBES = "lobes"
    DICOM = "dicom"
    CTAC = "ctac"
    SARS = "sars"


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(
        epilog=epilog(
            "lungsentry evaluate --data ./data --set covid20 --json covid20.json --report ./report",
            "lungsentry evaluate --data ./data/covid20 --set covid20 --model ./my-model",
            "lungsentry evaluate --data ./data --set covid20 --cross-validated ./folds --against other.json",
            "lungsentry evaluate --data ./ct-series --set dicom",
            codes=_CODES,
        )
    )(evaluate)


def evaluate(
    ctx: typer.Context,
    *,
    data: Annotated[
        Path, typer.Option("--data", metavar="DIR", help="The folder that holds covid20/, medseg/ ..., or one of them.")
    ],
    which: Annotated[
        _Set,
        typer.Option(
            "--set",
            help="Layout and measure. covid20: volumes with lesions. medseg: single slices with both classes. "
            "lctsc: controls. lobes: label maps. dicom: any series, with NAME.labels.json beside folder NAME where "
            "there is one. ctac: simulated from covid20 and lctsc. sars: single slices of which each is labelled as a "
            "whole.",
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="DIR|NAME",
            help="A model folder, or a model that `lungsentry models list` names (default: the one of the package).",
        ),
    ] = None,
    cross_validated: Annotated[
        Path | None,
        typer.Option(
            "--cross-validated",
            metavar="DIR",
            help="Model folders fold0 to fold4: each case is judged by the one that did not see it in training.",
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against",
            metavar="MODEL|JSON",
            help="Compare with another model on the same cases: its folder, folder of folds, or the JSON of an "
            "earlier evaluation.",
        ),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the figures as JSON; - for standard output.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="DIR", help="Write SET.html: tables, plots and the worst cases in one file."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="What the simulated noise of ctac comes from.")] = 0,
) -> None:
    """Measure a model on labelled cases: Dice, burden, false positives, and statistics over all of them."""
    _check_extra()
    settings = Invocation.of(ctx).settings()
    if not data.is_dir():
        raise UsageError(f"there is no folder {data}")
    from analysis.evaluation.models import ModelSource

    if cross_validated is None:
        source = ModelSource(directory=_model_folder(model, settings))
    elif model is None:
        source = ModelSource.of_folds(cross_validated)
    else:
        raise UsageError("--model and --cross-validated exclude each other: name one of them")
    other = None if against is None else _other(against, which, settings)
    run = _Run(data=data, which=which, settings=settings, seed=seed, pictures=report is not None)
    with _progress() as progress:
        content, pictures = run.document(source, progress)
        if other is not None:
            content["comparison"] = run.comparison(content, other, progress)
    document: dict[str, Any] = plain(content)
    written: list[Path] = []
    if report is not None:
        from analysis.evaluation.report import write_report

        written.append(write_report(report, document, pictures))
    if json_file == _STANDARD_OUTPUT:
        print_json(document)
    else:
        written += [] if json_file is None else [_write_json(json_file, document)]
        _print(document)
        for path in written:
            say(str(path))
    for failed in document["failed"]:
        print_error(f"{failed['case']}: {failed['reason']}")
    if document["failed"]:
        raise typer.Exit(ExitCode.FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """What is evaluated, whichever model is asked."""

    data: Path
    which: _Set
    settings: Settings
    seed: int
    pictures: bool

    def document(self, source: ModelSource, progress: Progress) -> tuple[dict[str, Any], tuple[Picture, ...]]:
        """The figures of a model as a document, and the pictures of its cases."""
        from analysis.evaluation.cases import EvaluationSet
        from analysis.evaluation.document import document
        from analysis.evaluation.harness import evaluate_set
        from analysis.evaluation.models import Models

        models = Models(source=source, load=self._load)
        evaluation = evaluate_set(
            self.data,
            EvaluationSet(self.which.value),
            models,
            seed=self.seed,
            pictures=self.pictures,
            progress=progress,
        )
        shown = [result.picture for result in (*evaluation.results, *evaluation.controls) if result.picture is not None]
        return document(evaluation, models, alert_threshold_percent=self._threshold_percent), tuple(shown)

    def comparison(
        self, content: dict[str, Any], other: ModelSource | dict[str, Any], progress: Progress
    ) -> dict[str, Any]:
        """The comparison with another model, or with the JSON of its evaluation."""
        from analysis.evaluation.comparison import compare

        if not isinstance(other, dict):
            other, _ = replace(self, pictures=False).document(other, progress)
        return compare(content, other, threshold_percent=self._threshold_percent)

    @property
    def _threshold_percent(self) -> float:
        """The burden at which the node flags the set's profile."""
        policy = self.settings.policy
        return (policy.ctac if self.which is _Set.CTAC else policy.chest_ct).burden_percent

    def _load(self, directory: Path | None) -> LesionModel:
        from analysis.model import Segmenter

        try:
            return Segmenter.load(directory, device=self.settings.worker.device, threads=self.settings.worker.threads)
        except ValueError as error:
            raise UsageError(f"worker.device: {error}") from error


def _check_extra() -> None:
    from analysis.evaluation import missing_packages

    if missing := missing_packages():
        raise CommandError(f"evaluation needs {', '.join(missing)}: pip install 'lungsentry[train]'")


def _model_folder(named: str | None, settings: Settings) -> Path | None:
    """The folder of a model that is named by its folder, or as ``lungsentry models list`` names it."""
    if named is None or Path(named).is_dir():
        return None if named is None else Path(named)
    from analysis.model.registry import Registry

    return Registry(directory=settings.models_dir).find(named).directory


def _other(against: Path, which: _Set, settings: Settings) -> ModelSource | dict[str, Any]:
    """The model to compare with, or its figures: looked for before the first case is measured."""
    from analysis.evaluation.models import ModelSource

    if against.is_file():
        try:
            other = json.loads(against.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UsageError(f"{against} is not the JSON of an evaluation: {error}") from error
        if not isinstance(other, dict) or not isinstance(other.get("cases"), list):
            raise UsageError(f"{against} is not the JSON of an evaluation: it has no list of cases")
        if other.get("set") != which.value:
            raise UsageError(f"{against} is of the set {other.get('set')}, not of {which.value}")
        return other
    if against.suffix == ".json":
        raise UsageError(f"there is no file {against}")
    if ModelSource.holds_folds(against):
        return ModelSource.of_folds(against)
    return ModelSource(directory=_model_folder(str(against), settings))


def _write_json(path: Path, document: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    return path


def _print(document: dict[str, Any]) -> None:
    """Every case, then means; of figures those that the set is judged by."""
    from analysis.evaluation.cases import EvaluationSet
    from analysis.evaluation.document import MAIN_FIGURES

    cases = [*document["cases"], *document.get("controls", [])]
    wanted = dict.fromkeys((*MAIN_FIGURES[EvaluationSet(document["set"])], "burden_percent", "true_burden_percent"))
    keys = [key for key in wanted if any(case.get(key) is not None for case in cases)]
    keys += [key for key in _WORDS if any(case.get(key) for case in cases)]
    rows = [[case["case"], *(_shown(key, case.get(key)) for key in keys)] for case in cases]
    for title, key in (("mean", "mean"), ("pooled", "pooled"), ("mean of controls", "controls_mean")):
        if means := document.get(key):
            rows.append([title, *(_shown(name, means.get(name)) for name in keys)])
    titles = ["case", *(key.replace("_percent", " %").replace("_", " ") for key in keys)]
    model = document["model"] + (" (cross-validated)" if document["cross_validated"] else "")
    caption = RESEARCH_USE
    print_table(titles, rows, title=f"{document['set']}: {model}", caption=caption, numeric=titles[1:])
    for line in _told_statistics(document):
        say(line)


def _told_statistics(document: dict[str, Any]) -> list[str]:
    """The statistics that matter most, a line each."""
    found, lines = document["statistics"], list[str]()
    for of, key in (("", "burden_agreement_percent"), (" without aerated voxels", "burden_dense_agreement_percent")):
        if agreement := found.get(key):
            lines.append(
                f"burden{of}: Pearson R² {number(agreement['pearson_r2'], 3)}, mean absolute error "
                f"{number(agreement['mean_absolute_error'], 2)} percentage points"
            )
    if images := found.get("images_with_covid_against_others"):
        low, high = images["auroc_ci95"] or (None, None)
        lines.append(
            f"images with COVID against others by area of opacity: AUROC {number(images['auroc'], 3)} "
            f"({number(low, 3)} to {number(high, 3)} over blocks)"
        )
    if against := found.get("patients_against_controls"):
        low, high = against["auroc_ci95"] or (None, None)
        lines.append(
            f"patients against controls: AUROC {number(against['auroc'], 3)} ({number(low, 3)} to {number(high, 3)})"
        )
    if point := found.get("operating_point"):
        lines.append(
            f"burden threshold {number(point['threshold_burden_percent'], 2)} %: sensitivity "
            f"{number(point['sensitivity_percent'], 0)} %, specificity {number(point['specificity_percent'], 0)} %"
        )
    if comparison := document.get("comparison"):
        lines += [
            f"against {comparison['against']}, {key.replace('_', ' ')}: {figures['here']:.3f}, "
            f"there {figures['there']:.3f}, Wilcoxon p {figures['wilcoxon_p']:.3g}"
            for key, figures in comparison["figures"].items()
        ]
        if calls := comparison.get("calls"):
            lines.append(f"against {comparison['against']}, calls: McNemar p {calls['mcnemar_p']:.3g}")
    return [*lines, *document.get("cautions", [])]


def _shown(key: str, value: object) -> str:
    if isinstance(value, int | float):
        return number(value, 2 if key.endswith("percent") else 3)
    return text(value)


@contextmanager
def _progress() -> Generator[Progress, None, None]:
    """A bar on standard error; nothing at all where that is no terminal."""
    if not sys.stderr.isatty():
        yield lambda _name, _done, _count: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=None)
        yield lambda name, done, count: bar.update(task, description=name, completed=done, total=count)
