"""``status``: how the node stands, in a screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from dicom_node.cli.invocation import Invocation
from dicom_node.cli.manual import ExitCode, epilog
from dicom_node.cli.options import Json  # noqa: TC001 - Typer reads annotations at run time
from dicom_node.cli.output import fields_of, plain, print_fields, print_json, say
from dicom_node.cli.predictive import predictive_document, print_predictive

if TYPE_CHECKING:
    from collections.abc import Sequence

    from db import Status
    from db.lateness import Lateness
    from dicom_node.cli.checks import Check


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    codes = {
        ExitCode.OK: "shown",
        ExitCode.FAILED: "shown, and something is wrong",
        ExitCode.UNREACHABLE: "there is no database, or it does not answer",
    }
    app.command(epilog=epilog("lungsentry status", "lungsentry status --json", codes=codes))(status)


def status(ctx: typer.Context, *, as_json: Json = False) -> None:
    """Show how many series, jobs, alerts, deliveries and commitments stand where, what waits longest, the dead letters.

    Tells how late results reach the PACS (from the last image on), and what readers said of flagged ones: the positive
    predictive value by scanner, profile and model.

    Tells of a process that gives no sign of life, of a clock that was set, of what was set aside, of what the scheduler
    fails at, of a database that is not the node's, of a disk that runs full and of certificates that are about to end.
    """
    invocation = Invocation.of(ctx)
    from dicom_node.cli.checks import Level, disk, standing, tls

    settings = invocation.settings()
    with invocation.store() as store:
        counts = store.status()
        verdicts, late = store.feedback.counts(), store.lateness.lately()
        checks = [*standing(settings, store), *disk(settings), *tls(settings)]
    warnings = [one for one in checks if one.level is not Level.OK]
    failed = any(warning.level is Level.FAIL for warning in warnings)
    if as_json:
        more = {"lateness": late, "predictive_value": predictive_document(verdicts), "warnings": warnings}
        print_json({**plain(counts), **more})
    else:
        _print(counts, late, warnings)
        print_predictive(verdicts)
    if failed:
        raise typer.Exit(ExitCode.FAILED)


def _print(counts: Status, late: Lateness | None, warnings: Sequence[Check]) -> None:
    fields: dict[str, object] = {}
    for name, value in fields_of(counts).items():
        fields[name] = _counts(value) if isinstance(value, dict) else value
    if late is not None:
        fields["last image to PACS"] = f"p50 {late.p50_s:.0f} s, p95 {late.p95_s:.0f} s, of the last {late.count}"
    print_fields(fields)
    for warning in warnings:
        say(f"{warning.name}: {warning.saw}; {warning.do}", style="bold red" if warning.level == "fail" else "yellow")


def _counts(by_state: dict[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in by_state.items() if count) or "none"
