"""C-ECHO and C-STORE for a person: progress on a terminal, and every file that was not stored told."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from dicom_node.cli.failures import CommandError
from dicom_node.cli.output import console, print_note, say

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dicom_node.peers.remote import Remote
    from dicom_node.peers.sending import Progress, Report

_MOST_NOTES = 5


def echo_peer(remote: Remote) -> float:
    """Ask by C-ECHO; return how long association and answer took, in seconds.

    Raises:
        PeerError: it does not answer, or rejects the association.
        CommandError: it answers with a failure.
    """
    from dicom_node.peers.scu import echo

    answer = echo(remote)
    if not answer.ok:
        raise CommandError(f"{remote} answers C-ECHO with status 0x{answer.status:04X}")
    return answer.association_s + answer.echo_s


def send_with_progress(paths: Sequence[Path], remote: Remote) -> Report:
    """Send the files by C-STORE, with a progress bar where standard error is a terminal.

    Raises:
        PeerError: no association came about, or there is no DICOM file.
    """
    from rich.progress import Progress as Bar

    from dicom_node.peers.sending import send

    with Bar(console=console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task(f"sending to {remote.ae_title}", total=len(paths))

        def show(progress: Progress) -> None:
            bar.update(task, completed=progress.done)

        return send(remote, paths, on_progress=show)


def tell_not_stored(report: Report) -> None:
    """Name the files that were not stored, and why, on standard error."""
    for one in report.not_stored[:_MOST_NOTES]:
        print_note(f"{one.path}: {one.outcome.value}: {one.reason}")
    if len(report.not_stored) > _MOST_NOTES:
        print_note(f"... and {len(report.not_stored) - _MOST_NOTES} more that were not stored")


def say_sent(report: Report, remote: Remote) -> None:
    """One line: how many were stored, where, how fast."""
    stored = f"{len(report.stored)} of {len(report.files)} files stored by {remote}"
    say(f"{stored}: {report.bytes_sent / 1e6:.1f} MB in {report.seconds:.1f} s")


def sent_document(report: Report, remote: Remote) -> dict[str, object]:
    """What was sent, for JSON."""
    return {
        **route_of(remote),
        "stored": len(report.stored),
        "bytes_sent": report.bytes_sent,
        "seconds": report.seconds,
        "not_stored": [
            {"path": one.path, "outcome": one.outcome, "status": one.status, "reason": one.reason}
            for one in report.not_stored
        ],
    }


def route_of(remote: Remote) -> dict[str, object]:
    """Who was called, and how, for JSON."""
    return {"ae_title": remote.ae_title, "host": remote.host, "port": remote.port, "tls": remote.tls is not None}
