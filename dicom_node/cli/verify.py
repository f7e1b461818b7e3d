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
    from collections.abc import Sequence

    from dicom_node.storage.recovery import Unindexed
    from dicom_node.storage.verification import Fault, Progress


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    codes = {ExitCode.OK: "all files are as received", ExitCode.FAILED: "at least one is missing, changed or extra"}
    examples = ("lungsentry verify", "lungsentry verify --series 4711.20 --json", "lungsentry verify --rebuild")
    app.command(epilog=epilog(*examples, codes=codes))(verify)


def verify(
    ctx: typer.Context,
    *,
    series: Annotated[list[str] | None, typer.Option(metavar="UID", help="Only this series; may be repeated.")] = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="First give every file of the archive that has no row its row.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare every archived file with its row and its SHA-256; list what is missing, changed or extra.

    Every byte is read once, so it takes as long as the disk needs to read the archive (at best about 0.7 GB a second a
    core). The node may run meanwhile. After a restored backup --rebuild indexes what came since; a file that can have
    no row is listed with its cause, and does not stop the others.
    """
    invocation = Invocation.of(ctx)
    invocation.configure_logs()
    settings = invocation.settings()
    from rich.filesize import decimal
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bars

    from dicom_node.storage.archive import Archive
    from dicom_node.storage.recovery import Unindexed, rebuild_index
    from dicom_node.storage.verification import Progress
    from dicom_node.storage.verification import verify as faults_of

    archive = Archive(settings.archive_dir)
    rebuilt, unindexed = 0, tuple[Unindexed, ...]()
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

        if rebuild:
            limit = settings.receiver.max_instance_bytes
            rebuilt, unindexed = rebuild_index(store, archive, max_instance_bytes=limit)
        chosen = None if series is None else [resolve_series(store, one) for one in series]
        found = list(faults_of(store, archive, series=chosen, on_progress=show))
    if as_json:
        told = {"files": last.files, "bytes": last.bytes_read, "faults": found}
        print_json({"ok": not found and not unindexed, **told, "rebuilt": rebuilt, "unindexed": unindexed})
    else:
        if rebuild:
            _print_rebuilt(rebuilt, unindexed)
        _print(found, last)
    if found or unindexed:
        raise typer.Exit(ExitCode.FAILED)


def _print_rebuilt(rebuilt: int, unindexed: Sequence[Unindexed]) -> None:
    if unindexed:
        print_table(("file that can have no row", "cause"), [(one.path, one.cause) for one in unindexed])
    say(f"{rebuilt} files got their row")


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
