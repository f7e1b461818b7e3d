"""``commitments``: who asked whether its instances are safe, and whether it got the answer."""

from __future__ import annotations

from typing import Annotated

import typer

from dicom_node.cli.invocation import Invocation
from dicom_node.cli.manual import epilog
from dicom_node.cli.options import Json, Limit, chosen
from dicom_node.cli.output import plain, print_json, print_table, text

app = typer.Typer(no_args_is_help=True, help="Storage commitment: what peers asked, and the answers.")


@app.command("list", epilog=epilog("lungsentry commitments list --state failed"))
def list_(
    ctx: typer.Context,
    *,
    state: Annotated[
        list[str] | None, typer.Option(metavar="STATE", help="Only pending, answering, answered or failed.")
    ] = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """List requests for storage commitment, the newest first; a failed one names why its answer did not arrive."""
    from db import CommitmentState

    states = chosen(CommitmentState, state)
    with Invocation.of(ctx).store() as store:
        commitments = store.commitments.list(states, limit)
    if as_json:
        listed = [{**plain(one), "references": len(one.references)} for one in commitments]
        print_json({"commitments": listed})
        return
    print_table(
        ("asked", "peer", "instances", "state", "safe", "not safe", "attempts", "why"),
        [
            (
                text(one.requested_at),
                one.calling_ae_title,
                str(len(one.references)),
                one.state,
                text(one.committed_count),
                text(one.failed_count),
                f"{one.attempt} of {one.max_attempts}",
                text(one.cause),
            )
            for one in commitments
        ],
        numeric=("instances", "safe", "not safe"),
        empty="nobody asked for storage commitment",
    )
