"""``doctor``: is this machine fit to run the node, and what to do where it is not."""

from typing import Annotated

import typer

from dicom_node.cli.invocation import Invocation
from dicom_node.cli.manual import ExitCode, epilog
from dicom_node.cli.output import console, print_json, printable

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    codes = {ExitCode.OK: "no check failed", ExitCode.FAILED: "a check failed"}
    app.command(epilog=epilog("lungsentry doctor", codes=codes))(doctor)


def doctor(ctx: typer.Context, *, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Check Python, codecs, weights, disk, database, peers, port, TLS and clock; say what to do about each."""
    invocation = Invocation.of(ctx)
    settings = invocation.settings()
    from rich.text import Text

    from dicom_node.cli.checks import CHECKS, Level

    results = [result for check in CHECKS for result in check(settings)]
    failed = any(result.level is Level.FAIL for result in results)
    if as_json:
        print_json({"ok": not failed, "checks": results})
    else:
        out = console()
        for result in results:
            saw = printable(result.saw)
            line = Text.assemble(
                (f"{result.level.value:<5}", _COLOURS[result.level.value]),
                (f"{printable(result.name)}: ", "bold"),
                saw,
            )
            out.print(line, soft_wrap=True)
            if result.do:
                out.print(Text(f"      → {printable(result.do)}"), soft_wrap=True)
    if failed:
        raise typer.Exit(ExitCode.FAILED)
