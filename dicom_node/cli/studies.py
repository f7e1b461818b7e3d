"""``studies``: what was received, by study."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from dicom_node.cli.earlier import earlier_document, print_earlier
from dicom_node.cli.invocation import Invocation
from dicom_node.cli.manual import epilog
from dicom_node.cli.options import Json, Limit, StudyUid, moment
from dicom_node.cli.output import fields_of, plain, print_fields, print_json, print_table, text
from dicom_node.cli.series import print_series
from dicom_node.cli.trail import record
from dicom_node.cli.uids import resolve_study, shortened, still_known

if TYPE_CHECKING:
    from db import StudyRecord

app = typer.Typer(no_args_is_help=True, help="Studies that were received.")

_PATIENT_FIELDS = frozenset({"patient_id", "patient_name", "accession_number"})


@app.command("list", epilog=epilog("lungsentry studies list --since 1d", "lungsentry studies list --json"))
def list_(
    ctx: typer.Context,
    *,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Received since: 2026-01-31, 12h, 7d.")] = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """List studies, the last received first; never who the patient is."""
    with Invocation.of(ctx).store() as store:
        listed = store.studies.list(since=moment(since), limit=limit)
    if as_json:
        print_json({"studies": [_view(study) for study in listed]})
        return
    names = shortened([study.study_instance_uid for study in listed])
    print_table(
        ("study", "date", "description", "modalities", "series", "last received"),
        [
            (
                names[study.study_instance_uid],
                text(study.study_date),
                text(study.study_description),
                ", ".join(study.modalities),
                str(study.series_count),
                text(study.last_received_at),
            )
            for study in listed
        ],
        numeric=("series",),
        empty="no study",
    )


@app.command(epilog=epilog("lungsentry studies show 4711.20", "lungsentry studies show 4711.20 --show-patient"))
def show(
    ctx: typer.Context,
    study: StudyUid,
    *,
    show_patient: Annotated[
        bool, typer.Option("--show-patient", help="Also the patient ID and accession number; mind who sees the screen.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show one study, what became of each of its series, and earlier examinations of the patient."""
    with Invocation.of(ctx).store() as store:
        uid = resolve_study(store, study)
        found = still_known(store.studies.get(uid), uid)
        if show_patient:
            record(store, "revealed", f"study {uid}")
        series = store.series.list(study=uid)
        results = [result for one in series if (result := store.results.latest(one.series_instance_uid))]
        earlier = {result.series_instance_uid: store.results.earlier(result.series_instance_uid) for result in results}
    if as_json:
        compared = {
            result.series_instance_uid: earlier_document(result.findings, earlier[result.series_instance_uid])
            for result in results
        }
        print_json({**_view(found, patient=show_patient), "series": series, "earlier": compared})
        return
    hidden = frozenset() if show_patient else {name.replace("_", " ") for name in _PATIENT_FIELDS}
    print_fields({name: value for name, value in fields_of(found).items() if name not in hidden}, title="study")
    print_series(series)
    for result in results:
        print_earlier(result.findings, earlier[result.series_instance_uid])


def _view(study: StudyRecord, *, patient: bool = False) -> dict[str, Any]:
    return {name: value for name, value in plain(study).items() if patient or name not in _PATIENT_FIELDS}
