"""The root command: global options, the nouns below it, and the one place where expected errors become exit codes."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from dicom_node.cli import (
    alerts,
    analyze,
    commitments,
    config,
    conformance,
    database,
    deliveries,
    demo,
    destinations,
    doctor,
    evaluate,
    export,
    fetch,
    importing,
    jobs,
    model,
    network,
    peers,
    policy,
    requeue,
    roles,
    series,
    simulate,
    status,
    studies,
    train,
    users,
    verify,
)
from dicom_node.cli.failures import reported
from dicom_node.cli.invocation import Invocation
from dicom_node.cli.manual import ALL_EXIT_CODES, RESEARCH_USE, epilog

UMASK = 0o027
"""Files are the node's user's to write, his group's to read, and nobody else's; a tighter one stays."""


class _ReportingGroup(TyperGroup):
    """The root group: an expected error anywhere below is one red line on standard error and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command below; see ``reported`` for what becomes of errors."""
        with reported():
            return super().invoke(ctx)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"lungsentry {version('lungsentry')}")
        raise typer.Exit


app = typer.Typer(
    name="lungsentry",
    cls=_ReportingGroup,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=f"A DICOM node that measures pneumonia burden on chest CT and flags incidental opacities.\n\n{RESEARCH_USE}",
    epilog=epilog(
        "lungsentry peers allow SCANNER1 --address 10.1.2.0/24",
        "lungsentry serve",
        "lungsentry analyze ./ct-series --json",
        codes=ALL_EXIT_CODES,
    ),
)


@app.callback()
def _global_options(  # pyright: ignore[reportUnusedFunction] - Typer calls it
    ctx: typer.Context,
    config_file: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="Settings file. Without it: $LUNGSENTRY_CONFIG, /etc/lungsentry/lungsentry.toml, ./lungsentry.toml.",
        ),
    ] = None,
    verbose: Annotated[
        int, typer.Option("--verbose", "-v", count=True, help="Log to standard error what the command does; -vv: more.")
    ] = 0,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    ctx.obj = Invocation(config_file=config_file, verbosity=verbose)


roles.register(app)
status.register(app)
app.add_typer(studies.app, name="studies")
app.add_typer(series.app, name="series")
series.register(app)
requeue.register(app)
app.add_typer(jobs.app, name="jobs")
app.add_typer(alerts.app, name="alerts")
app.add_typer(policy.app, name="policy")
app.add_typer(peers.app, name="peers")
network.register(app)
fetch.register(app)
importing.register(app)
simulate.register(app)
analyze.register(app)
evaluate.register(app)
train.register(app)
app.add_typer(commitments.app, name="commitments")
app.add_typer(deliveries.app, name="deliveries")
app.add_typer(destinations.app, name="destinations")
app.add_typer(model.app, name="models")
app.add_typer(model.app, name="model", hidden=True)  # its name up to version 0.1
app.add_typer(users.app, name="users")
app.add_typer(users.audit, name="audit")
export.register(app)
app.add_typer(config.app, name="config")
app.add_typer(database.app, name="db")
doctor.register(app)
verify.register(app)
conformance.register(app)
demo.register(app)


def main() -> None:
    """Run ``lungsentry``; never returns. What it writes is no business of others on the machine."""
    os.umask(os.umask(0) | UMASK)
    app()
