"""The scanner's side of an association: progress on a terminal, and every file that was not stored told."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from dicom_node.cli.failures import CommandError
from dicom_node.cli.output import console, print_note, say

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dicom_node.cli.addresses import Address
    from dicom_node.simulator import SendProgress, SendReport

_MOST_NOTES = 5
_TIMEOUT_S = 60.0


def echo_peer(address: Address, calling_ae_title: str) -> float:
    """Ask by C-ECHO; return how long association and answer took, in seconds.

    Raises:
        SimulatorError: it does not answer, or rejects the association.
        CommandError: it answers with a failure.
    """
    from dicom_node.simulator import echo

    answer = echo(
        host=address.host,
        port=address.port,
        calling_ae_title=calling_ae_title,
        called_ae_title=address.ae_title,
        timeout_s=_TIMEOUT_S,
    )
    if not answer.ok:
        raise CommandError(f"{address} answers C-ECHO with status 0x{answer.status:04X}")
    return answer.association_seconds + answer.echo_seconds


def send_with_progress(paths: Sequence[Path], address: Address, calling_ae_title: str) -> SendReport:
    """Send the files by C-STORE, with a progress bar where standard error is a terminal.

    Raises:
        SimulatorError: no association came about, or there is no DICOM file.
    """
    from rich.progress import Progress

    from dicom_node.simulator import send_files

    with Progress(console=console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task(f"sending to {address.ae_title}", total=len(paths))

        def show(progress: SendProgress) -> None:
            bar.update(task, completed=progress.done)

        return send_files(
            paths,
            host=address.host,
            port=address.port,
            calling_ae_title=calling_ae_title,
            called_ae_title=address.ae_title,
            on_progress=show,
            timeout_s=_TIMEOUT_S,
        )


def tell_not_stored(report: SendReport) -> None:
    """Name the files that were not stored, and why, on standard error."""
    for one in report.not_stored[:_MOST_NOTES]:
        status = "" if one.status is None else f" (0x{one.status:04X})"
        print_note(f"{one.path}: {one.outcome.value}{status}: {one.reason}")
    if len(report.not_stored) > _MOST_NOTES:
        print_note(f"... and {len(report.not_stored) - _MOST_NOTES} more that were not stored")


def say_sent(report: SendReport, address: Address) -> None:
    """One line: how many were stored, where, how fast."""
    stored = f"{len(report.stored)} of {len(report.files)} files stored by {address}"
    say(f"{stored}: {report.bytes_sent / 1e6:.1f} MB in {report.seconds:.1f} s")


def sent_document(report: SendReport, address: Address) -> dict[str, object]:
    """What was sent, for JSON."""
    return {
        "ae_title": address.ae_title,
        "host": address.host,
        "port": address.port,
        "stored": len(report.stored),
        "bytes_sent": report.bytes_sent,
        "seconds": report.seconds,
        "not_stored": [
            {"path": one.path, "outcome": one.outcome, "status": one.status, "reason": one.reason}
            for one in report.not_stored
        ],
    }
