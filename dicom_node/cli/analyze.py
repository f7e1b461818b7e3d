"""``analyze``: measure a folder of DICOM files here and now; no node, no database."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path  # noqa: TC003 - Typer reads annotations at run time
from typing import TYPE_CHECKING, Annotated

import typer

from dicom_node.cli.failures import CommandError, UsageError
from dicom_node.cli.invocation import Invocation
from dicom_node.cli.manual import RESEARCH_USE, ExitCode, epilog
from dicom_node.cli.output import console, number, print_json, print_note, print_table, say, text
from dicom_node.cli.uids import shortened
from dicom_node.cli.unpacking import unpacked

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from analysis.series import SeriesReading
    from dicom_node.cli.local_analysis import LocalResult

_CODES = {
    ExitCode.OK: "every series was analysed, or excluded with a reason",
    ExitCode.FAILED: "one failed, or no DICOM series was found",
}
_MOST_NOTES = 5
_COLUMNS = (
    *("series", "status", "profile", "burden %", "lung mL", "GGO mL", "high opacity mL"),
    *("quality", "alert", "why", "s"),
)
_NUMERIC = ("burden %", "lung mL", "GGO mL", "high opacity mL", "s")


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(
        epilog=epilog(
            "lungsentry analyze ./ct-series", "lungsentry analyze ./study --json --out ./report", codes=_CODES
        )
    )(analyze)


def analyze(
    ctx: typer.Context,
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="DICOM files, folders or zips of them, a DICOMDIR.")
    ],
    *,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="Write the DICOM report, and pictures of the key slices, lungs and lobes."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="MODEL|DIR", help="An installed model or a model folder; else the shipped one."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Measure the pneumonia burden of the chest CT or CTAC series in a folder; no node is needed."""
    invocation = Invocation.of(ctx)
    settings = invocation.settings()
    missing = next((path for path in paths if not path.exists()), None)
    if missing is not None:
        raise UsageError(f"there is no file or folder {missing}")
    with _progress() as progress:
        progress("reading headers")
        invocation.configure_logs()
        from analysis.series import read_series
        from dicom_node.cli.local_analysis import FAILED, analyse_locally

        with unpacked(paths) as folders:
            reading = read_series(folders, derive=True)
            _tell(reading, dict(zip(folders, paths, strict=True)))
            results = list(analyse_locally(reading.series, settings, out=out, progress=progress, model=model))
    if as_json:
        print_json(
            {"notes": reading.notes, "series": [_document(result, with_files=out is not None) for result in results]}
        )
    elif results:
        _print(results)
    if not results:
        raise CommandError(f"no DICOM series was found in {', '.join(str(path) for path in paths)}")
    if any(result.status == FAILED for result in results):
        raise typer.Exit(ExitCode.FAILED)


def _tell(reading: SeriesReading, named: dict[Path, Path]) -> None:
    """What was derived, and what could not be read, on standard error; a file of an archive by its name in there."""
    for note in reading.notes:
        print_note(note)
    for path, why in reading.unreadable[:_MOST_NOTES]:
        archive = next((folder for folder in named if named[folder] != folder and path.is_relative_to(folder)), None)
        print_note(f"{path if archive is None else named[archive] / path.relative_to(archive)}: {why}")
    if len(reading.unreadable) > _MOST_NOTES:
        print_note(f"... and {len(reading.unreadable) - _MOST_NOTES} more files that could not be read")


def _document(result: LocalResult, *, with_files: bool) -> dict[str, object]:
    return {**result.document(), **({"files": result.files} if with_files else {})}


def _print(results: Sequence[LocalResult]) -> None:
    names = shortened([result.series_instance_uid for result in results])
    print_table(_COLUMNS, [_row(result, names) for result in results], numeric=_NUMERIC, caption=RESEARCH_USE)
    from alerts import describe

    for result in results:
        if result.findings is not None and result.decision is not None:
            say("")
            say(names[result.series_instance_uid], style="bold")
            for line in describe(result.findings, result.decision).splitlines():
                say(line)
        for path in result.files:
            say(f"  {path}")


def _row(result: LocalResult, names: dict[str, str]) -> list[str]:
    findings = result.findings
    lungs = findings.both_lungs if findings else None
    opacity = lungs if findings and findings.reliable else None
    return [
        names[result.series_instance_uid],
        result.status,
        text(result.profile),
        number(opacity.burden_percent if opacity else None, 2),
        number(lungs.lung_volume_ml if lungs else None, 0),
        number(opacity.ggo_volume_ml if opacity else None),
        number(opacity.high_opacity_volume_ml if opacity else None),
        text(findings.quality.level if findings else None).replace("_", " "),
        f"category {result.alert.category.value}" if result.alert else "-",
        text(result.reason),
        number(result.seconds.get("total")),
    ]


@contextmanager
def _progress() -> Generator[Callable[[str], None], None, None]:
    """What is being done, on standard error, while it is done; nothing at all where that is no terminal."""
    if not sys.stderr.isatty():
        yield lambda _doing: None
        return
    with console(stderr=True).status("starting") as status:
        yield status.update
