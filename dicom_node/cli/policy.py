"""``policy``: when a result is flagged, and what another policy would have flagged."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path  # noqa: TC003 - Typer reads annotations at run time
from typing import TYPE_CHECKING, Annotated

import typer

from dicom_node.cli.invocation import Invocation
from dicom_node.cli.manual import RESEARCH_USE, ExitCode, epilog
from dicom_node.cli.options import Json, moment
from dicom_node.cli.output import number, print_json, print_table, say, text

if TYPE_CHECKING:
    from alerts import AlertPolicy, PolicyChange, PolicyDecision
    from db import StoredResult
    from db.exporting import ExportedResult

app = typer.Typer(no_args_is_help=True, help="When a result is flagged, and what another policy would flag.")


@app.command(epilog=epilog("lungsentry policy show", "lungsentry policy show --json"))
def show(ctx: typer.Context, *, as_json: Json = False) -> None:
    """Show the thresholds by profile and age band, the words that make opacities expected, the time by category."""
    from dicom_node.work.publishing import alert_policy

    policy = alert_policy(Invocation.of(ctx).settings().policy)
    if as_json:
        allowed = {category.value: minutes for category, minutes in policy.minutes_allowed.items()}
        print_json(
            {"thresholds": _lines(policy), "expected_words": policy.expected_words, "minutes_by_category": allowed}
        )
        return
    _print_thresholds(policy, "flagged at and above both, on images that can be analysed")
    say(f"expected where the request or a description names: {', '.join(policy.expected_words) or 'nothing'}")
    times = ", ".join(
        f"category {one.value} within {_span(minutes * 60)}" for one, minutes in policy.minutes_allowed.items()
    )
    say(f"escalated where nobody has looked: {times}")
    say(RESEARCH_USE)


@app.command(
    "test",
    epilog=epilog(
        "lungsentry policy test --with ./stricter.toml",
        "lungsentry policy test --since 2026-01-01 --before 2026-02-01 --json",
        codes={ExitCode.OK: "replayed, whatever would change"},
    ),
)
def replay(
    ctx: typer.Context,
    *,
    other: Annotated[
        Path | None,
        typer.Option(
            "--with",
            metavar="FILE",
            help="A file whose [policy] is tried over the present one, which stands otherwise.",
        ),
    ] = None,
    since: Annotated[str, typer.Option(metavar="TIME", help="Results since: 2026-01-31, 12h, 7d.")] = "1d",
    before: Annotated[str | None, typer.Option(metavar="TIME", help="Results before; without it, now.")] = None,
    as_json: Json = False,
) -> None:
    """Apply other settings to the stored results in force of a span, and list what would be flagged otherwise.

    Nothing is changed. Without --with it tells what was flagged under settings that hold no more.
    """
    from dicom_node.settings import changed_policy
    from dicom_node.work.publishing import alert_policy

    invocation = Invocation.of(ctx)
    present = invocation.settings().policy
    policy = alert_policy(changed_policy(present, other) if other else present)
    start, end = moment(since), moment(before) or datetime.now(UTC)
    count, flagged, would = 0, 0, 0
    changes: list[dict[str, object]] = []
    with invocation.store() as store:
        for entry in store.exporting.results(start or end, end):
            result = entry.result
            change, decision = _replayed(entry, policy)
            count, flagged = count + 1, flagged + (result.alert is not None)
            would += decision.alert is not None
            if change is not None:
                changes.append(_document(result, change, decision))
    if as_json:
        span = {"since": start, "before": end, "results": count, "flagged": flagged, "would_be_flagged": would}
        print_json({**span, "thresholds": _lines(policy), "changes": changes})
        return
    _print_thresholds(policy, "tried: flagged at and above both, on images that can be analysed")
    print_table(
        ("series", "would be", "burden %", "opacity mL", "profile", "recorded"),
        [
            (
                str(one["series"]),
                text(one["change"]),
                number(one["burden_percent"], 2),  # pyright: ignore[reportArgumentType]
                number(one["lesion_volume_ml"], 1),  # pyright: ignore[reportArgumentType]
                text(one["profile"]),
                text(one["recorded"]),
            )
            for one in changes
        ],
        numeric=("burden %", "opacity mL"),
        empty="nothing would change",
    )
    say(f"{count} results: {flagged} are flagged, {would} would be. {RESEARCH_USE}")


def _replayed(entry: ExportedResult, policy: AlertPolicy) -> tuple[PolicyChange | None, PolicyDecision]:
    """What the policy makes of the result; of one that did not keep its request the study's description is known."""
    from alerts import RequestContext, change_of, evaluate

    result = entry.result
    request = result.request or RequestContext(study_description=entry.study_description)
    decision = evaluate(result.findings, request, policy)
    return change_of(result.alert, decision.alert), decision


def _document(result: StoredResult, change: PolicyChange, decision: PolicyDecision) -> dict[str, object]:
    return {
        "series": result.series_instance_uid,
        "study": result.study_instance_uid,
        "result_id": result.id,
        "change": change,
        "burden_percent": result.findings.burden_percent,
        "lesion_volume_ml": result.findings.both_lungs.lesion_volume_ml,
        "profile": result.findings.profile,
        "recorded": result.created_at,
        "clauses": decision.clauses,
    }


def _print_thresholds(policy: AlertPolicy, title: str) -> None:
    print_table(
        ("profile", "age", "burden %", "opacity mL"),
        [
            (str(one["profile"]), str(one["age"]), f"{one['burden_percent']:g}", f"{one['lesion_volume_ml']:g}")
            for one in _lines(policy)
        ],
        numeric=("burden %", "opacity mL"),
        title=title,
    )


def _lines(policy: AlertPolicy) -> list[dict[str, object]]:
    lines: list[dict[str, object]] = []
    for profile, thresholds in policy.thresholds.items():
        bands = [(str(band), band.thresholds) for band in policy.ages.get(profile, ())]
        for age, limits in (*bands, ("other" if bands else "any", thresholds)):
            lines.append(
                {
                    "profile": profile.value,
                    "age": age,
                    "burden_percent": limits.burden_percent,
                    "lesion_volume_ml": limits.lesion_volume_ml,
                }
            )
    return lines


def _span(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours:g} h"
