"""``status``: how the node stands, in a screen."""

import typer

from dicom_node.cli.invocation import Invocation
from dicom_node.cli.manual import epilog
from dicom_node.cli.options import Json
from dicom_node.cli.output import fields_of, print_fields, print_json


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(epilog=epilog("lungsentry status", "lungsentry status --json"))(status)


def status(ctx: typer.Context, *, as_json: Json = False) -> None:
    """Show how many series, jobs, alerts and deliveries stand where, what waits longest, and the dead letters."""
    with Invocation.of(ctx).store() as store:
        standing = store.status()
    if as_json:
        print_json(standing)
        return
    fields: dict[str, object] = {}
    for name, value in fields_of(standing).items():
        fields[name] = _counts(value) if isinstance(value, dict) else value
    print_fields(fields)


def _counts(by_state: dict[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in by_state.items() if count) or "none"
