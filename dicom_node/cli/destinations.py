"""``destinations``: where results go, whether it answers, and pausing it while it is being worked on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dicom_node.cli.failures import CommandError
from dicom_node.cli.invocation import Invocation
from dicom_node.cli.manual import ExitCode, epilog
from dicom_node.cli.options import Json, this_user
from dicom_node.cli.output import print_json, print_table, say, text
from dicom_node.cli.trail import record, recorded

if TYPE_CHECKING:
    from dicom_node.delivery.standing import Standing
    from dicom_node.settings import Destination

app = typer.Typer(no_args_is_help=True, help="Where results go: the destinations of the settings, and how they stand.")

_Name = Annotated[str, typer.Argument(metavar="NAME", help="The destination's name, as `destinations list` shows it.")]
_NO_SUCH = {ExitCode.FAILED: "the settings name no such destination"}


@app.command("list", epilog=epilog("lungsentry destinations list --json"))
def list_(ctx: typer.Context, *, as_json: Json = False) -> None:
    """List the destinations: how each is reached, what it gets, what waits for it and what it could not be given."""
    from dicom_node.delivery.standing import standings
    from dicom_node.settings import shown

    invocation = Invocation.of(ctx)
    settings = invocation.settings()
    with invocation.store() as store:
        found = standings(store, settings.destinations)
    if as_json:
        print_json(
            {
                "destinations": [
                    {
                        **told,
                        "waiting": one.waiting,
                        "dead_letters": one.dead_letters,
                        "paused": one.paused,
                        "held": one.held,
                        "refuses": one.refuses,
                    }
                    for one, told in zip(found, shown(settings)["destinations"], strict=True)
                ]
            }
        )
        return
    print_table(
        ("destination", "channel", "where", "gets", "waiting", "dead letters", "held", "refuses"),
        [_row(one) for one in found],
        numeric=("waiting", "dead letters"),
        empty="no destination: add [[destinations]] to the settings",
    )


def _row(standing: Standing) -> tuple[str, ...]:
    one, paused = standing.destination, standing.paused
    return (
        one.name,
        one.channel,
        one.where,
        one.gets,
        str(standing.waiting),
        str(standing.dead_letters),
        f"paused since {text(paused.paused_at)} by {paused.paused_by}" if paused else standing.held or "-",
        ", ".join(one.name for one in standing.refuses) or "-",
    )


@app.command(
    "test",
    epilog=epilog("lungsentry destinations test PACS", codes={ExitCode.FAILED: "it does not answer, or refuses"}),
)
def check(ctx: typer.Context, name: _Name, *, as_json: Json = False) -> None:
    """Ask a destination whether it would answer, by the way that deliveries go; what it refused is offered again."""
    from dicom_node.composition import delivery_channels
    from dicom_node.delivery.errors import DeliveryError

    invocation = Invocation.of(ctx)
    settings = invocation.settings()
    _get(invocation, name)
    with invocation.store() as store:
        try:
            record(store, "destination tested", name)
            answer = delivery_channels(settings, store)[name].check()
            store.destinations.forget_refused(name)
        except DeliveryError as error:
            raise CommandError(f"{name}: {error}") from error
    if as_json:
        print_json({"name": name, "ok": True, "answer": answer})
    else:
        say(f"{name}: {answer}")


@app.command(epilog=epilog('lungsentry destinations pause PACS --reason "update until noon"', codes=_NO_SUCH))
def pause(
    ctx: typer.Context,
    name: _Name,
    *,
    reason: Annotated[str | None, typer.Option(help="Why, for whoever looks at the list. No patient's name.")] = None,
) -> None:
    """Send nothing more to a destination until it is resumed; what comes for it waits, and loses no attempt."""
    invocation = Invocation.of(ctx)
    _get(invocation, name)
    with invocation.store() as store, recorded(store, "destination paused", name, reason or ""):
        begun = store.destinations.pause(name, this_user(), reason)
    say(f"{name} is paused; `lungsentry destinations resume {name}` goes on" if begun else f"{name} was paused already")


@app.command(epilog=epilog("lungsentry destinations resume PACS", codes=_NO_SUCH))
def resume(ctx: typer.Context, name: _Name) -> None:
    """Go on sending to a destination that was paused."""
    invocation = Invocation.of(ctx)
    _get(invocation, name)
    with invocation.store() as store, recorded(store, "destination resumed", name):
        ended = store.destinations.resume(name, this_user())
    say(f"what waits for {name} is sent" if ended else f"{name} was not paused")


def _get(invocation: Invocation, name: str) -> Destination:
    for destination in invocation.settings().destinations:
        if destination.name == name:
            return destination
    raise CommandError(f"there is no destination {name}; `lungsentry destinations list` shows what there is")
