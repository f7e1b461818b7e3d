"""``alerts``: the flagged cases, and what a reader made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dicom_node.cli.earlier import earlier_document, print_earlier
from dicom_node.cli.failures import CommandError
from dicom_node.cli.invocation import Invocation
from dicom_node.cli.manual import RESEARCH_USE, ExitCode, epilog
from dicom_node.cli.options import Json, Limit, chosen, this_user
from dicom_node.cli.output import number, plain, print_fields, print_json, print_table, say, text
from dicom_node.cli.uids import shortened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from db import Store, StoredAlert

app = typer.Typer(no_args_is_help=True, help="Flagged cases: list, show, acknowledge, dismiss.")

_Id = Annotated[int, typer.Argument(metavar="ALERT", help="The alert's number, as `alerts list` shows it.")]
_Who = Annotated[str | None, typer.Option("--who", help="Who decides; without it, the user that is logged in.")]
_MOVED = {ExitCode.FAILED: "there is no such alert, or it has moved on already"}


@app.command("list", epilog=epilog("lungsentry alerts list --state open", "lungsentry alerts list --json"))
def list_(
    ctx: typer.Context,
    *,
    state: Annotated[
        list[str] | None,
        typer.Option(help="Only this state: open, acknowledged, dismissed, superseded. Repeatable."),
    ] = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """List flagged cases, the newest first."""
    from alerts.alert import AlertState

    states = chosen(AlertState, state)
    with Invocation.of(ctx).store() as store:
        listed = store.alerts.list(states=states)[:limit]
    if as_json:
        print_json({"alerts": listed})
    else:
        _print(listed)


@app.command(epilog=epilog("lungsentry alerts show 3", codes={ExitCode.FAILED: "there is no such alert"}))
def show(ctx: typer.Context, alert_id: _Id, *, as_json: Json = False) -> None:
    """Show one alert: what was measured, why it is flagged, what has changed since earlier, who decided what."""
    with Invocation.of(ctx).store() as store:
        stored = _get(store, alert_id)
        result = store.results.latest(stored.alert.series_instance_uid)
        earlier = store.results.earlier(stored.alert.series_instance_uid)
    if as_json:
        print_json({**plain(stored), "earlier": earlier_document(result.findings, earlier) if result else []})
        return
    alert = stored.alert
    print_fields(
        {
            "headline": alert.headline,
            "state": stored.state,
            "category": f"ACR {alert.category.value}",
            "incidental": "yes" if alert.incidental else "no: the request names what was looked for",
            "burden": f"{number(alert.burden_percent, 2)} %",
            "why": " ".join(alert.reasons),
            "study": alert.study_instance_uid,
            "series": alert.series_instance_uid,
            "revision": alert.revision,
            "raised": stored.created_at,
            "decided": stored.decided_at,
            "by": stored.decided_by,
            "note": stored.note,
        },
        title=f"alert {stored.id}",
    )
    if result is not None:
        print_earlier(result.findings, earlier)
    say(RESEARCH_USE)


@app.command(epilog=epilog('lungsentry alerts ack 3 --note "called the ward"', codes=_MOVED))
def ack(
    ctx: typer.Context,
    alert_id: _Id,
    *,
    note: Annotated[str, typer.Option(help="What is done about it.")] = "",
    who: _Who = None,
) -> None:
    """Acknowledge an alert: a reader has seen the case and takes it up."""
    with Invocation.of(ctx).store() as store:
        _get(store, alert_id)
        store.alerts.acknowledge(alert_id, who or this_user(), note)
    say(f"alert {alert_id} is acknowledged")


@app.command(epilog=epilog('lungsentry alerts dismiss 3 --note "atelectasis, known"', codes=_MOVED))
def dismiss(
    ctx: typer.Context,
    alert_id: _Id,
    *,
    note: Annotated[str, typer.Option(help="Why nothing is to be done.")] = "",
    who: _Who = None,
) -> None:
    """Dismiss an alert: a reader has seen the case and finds nothing to act upon."""
    with Invocation.of(ctx).store() as store:
        _get(store, alert_id)
        store.alerts.dismiss(alert_id, who or this_user(), note)
    say(f"alert {alert_id} is dismissed")


def _get(store: Store, alert_id: int) -> StoredAlert:
    stored = store.alerts.get(alert_id)
    if stored is None:
        raise CommandError(f"there is no alert {alert_id}; `lungsentry alerts list` shows what there is")
    return stored


def _print(listed: Sequence[StoredAlert]) -> None:
    names = shortened([one.alert.series_instance_uid for one in listed])
    print_table(
        ("alert", "state", "burden %", "category", "incidental", "series", "raised", "headline"),
        [
            (
                str(one.id),
                text(one.state),
                number(one.alert.burden_percent, 2),
                one.alert.category.value,
                "yes" if one.alert.incidental else "no",
                names[one.alert.series_instance_uid],
                text(one.created_at),
                one.alert.headline,
            )
            for one in listed
        ],
        numeric=("alert", "burden %"),
        caption=RESEARCH_USE,
        empty="no alert",
    )
