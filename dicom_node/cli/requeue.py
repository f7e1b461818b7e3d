"""``requeue``: analyse series again, refuse what makes no sense, and say why for each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dicom_node.cli.failures import UsageError
from dicom_node.cli.invocation import Invocation
from dicom_node.cli.manual import ExitCode, epilog
from dicom_node.cli.options import Json, moment, this_user
from dicom_node.cli.output import print_json, print_table, say
from dicom_node.cli.trail import recorded
from dicom_node.cli.uids import resolve_series, resolve_study, shortened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from db import RequeueCandidate

_CODES = {
    ExitCode.OK: "at least one series is queued (--dry-run: would be)",
    ExitCode.FAILED: "none fits, or every one is refused",
}


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(
        epilog=epilog(
            "lungsentry requeue --study 4711.20",
            "lungsentry requeue --failed --since 7d --dry-run",
            "lungsentry requeue --not-model-version 0.2.0 --dry-run",
            codes=_CODES,
        )
    )(requeue)


def requeue(
    ctx: typer.Context,
    *,
    study: Annotated[str | None, typer.Option(metavar="UID", help="The series of this study.")] = None,
    series: Annotated[str | None, typer.Option(metavar="UID", help="This series.")] = None,
    patient: Annotated[str | None, typer.Option(metavar="ID", help="The series of this patient ID.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only series that failed (dead letters).")] = False,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Received since: 2026-01-31, 12h, 7d.")] = None,
    model_version: Annotated[
        str | None,
        typer.Option(metavar="VERSION", help="Only series whose result is by this model version, or NAME@VERSION."),
    ] = None,
    not_model_version: Annotated[
        str | None,
        typer.Option(metavar="VERSION", help="Only series whose result is by any other: after a model is activated."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be queued; change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Analyse series again. Options narrow each other; at least one is needed. The new result replaces the old."""
    if not (study or series or patient or failed or since or model_version or not_model_version):
        raise UsageError(
            "say which series: --study, --series, --patient, --failed, --since, --model-version or --not-model-version"
        )
    from db import RequeueFilter

    since_moment = moment(since)
    with Invocation.of(ctx).store() as store:
        candidates = store.requeue.select(
            RequeueFilter(
                study=resolve_study(store, study) if study else None,
                series=resolve_series(store, series) if series else None,
                patient=patient,
                failed=failed,
                since=since_moment,
                model_version=model_version,
                not_model_version=not_model_version,
            )
        )
        accepted = [one for one in candidates if one.refusal is None]
        if accepted and not dry_run:
            subject = f"series {accepted[0].series_instance_uid}" if len(accepted) == 1 else f"{len(accepted)} series"
            with recorded(store, "run again", subject):
                store.requeue.apply(accepted, this_user())
    if as_json:
        print_json(
            {
                "dry_run": dry_run,
                "series": [
                    {
                        "series_instance_uid": one.series_instance_uid,
                        "queued": one.refusal is None,
                        "refusal": one.refusal,
                    }
                    for one in candidates
                ],
            }
        )
    else:
        _print(candidates, dry_run=dry_run)
    if not accepted:
        raise typer.Exit(ExitCode.FAILED)


def _print(candidates: Sequence[RequeueCandidate], *, dry_run: bool) -> None:
    names = shortened([one.series_instance_uid for one in candidates])
    done = "would be queued" if dry_run else "queued"
    print_table(
        ("series", "outcome", "why not"),
        [
            (names[one.series_instance_uid], "refused" if one.refusal else done, one.refusal or "-")
            for one in candidates
        ],
        empty="no series fits",
    )
    if candidates:
        say(f"{sum(1 for one in candidates if one.refusal is None)} of {len(candidates)} series {done}")
