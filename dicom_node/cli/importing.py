"""``import``: an archive of existing files, analysed whenever nothing else waits; nobody is told of what it shows."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path  # noqa: TC003 - Typer reads annotations at run time
from typing import TYPE_CHECKING, Annotated

import typer

from dicom_node.cli.failures import UsageError
from dicom_node.cli.invocation import Invocation
from dicom_node.cli.manual import ExitCode, epilog
from dicom_node.cli.options import Json  # noqa: TC001 - Typer reads annotations at run time
from dicom_node.cli.output import console, print_json, say
from dicom_node.cli.trail import record
from dicom_node.cli.unpacking import unpacked

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from db import Store
    from dicom_node.retrieval import Imported
    from dicom_node.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(
        "import",
        epilog=epilog(
            "lungsentry import /mnt/archive/2019",
            "lungsentry import disc.zip /media/cdrom/DICOMDIR --json",
            codes={
                ExitCode.OK: "every CT, PET and NM image is in the archive",
                ExitCode.FAILED: "some files could not be taken, and why; or there is no image",
            },
        ),
    )(import_)


def import_(
    ctx: typer.Context,
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", exists=True, help="Folders, files, zip archives, or a DICOMDIR.")
    ],
    *,
    as_json: Json = False,
) -> None:
    """Take the CT, PET and NM images of folders into the node, as if they had been sent, and analyse them.

    Files are copied into the archive, byte for byte, and stay where they were; the node need not be stopped. What is
    there already changes nothing, so that an import that was broken off is begun anew. Its series are analysed whenever
    nothing else waits. Their results stand in the worklist and in `export`, but go to no destination, nobody is told of
    what is flagged, and nothing is escalated: an archive of years is nobody's emergency. Where a scanner sends more of
    such a series, it is the scanner's from then on.
    """
    invocation = Invocation.of(ctx)
    invocation.configure_logs()
    settings = invocation.settings()
    taken = others = 0
    left: list[Imported] = []
    with invocation.store() as store, unpacked(paths) as folders:
        record(store, "archive imported", detail=f"{len(paths)} paths")
        for one in _import(folders, settings, store, hidden=as_json):
            taken += one.reason is None and not one.other
            others += one.other
            if one.reason is not None:
                left.append(one)
                if not as_json:
                    say(f"left: {one.path}: {one.reason}")
    if as_json:
        told = [{"path": str(one.path), "reason": one.reason} for one in left]
        print_json({"taken": taken, "other_objects": others, "left": told})
    else:
        say(f"{taken} images are in the archive; {others} other objects and {len(left)} files that could not be taken")
    if left or not taken:
        raise typer.Exit(ExitCode.FAILED)


def _import(folders: Sequence[Path], settings: Settings, store: Store, *, hidden: bool) -> Iterator[Imported]:
    from db import IMPORTED
    from dicom_node.peers.remote import Remote
    from dicom_node.retrieval import archiving, files_below, import_files
    from dicom_node.storage.archive import Archive

    if any(settings.archive_dir.resolve().is_relative_to(one.resolve()) for one in folders):
        raise UsageError(f"the node's own archive {settings.archive_dir} lies in it: name other folders")
    source = Remote(ae_title=IMPORTED, host="127.0.0.1", port=0, calling_ae_title=settings.node.ae_title)
    begin = partial(archiving, settings.receiver, settings.node.ae_title, store, Archive(settings.archive_dir), source)
    with begin() as take:
        files = _shown(files_below(folders), hidden=hidden)
        yield from import_files(files, take, max_instance_bytes=settings.receiver.max_instance_bytes)


def _shown(files: Iterable[Path], *, hidden: bool) -> Iterator[Path]:
    """The files, with their number and pace on a terminal: how many there are nobody knows before the end."""
    from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TextColumn("files"), TimeElapsedColumn())
    quiet = hidden or not sys.stderr.isatty()
    with Progress(*columns, console=console(stderr=True), disable=quiet, transient=True) as bar:
        task = bar.add_task("importing", total=None)
        for file in files:
            yield file
            bar.advance(task)
