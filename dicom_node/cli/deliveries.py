"""``deliveries``: what is on its way to destinations, what arrived, and what went to the dead letters."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from dicom_node.cli.failures import CommandError, UsageError
from dicom_node.cli.invocation import Invocation
from dicom_node.cli.manual import ExitCode, epilog
from dicom_node.cli.options import Json, Limit, chosen, this_user
from dicom_node.cli.output import fields_of, print_fields, print_json, print_table, say, text
from dicom_node.cli.trail import recorded
from dicom_node.cli.uids import shortened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from db import Store, StoredDelivery

app = typer.Typer(no_args_is_help=True, help="What of the results is on its way, arrived, or could not be sent.")

_Id = Annotated[int, typer.Argument(metavar="DELIVERY", help="The delivery's number, as `deliveries list` shows it.")]
_Destination = Annotated[str | None, typer.Option(metavar="NAME", help="Only for this destination.")]


@app.command("list", epilog=epilog("lungsentry deliveries list --state failed", "lungsentry deliveries list --json"))
def list_(
    ctx: typer.Context,
    *,
    state: Annotated[
        list[str] | None,
        typer.Option(help="Only this state: pending, sending, sent, failed, cancelled. Repeatable."),
    ] = None,
    destination: _Destination = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """List deliveries, the newest first; `failed` are the dead letters."""
    from alerts import DeliveryState

    states = chosen(DeliveryState, state)
    with Invocation.of(ctx).store() as store:
        deliveries = store.deliveries.list(states, destination=destination, limit=limit)
    if as_json:
        print_json({"deliveries": deliveries})
    else:
        _print(deliveries)


@app.command(epilog=epilog("lungsentry deliveries show 17"))
def show(ctx: typer.Context, delivery_id: _Id, *, as_json: Json = False) -> None:
    """Show one delivery: what it carries, its attempts and what came of each and, where it failed, the cause."""
    with Invocation.of(ctx).store() as store:
        delivery = _get(store, delivery_id)
        history = store.deliveries.history(delivery_id)
    if as_json:
        attempts = [{"at": one.at, "event": one.event, "state": one.to_state, "detail": one.detail} for one in history]
        print_json({**asdict(delivery), "attempts": attempts})
        return
    fields = fields_of(delivery)
    if delivery.artefact is not None:
        fields["artefact"] = f"{delivery.artefact.kind}, {delivery.artefact.path}"
    else:
        fields["artefact"] = f"a message about alert {delivery.alert_id}"
    print_fields(fields, title=f"delivery {delivery.id}")
    print_table(
        ("when", "what", "state", "detail"),
        [(text(one.at), one.event, text(one.to_state), text(one.detail)) for one in history],
        empty="nothing has happened to it within what is kept",
    )


@app.command(
    epilog=epilog(
        "lungsentry deliveries retry 17",
        "lungsentry deliveries retry --destination PACS",
        codes={ExitCode.FAILED: "it waits or is under way, its result was replaced, or there is none"},
    )
)
def retry(
    ctx: typer.Context,
    delivery_ids: Annotated[
        list[int] | None, typer.Argument(metavar="DELIVERY...", help="Their numbers, as `deliveries list` shows them.")
    ] = None,
    *,
    destination: Annotated[
        str | None, typer.Option(metavar="NAME", help="The newest dead letters for this destination, up to --limit.")
    ] = None,
    limit: Limit = 50,
) -> None:
    """Send dead letters once more, or what was sent already, with as many attempts as at first."""
    from alerts import DeliveryState

    if bool(delivery_ids) == bool(destination):
        raise UsageError("give the numbers of deliveries, or --destination")
    with Invocation.of(ctx).store() as store:
        if destination:
            dead = store.deliveries.list([DeliveryState.FAILED], destination=destination, limit=limit)
            delivery_ids = [one.id for one in dead]
        for delivery_id in delivery_ids or ():
            with recorded(store, "delivery retried", f"delivery {delivery_id}"):
                store.deliveries.retry(delivery_id, this_user())
            say(f"delivery {delivery_id} is due")
    if not delivery_ids:
        say(f"no dead letter for {destination}")


@app.command(
    epilog=epilog(
        "lungsentry deliveries cancel 17", codes={ExitCode.FAILED: "it is under way or over, or there is none"}
    )
)
def cancel(ctx: typer.Context, delivery_id: _Id) -> None:
    """Withdraw a delivery that waits, or set a dead letter aside."""
    with Invocation.of(ctx).store() as store, recorded(store, "delivery cancelled", f"delivery {delivery_id}"):
        store.deliveries.cancel(delivery_id, this_user())
    say(f"delivery {delivery_id} is cancelled")


def _get(store: Store, delivery_id: int) -> StoredDelivery:
    delivery = store.deliveries.get(delivery_id)
    if delivery is None:
        raise CommandError(f"there is no delivery {delivery_id}; `lungsentry deliveries list` shows what there is")
    return delivery


def _print(deliveries: Sequence[StoredDelivery]) -> None:
    names = shortened([one.series_instance_uid for one in deliveries])
    print_table(
        ("delivery", "state", "what", "destination", "series", "attempt", "created", "sent", "cause"),
        [
            (
                str(one.id),
                text(one.state),
                one.what if one.occasion is None else f"{one.what}, {one.occasion}",
                one.destination,
                names[one.series_instance_uid],
                f"{one.attempt}/{one.max_attempts}",
                text(one.created_at),
                text(one.sent_at),
                text(one.cause),
            )
            for one in deliveries
        ],
        numeric=("delivery",),
        empty="no delivery",
    )
