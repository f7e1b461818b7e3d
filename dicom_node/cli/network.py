"""``echo`` and ``send``: ask a DICOM peer whether it is there, and send it files."""

from pathlib import Path
from typing import Annotated

import typer

from dicom_node.cli.addresses import find_address
from dicom_node.cli.files import files_below
from dicom_node.cli.invocation import Invocation
from dicom_node.cli.manual import ExitCode, epilog
from dicom_node.cli.options import Calling, Host, Json, Port
from dicom_node.cli.output import print_json, say
from dicom_node.cli.sending import echo_peer, say_sent, send_with_progress, sent_document, tell_not_stored


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    refused = {ExitCode.FAILED: "the peer refused", ExitCode.UNREACHABLE: "the peer does not answer"}
    app.command(
        epilog=epilog("lungsentry echo PACS", "lungsentry echo PACS --host 10.1.0.5 --port 104", codes=refused)
    )(echo)
    app.command(epilog=epilog("lungsentry send ./study --to PACS --host 10.1.0.5 --port 104", codes=refused))(send)


def echo(
    ctx: typer.Context,
    ae_title: Annotated[
        str | None, typer.Argument(metavar="AE_TITLE", help="Whom to ask; without it, this node's own receiver.")
    ] = None,
    *,
    host: Host = None,
    port: Port = None,
    calling: Calling = None,
    as_json: Json = False,
) -> None:
    """Ask a peer by C-ECHO whether it is there and takes associations from this node."""
    invocation = Invocation.of(ctx)
    invocation.configure_logs()
    address = find_address(invocation, ae_title, host, port)
    took_s = echo_peer(address, calling or invocation.settings().node.ae_title)
    if as_json:
        print_json({"ae_title": address.ae_title, "host": address.host, "port": address.port, "seconds": took_s})
    else:
        say(f"{address} answers ({1000 * took_s:.0f} ms)", style="green")


def send(
    ctx: typer.Context,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="DICOM files, or folders that hold them.")],
    *,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="AE_TITLE", help="Whom to send to; without it, this node."),
    ] = None,
    host: Host = None,
    port: Port = None,
    calling: Calling = None,
    as_json: Json = False,
) -> None:
    """Send DICOM files, or folders of them, to a peer by C-STORE; as they are, nothing is changed."""
    invocation = Invocation.of(ctx)
    invocation.configure_logs()
    address = find_address(invocation, to, host, port)
    report = send_with_progress(files_below(paths), address, calling or invocation.settings().node.ae_title)
    tell_not_stored(report)
    if as_json:
        print_json(sent_document(report, address))
    else:
        say_sent(report, address)
    if not report.ok:
        raise typer.Exit(ExitCode.FAILED)
