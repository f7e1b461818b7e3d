"""``alerts``: the flagged cases, and what a reader made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dicom_node.cli.earlier import earlier_document, print_earlier
from dicom_node.cli.failures import CommandError, UsageError
from dicom_node.cli.invocation import Invocation
from dicom_node.cli.manual import RESEARCH_USE, ExitCode, epilog
from dicom_node.cli.options import Json, Limit, chosen, moment, one_of, this_user
from dicom_node.cli.output import number, plain, print_fields, print_json, print_table, say, text
from dicom_node.cli.trail import recorded
from dicom_node.cli.uids import shortened

if TYPE_CHECKING:
    from db import Store, StoredAlert, WorklistEntry, WorklistPage

app = typer.Typer(no_args_is_help=True, help="Flagged cases: list, show, acknowledge, dismiss, pass on.")

_Id = Annotated[int, typer.Argument(metavar="ALERT", help="The alert's number, as `alerts list` shows it.")]
_Who = Annotated[str | None, typer.Option("--who", help="Who decides; without it, the user that is logged in.")]
_MOVED = {ExitCode.FAILED: "there is no such alert, or it has moved on already"}


@app.command(
    "list",
    epilog=epilog(
        "lungsentry alerts list --state open --sort pressing",
        "lungsentry alerts list --profile ctac --since 7d --json",
        "lungsentry alerts list --find LS-26-48902",
    ),
)
def list_(
    ctx: typer.Context,
    *,
    state: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this state: open, notified, escalated, acknowledged, passed_on, dismissed, superseded. "
            "Repeatable."
        ),
    ] = None,
    category: Annotated[list[str] | None, typer.Option(help="Only this ACR category: 1, 2, 3. Repeatable.")] = None,
    incidental: Annotated[
        bool | None,
        typer.Option("--incidental/--expected", help="Only where nobody, or somebody, was looking for opacities."),
    ] = None,
    profile: Annotated[str | None, typer.Option(help="Only chest_ct, or ctac.")] = None,
    quality: Annotated[str | None, typer.Option(help="Only of this quality: diagnostic, limited.")] = None,
    scanner: Annotated[str | None, typer.Option(metavar="AE_TITLE", help="Only what this AE title sent.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Received since: 2026-01-31, 12h, 7d.")] = None,
    before: Annotated[str | None, typer.Option(metavar="TIME", help="Received before.")] = None,
    find: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Beginning of an accession number or patient ID, or either end of a UID."),
    ] = None,
    sort: Annotated[
        str, typer.Option(help="What comes first: raised (the newest alert), pressing, due, received, burden.")
    ] = "raised",
    offset: Annotated[int, typer.Option(min=0, help="Leave out so many at the beginning.")] = 0,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """List flagged cases with what was measured, the newest first; never who the patient is."""
    from alerts.alert import AlertState, Category
    from analysis.findings import Profile, QualityLevel
    from db import WorklistFilter, WorklistSort

    which = WorklistFilter(
        states=frozenset(chosen(AlertState, state) or ()),
        categories=frozenset(chosen(Category, category, what="category") or ()),
        incidental=incidental,
        profile=one_of(Profile, profile, what="profile") if profile else None,
        quality=one_of(QualityLevel, quality, what="quality") if quality else None,
        calling_ae_title=scanner,
        received_since=moment(since),
        received_before=moment(before),
        found=find,
    )
    order = one_of(WorklistSort, sort, what="order")
    with Invocation.of(ctx).store() as store:
        page = store.worklist.page(which, sort=order, offset=offset, limit=limit)
    if as_json:
        print_json({"total": page.total, "alerts": [_document(one) for one in page.entries]})
    else:
        _print(page, offset)


@app.command(epilog=epilog("lungsentry alerts show 3", codes={ExitCode.FAILED: "there is no such alert"}))
def show(ctx: typer.Context, alert_id: _Id, *, as_json: Json = False) -> None:
    """Show one alert: what was measured, why it is flagged, what has changed since earlier, who decided what."""
    with Invocation.of(ctx).store() as store:
        stored = _get(store, alert_id)
        result = store.results.latest(stored.series_instance_uid)
        earlier = store.results.earlier(stored.series_instance_uid)
        flagged = store.alerts.flagged(stored.study_instance_uid)
    if as_json:
        before = earlier_document(result.findings, earlier) if result else []
        print_json({**plain(stored), "flagged": flagged, "earlier": before})
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
            "study": stored.study_instance_uid,
            "series": stored.series_instance_uid,
            "revision": alert.revision,
            "flagged series": len(flagged),
            "raised": stored.created_at,
            "due": stored.due_at,
            "opened": stored.opened_at,
            "decided": stored.decided_at,
            "by": stored.decided_by,
            "passed to": stored.passed_to,
            "reason": stored.reason,
            "note": stored.note,
            "decided on": None if stored.judged is None else f"{number(stored.judged.burden_percent, 2)} %",
        },
        title=f"alert {stored.id}",
    )
    if result is not None:
        print_earlier(result.findings, earlier)
    say(RESEARCH_USE)


@app.command(epilog=epilog("lungsentry alerts why 3", codes={ExitCode.FAILED: "there is no such alert"}))
def why(ctx: typer.Context, alert_id: _Id, *, as_json: Json = False) -> None:
    """Show every clause of the policy as it was applied to each flagged series of the study: value, limit, outcome."""
    with Invocation.of(ctx).store() as store:
        stored = _get(store, alert_id)
        numbers = [one.result_id for one in store.alerts.flagged(stored.study_instance_uid)] or [stored.result_id]
        results = [result for number in numbers if (result := store.results.get(number)) is not None]
    if as_json:
        told = [
            {"series": one.series_instance_uid, "result_id": one.id, "clauses": one.clauses, "request": one.request}
            for one in results
        ]
        print_json({"alert": alert_id, "series": told})
        return
    for one in results:
        print_table(
            ("clause", "value", "limit", "met"),
            [(text(clause.name), clause.value, clause.limit, "yes" if clause.met else "no") for clause in one.clauses],
            title=f"series {one.series_instance_uid}",
            empty="its clauses were not kept: it is of an earlier version",
        )
        say(one.explanation)
    say(RESEARCH_USE)


@app.command(
    epilog=epilog(
        "lungsentry alerts feedback 3",
        "lungsentry alerts feedback 3 --verdict there --looks-like 'other pneumonia' --extent 1-25",
        codes={ExitCode.FAILED: "there is no such alert"},
    )
)
def feedback(
    ctx: typer.Context,
    alert_id: _Id,
    *,
    verdict: Annotated[
        str | None, typer.Option(help="Whether it is there: there, 'not there', unsure. Without it: what was said.")
    ] = None,
    looks_like: Annotated[
        str | None,
        typer.Option(help="What it looks like: 'viral or covid-19 pneumonia', atelectasis, oedema, ..."),
    ] = None,
    extent: Annotated[str | None, typer.Option(help="Share of the lungs: 0, 1-25, 25-50, 50-75, 'over 75'.")] = None,
    who: _Who = None,
    as_json: Json = False,
) -> None:
    """Keep a reader's verdict on what is flagged (a second one of the same reader replaces the first), or show them."""
    from db import LooksLike, ReaderExtent, Verdict

    if verdict is None and (looks_like or extent):
        raise UsageError("say first whether it is there: --verdict")
    by_word = {one.value.lower(): one for one in LooksLike}
    if looks_like is not None and looks_like.lower() not in by_word:
        raise UsageError(f"--looks-like is one of {', '.join(one.value for one in LooksLike)}")
    seen = None if extent is None else one_of(ReaderExtent, extent, what="extent")
    with Invocation.of(ctx).store() as store:
        _get(store, alert_id)
        if verdict is not None:
            said = one_of(Verdict, verdict, what="verdict")
            likeness = None if looks_like is None else by_word[looks_like.lower()]
            with recorded(store, "judged", f"alert {alert_id}", said.value, who=who):
                store.feedback.give(alert_id, who or this_user(), said, looks_like=likeness, extent=seen)
        given = store.feedback.of_alert(alert_id)
    if as_json:
        print_json({"alert": alert_id, "feedback": given})
        return
    print_table(
        ("who", "when", "verdict", "looks like", "extent %"),
        [(one.who, text(one.at), text(one.verdict), text(one.looks_like), text(one.extent)) for one in given],
        empty="no reader has said anything",
    )


@app.command(epilog=epilog('lungsentry alerts ack 3 --note "called the ward"', codes=_MOVED))
def ack(
    ctx: typer.Context,
    alert_id: _Id,
    *,
    note: Annotated[str, typer.Option(help="What is done about it.")] = "",
    who: _Who = None,
) -> None:
    """Acknowledge an alert: a reader has seen the case and takes it up."""
    invocation = Invocation.of(ctx)
    with invocation.store() as store:
        seen, tell = _get(store, alert_id).seen, invocation.settings().told("taken up")
        with recorded(store, "taken up", f"alert {alert_id}", who=who):
            store.alerts.acknowledge(alert_id, who or this_user(), note, seen=seen, tell=tell)
    say(f"alert {alert_id} is acknowledged")


@app.command(epilog=epilog('lungsentry alerts dismiss 3 --reason known --note "atelectasis"', codes=_MOVED))
def dismiss(
    ctx: typer.Context,
    alert_id: _Id,
    *,
    reason: Annotated[
        str, typer.Option(help="Why nothing is to be done: 'not there', known, expected, artefact, other.")
    ],
    note: Annotated[str, typer.Option(help="What there is to say beside it.")] = "",
    who: _Who = None,
) -> None:
    """Dismiss an alert: a reader has seen the case and finds nothing to act upon."""
    from db import DismissalReason

    why = one_of(DismissalReason, reason, what="reason")
    with Invocation.of(ctx).store() as store:
        seen = _get(store, alert_id).seen
        with recorded(store, "dismissed", f"alert {alert_id}", who=who):
            store.alerts.dismiss(alert_id, who or this_user(), note, reason=why, seen=seen)
    say(f"alert {alert_id} is dismissed")


@app.command("pass", epilog=epilog("lungsentry alerts pass 3 --to dr.miller", codes=_MOVED))
def pass_on(
    ctx: typer.Context,
    alert_id: _Id,
    *,
    to: Annotated[str, typer.Option(metavar="USER", help="Who is to decide.")],
    note: Annotated[str, typer.Option(help="What there is to say to him.")] = "",
    who: _Who = None,
) -> None:
    """Pass an alert on: a reader has seen the case and leaves it to somebody else."""
    from db import is_user_name

    if not is_user_name(to):
        raise UsageError("--to is a user's name: letters, digits and . _ @ + -, at most 64")
    with Invocation.of(ctx).store() as store:
        seen = _get(store, alert_id).seen
        _know_reader(store, to)
        with recorded(store, "passed on", f"alert {alert_id}", f"to {to}", who=who):
            store.alerts.pass_on(alert_id, who or this_user(), note, to=to, seen=seen)
    say(f"alert {alert_id} is passed on to {to}")


@app.command(epilog=epilog("lungsentry alerts undo 3", codes=_MOVED))
def undo(ctx: typer.Context, alert_id: _Id, *, who: _Who = None) -> None:
    """Take back what you have decided in the last ten minutes; the alert is open again."""
    with Invocation.of(ctx).store() as store:
        _get(store, alert_id)
        with recorded(store, "undone", f"alert {alert_id}", who=who):
            undone = store.alerts.undo(alert_id, who or this_user())
    say(f"alert {alert_id} is {undone.state}")


def _know_reader(store: Store, name: str) -> None:
    readers = store.users.readers()
    if readers and name not in readers:  # a node without readers of its own is read elsewhere, under names of there
        raise UsageError(f"--to is a reader who may sign in: {', '.join(readers)}")


def _get(store: Store, alert_id: int) -> StoredAlert:
    stored = store.alerts.get(alert_id)
    if stored is None:
        raise CommandError(f"there is no alert {alert_id}; `lungsentry alerts list` shows what there is")
    return stored


def _document(entry: WorklistEntry) -> dict[str, object]:
    return {
        **plain(entry.alert),
        "findings": entry.findings.summary(),
        "series": entry.series,
        "study_date": entry.study_date,
        "study_description": entry.study_description,
    }


def _print(page: WorklistPage, offset: int) -> None:
    names = shortened([one.series.series_instance_uid for one in page.entries])
    last = offset + len(page.entries)
    shown = f"{offset + 1} to {last} of {page.total}. " if page.entries else ""
    print_table(
        (
            *("alert", "state", "category", "burden %", "opacity mL", "incidental", "profile", "quality"),
            *("scanner", "examination", "series", "received", "raised"),
        ),
        [
            (*_figures(one), *_examination(one), names[one.series.series_instance_uid], *_times(one))
            for one in page.entries
        ],
        numeric=("alert", "burden %", "opacity mL"),
        caption=f"{shown}{RESEARCH_USE}",
        empty="no alert",
    )


def _figures(entry: WorklistEntry) -> tuple[str, ...]:
    alert, findings = entry.alert.alert, entry.findings
    return (
        str(entry.alert.id),
        text(entry.alert.state),
        alert.category.value,
        number(alert.burden_percent, 2),
        number(findings.both_lungs.lesion_volume_ml, 0),
        "yes" if alert.incidental else "no",
        text(findings.profile),
        text(findings.quality.level),
    )


def _examination(entry: WorklistEntry) -> tuple[str, str]:
    return text(entry.series.calling_ae_title), text(entry.study_description or entry.series.series_description)


def _times(entry: WorklistEntry) -> tuple[str, str]:
    return text(entry.series.last_received_at), text(entry.alert.created_at)
