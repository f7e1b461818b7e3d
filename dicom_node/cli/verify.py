"""``verify``: is every archived instance still what was received?"""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from dicom_node.cli.invocation import Invocation
from dicom_node.cli.manual import ExitCode, epilog
from dicom_node.cli.options import Json  # noqa: TC001 - Typer reads annotations at run time
from dicom_node.cli.output import console, print_json, print_table, say
from dicom_node.cli.uids import resolve_series, shortened

if TYPE_CHECKING:
    from dicom_node.storage.verification import Fault, Progress


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    codes = {ExitCode.OK: "all files are as received", ExitCode.FAILED: "at least one is missing, changed or extra"}
    app.command(epilog=epilog("lungsentry verify", "lungsentry verify --series 4711.20 --json", codes=codes))(verify)


def verify(
    ctx: typer.Context,
    *,
    series: Annotated[list[str] | None, typer.Option(metavar="UID", help="Only this series; may be repeated.")] = None,
    as_json: Json = False,
) -> None:
    """Compare every archived file with its row and its SHA-256; list what is missing, changed or extra.

    Every byte is read once, so it takes as long as the disk needs to read the archive (at best about 0.7 GB a second a
    core). The node may run meanwhile. An extra file gets its row when the receiver starts.
    """
    invocation = Invocation.of(ctx)
    invocation.configure_logs()
    settings = invocation.settings()
    from rich.filesize import decimal
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bars

    from dicom_node.storage.archive import Archive
    from dicom_node.storage.verification import Progress
    from dicom_node.storage.verification import verify as faults_of

    last = Progress(series=0, of_series=0, files=0, bytes_read=0)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed} of {task.total} series"))
    hidden = as_json or not sys.stderr.isatty()
    with (
        invocation.store() as store,
        Bars(*columns, console=console(stderr=True), disable=hidden, transient=True) as bar,
    ):
        task = bar.add_task("verifying", total=None)

        def show(progress: Progress) -> None:
            nonlocal last
            last = progress
            described = f"{progress.files} files, {decimal(progress.bytes_read)}"
            bar.update(task, completed=progress.series, total=progress.of_series, description=described)

        chosen = None if series is None else [resolve_series(store, one) for one in series]
        found = list(faults_of(store, Archive(settings.archive_dir), series=chosen, on_progress=show))
    if as_json:
        print_json({"ok": not found, "files": last.files, "bytes": last.bytes_read, "faults": found})
    else:
        _print(found, last)
    if found:
        raise typer.Exit(ExitCode.FAILED)


def _print(found: list[Fault], last: Progress) -> None:
    names = shortened([one.series_instance_uid for one in found if one.series_instance_uid])
    if found:
        print_table(
            ("fault", "series", "file", "what"),
            [(one.kind, names.get(one.series_instance_uid or "", "-"), one.path, one.detail) for one in found],
        )
    counts = Counter(one.kind for one in found)
    told = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())) or "all as received"
    say(f"{last.files} files verified, {last.bytes_read / 1e6:.1f} MB: {told}", style="" if found else "green")
