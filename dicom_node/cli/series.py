"""``series`` and ``why``: what became of each series, and which rules said so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dicom_node.cli.earlier import earlier_document, print_earlier
from dicom_node.cli.invocation import Invocation
from dicom_node.cli.manual import RESEARCH_USE, epilog
from dicom_node.cli.options import Json, Limit, SeriesUid, chosen
from dicom_node.cli.output import fields_of, number, print_fields, print_json, print_table, say, text
from dicom_node.cli.result_text import print_result
from dicom_node.cli.uids import resolve_series, resolve_study, shortened, still_known

if TYPE_CHECKING:
    from collections.abc import Sequence

    from db import SeriesRecord, StoredEvent, StoredShadowResult

app = typer.Typer(no_args_is_help=True, help="Series that were received, and what became of each.")


def register(root: typer.Typer) -> None:
    """Add ``why`` to the root command."""
    root.command(epilog=epilog("lungsentry why 4711.20.3"))(why)


@app.command("list", epilog=epilog("lungsentry series list --state failed", "lungsentry series list --json"))
def list_(
    ctx: typer.Context,
    *,
    state: Annotated[
        list[str] | None,
        typer.Option(help="Only this state: receiving, complete, queued, analysed, excluded, failed. Repeatable."),
    ] = None,
    study: Annotated[str | None, typer.Option(metavar="UID", help="Only the series of this study.")] = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """List series, the last received first, with what became of each."""
    from db import SeriesState

    states = chosen(SeriesState, state)
    with Invocation.of(ctx).store() as store:
        study_uid = resolve_study(store, study) if study else None
        listed = store.series.list(states=states, study=study_uid, limit=limit)
    if as_json:
        print_json({"series": listed})
    else:
        print_series(listed)


@app.command(epilog=epilog("lungsentry series show 4711.20.3"))
def show(ctx: typer.Context, series: SeriesUid, *, as_json: Json = False) -> None:
    """Show one series: its state, the newest result, earlier examinations of the patient, and what happened to it."""
    with Invocation.of(ctx).store() as store:
        uid = resolve_series(store, series)
        found = still_known(store.series.get(uid), uid)
        result = store.results.latest(uid)
        earlier = store.results.earlier(uid)
        events = store.series.events(uid)
        shadows = store.models.shadows(series_instance_uid=uid)
    if as_json:
        compared = earlier_document(result.findings, earlier) if result else []
        print_json(
            {"series": found, "result": result, "earlier": compared, "shadow_results": shadows, "events": events}
        )
        return
    print_fields(fields_of(found), title="series")
    if result is not None:
        print_result(result)
        print_earlier(result.findings, earlier)
    if shadows:
        _print_shadows(shadows)
    _print_events(events)


def why(ctx: typer.Context, series: SeriesUid, *, as_json: Json = False) -> None:
    """Show why a series was analysed or not: every rule, the value it saw, and the outcome."""
    with Invocation.of(ctx).store() as store:
        uid = resolve_series(store, series)
        found = still_known(store.series.get(uid), uid)
        screening = store.series.why(uid)
        events = store.series.events(uid)
    if as_json:
        print_json(
            {
                "series_instance_uid": uid,
                "state": found.state,
                "reason": found.reason,
                "profile": screening.profile if screening else None,
                "profile_cues": screening.profile_cues if screening else [],
                "rules": screening.results if screening else [],
                "events": events,
            }
        )
        return
    say(f"{uid} is {found.state.value}" + (f": {found.reason}" if found.reason else ""), style="bold")
    if screening is None:
        say("not screened yet")
    else:
        print_table(
            ("rule", "outcome", "value", "expected"),
            [(one.rule, one.outcome.value, one.value, one.expected) for one in screening.results],
        )
        if screening.profile:
            say(f"profile {screening.profile.value}: {'; '.join(screening.profile_cues) or 'no cue of another'}")
    _print_events(events)


def print_series(listed: Sequence[SeriesRecord]) -> None:
    """A table of series."""
    names = shortened([one.series_instance_uid for one in listed])
    print_table(
        ("series", "state", "modality", "description", "instances", "revision", "last received", "why"),
        [
            (
                names[one.series_instance_uid],
                one.state.value,
                text(one.modality),
                text(one.series_description),
                str(one.instance_count),
                str(one.revision),
                text(one.last_received_at),
                text(one.reason),
            )
            for one in listed
        ],
        numeric=("instances", "revision"),
        empty="no series",
    )


def _print_shadows(shadows: Sequence[StoredShadowResult]) -> None:
    rows: list[tuple[str, ...]] = []
    for stored in shadows:
        one = stored.shadow
        burden = one.findings.burden_percent if one.findings else None
        alert = "-" if one.would_alert is None else "yes" if one.would_alert else "no"
        numbers = (number(burden, 2), number(one.lesion_dice, 3), number(one.seconds))
        rows.append((one.reference, *numbers, alert, text(one.cause), text(stored.created_at)))
    print_table(
        ("model", "burden %", "Dice to the result", "s", "would alert", "failed", "at"),
        rows,
        title="in shadow: without consequence",
        caption=RESEARCH_USE,
        numeric=("burden %", "Dice to the result", "s"),
    )


def _print_events(events: Sequence[StoredEvent]) -> None:
    print_table(
        ("when", "what", "event", "from", "to", "by", "detail"),
        [
            (
                text(one.at),
                f"{one.subject_kind} {one.subject_id}" if one.subject_kind != "series" else "series",
                one.event,
                text(one.from_state),
                text(one.to_state),
                text(one.actor),
                text(one.detail),
            )
            for one in events
        ],
        title="what happened",
        empty="nothing has happened to it",
    )
