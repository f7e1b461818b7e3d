"""``export``: findings for research and registries."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path  # noqa: TC003 - Typer reads annotations at run time
from typing import TYPE_CHECKING, Annotated

import typer

from dicom_node.cli.failures import UsageError
from dicom_node.cli.invocation import Invocation
from dicom_node.cli.manual import RESEARCH_USE, ExitCode, epilog
from dicom_node.cli.options import moment
from dicom_node.cli.output import say
from dicom_node.cli.trail import record

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from db.exporting import ExportedResult


class _Format(StrEnum):
    CSV = "csv"
    PARQUET = "parquet"
    FHIR = "fhir"


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(
        epilog=epilog(
            "lungsentry export csv ./findings.csv --since 2026-01-01",
            "lungsentry export fhir ./findings.ndjson --deidentify --key-file ./key",
            codes={ExitCode.FAILED: "it cannot be written, or the key is too short"},
        )
    )(export)


def export(
    ctx: typer.Context,
    format_: Annotated[
        _Format, typer.Argument(metavar="FORMAT", help="csv, parquet, or fhir (R5, a line a resource).")
    ],
    out: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write; it must not exist.")],
    *,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Results since: 2026-01-31, 12h, 7d.")] = None,
    before: Annotated[str | None, typer.Option(metavar="TIME", help="Results before.")] = None,
    deidentify: Annotated[
        bool, typer.Option("--deidentify", help="Pseudonyms, moved days, no free text; needs --key-file.")
    ] = False,
    key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Key of the pseudonyms, at least 32 bytes; keep it here.")
    ] = None,
) -> None:
    """Export the results in force with what was measured. Without --deidentify it names the patients.

    The same patient has the same pseudonym in every export with the same key, and the days between two examinations
    stay. That an export was made, by whom and of which kind is in the audit trail.
    """
    from dicom_node.export import Pseudonyms

    if deidentify != (key_file is not None):
        raise UsageError("--deidentify and --key-file go together")
    pseudonyms = None if key_file is None else Pseudonyms.of_file(key_file)
    if out.exists():
        raise UsageError(f"{out} exists")
    start, end = moment(since) or datetime.min.replace(tzinfo=UTC), moment(before) or datetime.now(UTC)
    with Invocation.of(ctx).store() as store:
        kind = "de-identified" if deidentify else "with patient IDs"
        record(store, "findings exported", detail=f"{format_.value}, {kind}")
        if pseudonyms is None:
            chosen = store.exporting.results(start, end)
        else:
            numbers = pseudonyms.shuffled(store.exporting.numbers(start, end))
            chosen = map(pseudonyms.of, store.exporting.numbered(numbers))
        with _whole(out) as unfinished:
            count = _write(format_, chosen, unfinished)
    say(f"{count} results in {out}, {kind}. {RESEARCH_USE}")


def _write(format_: _Format, entries: Iterable[ExportedResult], path: Path) -> int:
    from dicom_node.export import observation, write_csv, write_parquet

    if format_ is _Format.PARQUET:
        return write_parquet(entries, path, note=RESEARCH_USE)
    with path.open("w", encoding="utf-8", newline="") as file:
        if format_ is _Format.CSV:
            return write_csv(entries, file)
        count = 0
        for entry in entries:
            file.write(json.dumps(observation(entry), ensure_ascii=False, allow_nan=False) + "\n")
            count += 1
        return count


@contextmanager
def _whole(path: Path) -> Generator[Path]:
    """A file that appears under its name whole, readable by nobody else, or not at all."""
    unfinished = path.with_name(f".{path.name}.part")
    try:
        os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError as error:
        raise UsageError(f"{unfinished} cannot be written: {error.strerror}") from error
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
