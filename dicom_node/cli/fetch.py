"""``fetch``: pull studies from a PACS into the archive."""

from __future__ import annotations

import sys
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from dicom_node.cli.addresses import find_remote
from dicom_node.cli.failures import UsageError
from dicom_node.cli.invocation import Invocation
from dicom_node.cli.manual import ExitCode, epilog
from dicom_node.cli.options import Host, Json, Port  # noqa: TC001 - Typer reads annotations at run time
from dicom_node.cli.output import console, print_json, print_table, say, text
from dicom_node.cli.uids import shortened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from db import Store
    from dicom_node.peers.remote import Remote
    from dicom_node.retrieval import Criteria, Fetched, FoundSeries
    from dicom_node.settings import Settings

_WANTED = ("CT", "PT", "NM")
_CODES = {
    ExitCode.OK: "the archive holds every series that was found (--dry-run: something was found)",
    ExitCode.FAILED: "nothing was found, or a series did not come whole",
    ExitCode.UNREACHABLE: "the peer does not answer",
}


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(
        epilog=epilog(
            "lungsentry fetch --study 1.2.840.4711 --peer PACS --host 10.1.0.5 --port 104",
            "lungsentry fetch --from 2026-01-01 --to 2026-01-31 --peer PACS --dry-run",
            codes=_CODES,
        )
    )(fetch)


def fetch(
    ctx: typer.Context,
    *,
    peer: Annotated[str, typer.Option("--peer", metavar="AE_TITLE", help="The PACS that holds the studies.")],
    study: Annotated[str | None, typer.Option(metavar="UID", help="This study (the whole UID).")] = None,
    patient: Annotated[str | None, typer.Option(metavar="ID", help="The studies of this patient ID.")] = None,
    since: Annotated[str | None, typer.Option("--from", metavar="DATE", help="Studies of this day and later.")] = None,
    until: Annotated[str | None, typer.Option("--to", metavar="DATE", help="Studies of this day and earlier.")] = None,
    modality: Annotated[
        list[str] | None, typer.Option(metavar="MODALITY", help="Series of this modality; default CT, PT and NM.")
    ] = None,
    method: Annotated[
        str, typer.Option(metavar="get|move", help="get: pull here. move: have the PACS send to the running node.")
    ] = "get",
    host: Host = None,
    port: Port = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what there is; fetch nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Fetch studies from a PACS: what retention removed, or what was done before the node was there.

    Series that the archive holds whole are left. With get the node need not run; with move the PACS has to know the
    node's AE title and address, and the node has to allow the PACS. What was analysed before is analysed again by
    `lungsentry requeue`.
    """
    from dicom_node.retrieval import Method, find_series

    if method not in set(Method):
        raise UsageError(f"there is no method {method!r}; methods are get and move")
    criteria = _criteria(study, patient, since, until)
    invocation = Invocation.of(ctx)
    invocation.configure_logs()
    settings = invocation.settings()
    remote = find_remote(invocation, peer, host, port)
    wanted = {one.upper() for one in modality or _WANTED}
    found = [one for one in find_series(remote, criteria) if one.modality in wanted]
    with invocation.store() as store:
        if dry_run:
            _list(found, store, as_json=as_json)
            complete = bool(found)
        else:
            fetched = _fetch_all(found, settings, store, remote, Method(method), hidden=as_json)
            _tell(fetched, as_json=as_json)
            complete = bool(fetched) and all(one.outcome in {"held", "fetched"} for one in fetched)
    if not complete:
        raise typer.Exit(ExitCode.FAILED)


def _criteria(study: str | None, patient: str | None, since: str | None, until: str | None) -> Criteria:
    from dicom_node.retrieval import Criteria

    try:
        return Criteria(study_instance_uid=study, patient_id=patient, since=_day(since), until=_day(until))
    except ValueError as error:
        raise UsageError(f"{error}: --study, --patient, --from and --to (2026-01-31)") from error


def _day(given: str | None) -> date | None:
    return None if given is None else date.fromisoformat(given)


def _fetch_all(
    found: Sequence[FoundSeries], settings: Settings, store: Store, remote: Remote, method: str, *, hidden: bool
) -> list[Fetched]:
    from rich.progress import Progress

    from dicom_node.retrieval import Method, archiving
    from dicom_node.retrieval import fetch as fetch_series
    from dicom_node.storage.archive import Archive

    instances = sum(one.instance_count or 0 for one in found)
    done: list[Fetched] = []
    with Progress(console=console(stderr=True), disable=hidden or not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task(f"fetching {len(found)} series", total=instances or None)
        before = 0

        def show(_: FoundSeries, sent: int) -> None:
            bar.update(task, completed=before + sent)

        for one in fetch_series(
            remote,
            found,
            method=Method(method),
            store=store,
            archiving=partial(
                archiving, settings.receiver, settings.node.ae_title, store, Archive(settings.archive_dir), remote
            ),
            max_instance_bytes=settings.receiver.max_instance_bytes,
            on_progress=show,
        ):
            done.append(one)
            before += one.series.instance_count or 0
            bar.update(task, completed=before)
    return done


def _list(found: Sequence[FoundSeries], store: Store, *, as_json: bool) -> None:
    from dicom_node.retrieval import held_instances

    held = {one.series_instance_uid: held_instances(store, one.series_instance_uid) for one in found}
    if as_json:
        series = [{**_document(one), "held": held[one.series_instance_uid]} for one in found]
        print_json({"dry_run": True, "series": series})
        return
    print_table(
        ("date", "study", "series", "modality", "description", "instances", "here"),
        [
            (
                text(one.study_date),
                one.study_instance_uid,
                one.series_instance_uid,
                text(one.modality),
                text(one.description),
                text(one.instance_count),
                str(held[one.series_instance_uid]),
            )
            for one in found
        ],
        numeric=("instances", "here"),
        empty="the peer holds nothing that fits",
    )


def _tell(fetched: Sequence[Fetched], *, as_json: bool) -> None:
    if as_json:
        series = [
            {**_document(one.series), "held": one.held, "outcome": one.outcome, "reason": one.reason} for one in fetched
        ]
        print_json({"dry_run": False, "series": series})
        return
    names = shortened([one.series.series_instance_uid for one in fetched])
    print_table(
        ("series", "modality", "there", "here", "new", "outcome", "why"),
        [
            (
                names[one.series.series_instance_uid],
                text(one.series.modality),
                text(one.series.instance_count),
                str(one.held),
                str(one.held - one.held_before),
                one.outcome,
                text(one.reason),
            )
            for one in fetched
        ],
        numeric=("there", "here", "new"),
        empty="the peer holds nothing that fits",
    )
    if fetched:
        new = sum(one.held - one.held_before for one in fetched)
        whole = sum(one.outcome in {"held", "fetched"} for one in fetched)
        say(f"{new} instances fetched; {whole} of {len(fetched)} series are whole")


def _document(one: FoundSeries) -> dict[str, object]:
    return {
        "study_instance_uid": one.study_instance_uid,
        "series_instance_uid": one.series_instance_uid,
        "study_date": one.study_date,
        "modality": one.modality,
        "instances": one.instance_count,
    }
