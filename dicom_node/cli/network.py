"""``echo`` and ``send``: ask a DICOM peer whether it is there, and send it files."""

from pathlib import Path
from typing import Annotated

import typer

from dicom_node.cli.addresses import find_remote
from dicom_node.cli.files import files_below
from dicom_node.cli.invocation import Invocation
from dicom_node.cli.manual import ExitCode, epilog
from dicom_node.cli.options import Calling, Host, Json, Port
from dicom_node.cli.output import print_json, print_note, say
from dicom_node.cli.sending import echo_peer, route_of, say_sent, send_with_progress, sent_document, tell_not_stored


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
    """Ask a peer by C-ECHO whether it is there and takes associations from this node, by TLS where results go so."""
    invocation = Invocation.of(ctx)
    invocation.configure_logs()
    remote = find_remote(invocation, ae_title, host, port, calling_ae_title=calling)
    took_s = echo_peer(remote)
    if as_json:
        print_json({**route_of(remote), "seconds": took_s})
    else:
        by_tls = ", by TLS" if remote.tls else ""
        say(f"{remote} answers ({1000 * took_s:.0f} ms{by_tls})", style="green")


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
    new_uids: Annotated[
        bool,
        typer.Option("--new-uids", help="Send copies: missing UIDs derived, those that do not conform replaced."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Send DICOM files, or folders of them, to a peer by C-STORE, by TLS where results go so; they are not changed."""
    invocation = Invocation.of(ctx)
    invocation.configure_logs()
    remote = find_remote(invocation, to, host, port, calling_ae_title=calling)
    from dicom_node.cli.new_uids import missing_identifiers, with_new_uids

    files = files_below(paths)
    if new_uids:
        with with_new_uids(files) as copies:
            report = send_with_progress(copies, remote)
    else:
        report = send_with_progress(files, remote)
        if missing := missing_identifiers([one.path for one in report.not_stored]):
            print_note(missing)
    tell_not_stored(report)
    if as_json:
        print_json(sent_document(report, remote))
    else:
        say_sent(report, remote)
    if not report.ok:
        raise typer.Exit(ExitCode.FAILED)
