"""``simulate``: a scanner that sends a phantom chest of known burden, or a folder under new UIDs."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dicom_node.cli.addresses import find_remote
from dicom_node.cli.failures import CommandError, UsageError
from dicom_node.cli.files import files_below
from dicom_node.cli.invocation import Invocation
from dicom_node.cli.manual import ExitCode, epilog
from dicom_node.cli.options import Calling, Host, Json, Port  # noqa: TC001 - Typer reads annotations at run time
from dicom_node.cli.output import print_json, print_table
from dicom_node.cli.phantoms import CALLING_AE_TITLE, Kind, Truth, write_phantom
from dicom_node.cli.sending import say_sent, send_with_progress, sent_document, tell_not_stored

if TYPE_CHECKING:
    from collections.abc import Sequence

_VolumeMl = typer.Option(min=0, metavar="ML", help="Volume of this opacity, other than the kind's own.")


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    codes = {
        ExitCode.FAILED: "the node refused the association or an image",
        ExitCode.UNREACHABLE: "the node does not answer",
    }
    app.command(
        epilog=epilog(
            "lungsentry simulate opacities --ggo-ml 200", "lungsentry simulate --replay ./ct-series", codes=codes
        )
    )(simulate)


def simulate(
    ctx: typer.Context,
    kind: Annotated[Kind | None, typer.Argument(help="What to scan.")] = None,
    *,
    replay: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Send the DICOM files of this folder instead, under new UIDs.")
    ] = None,
    ggo_ml: Annotated[float | None, _VolumeMl] = None,
    high_opacity_ml: Annotated[float | None, _VolumeMl] = None,
    seed: Annotated[int | None, typer.Option(help="Another seed is another patient.")] = None,
    matrix: Annotated[int | None, typer.Option(help="Rows and columns: 128, 256 or 512.")] = None,
    keep: Annotated[Path | None, typer.Option(metavar="DIR", help="Keep the files in this folder.")] = None,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="AE_TITLE", help="Whom to send to; without it, this node."),
    ] = None,
    host: Host = None,
    port: Port = None,
    calling: Calling = CALLING_AE_TITLE,
    as_json: Json = False,
) -> None:
    """Be a scanner: build a phantom chest CT or CTAC of known burden, send it, and say what truth was sent."""
    if (kind is None) == (replay is None):
        raise UsageError(f"say what to scan ({', '.join(one.value for one in Kind)}) or which folder to --replay")
    asked = {"ggo_ml": ggo_ml, "high_opacity_ml": high_opacity_ml, "seed": seed, "matrix": matrix}
    changes = {name: value for name, value in asked.items() if value is not None}
    if replay is not None and changes:
        raise UsageError("a folder is replayed as it is: volumes, seed and matrix are for phantoms")
    invocation = Invocation.of(ctx)
    invocation.configure_logs()
    remote = find_remote(invocation, to, host, port, calling_ae_title=calling or CALLING_AE_TITLE)
    with tempfile.TemporaryDirectory(prefix="lungsentry-simulate-") as temporary:
        folder = keep or Path(temporary)
        truth: Truth | None = None
        if kind is not None:
            written = write_phantom(kind, folder, changes)
            paths, truth = written.paths, written.truth
            series = {written.series_instance_uid}
        else:
            paths = _replayed(replay, folder)
            series = _series_uids(paths)
        report = send_with_progress(paths, remote)
    tell_not_stored(report)
    if as_json:
        print_json({**sent_document(report, remote), "series_instance_uids": sorted(series), "truth": truth})
    else:
        say_sent(report, remote)
        _print(sorted(series), kind, truth)
    if not report.ok:
        raise typer.Exit(ExitCode.FAILED)


def _replayed(source: Path | None, folder: Path) -> Sequence[Path]:
    from dicom_node.simulator import replay

    if source is None or not source.exists():
        raise UsageError(f"there is no folder {source}")
    return replay(files_below([source]), folder)


def _series_uids(paths: Sequence[Path]) -> set[str]:
    from analysis.series import read_series

    reading = read_series(paths)
    if not reading.series:
        raise CommandError("nothing that was replayed is a DICOM image")
    return {one.series_instance_uid for one in reading.series}


def _print(series: Sequence[str], kind: Kind | None, truth: Truth | None) -> None:
    print_table(
        ("series", "scanned", "burden %", "lung mL", "GGO mL", "high opacity mL"),
        [(uid, kind.value if kind else "replay", *(truth.cells() if truth else ("-",) * 4)) for uid in series],
        numeric=("burden %", "lung mL", "GGO mL", "high opacity mL"),
        title="truth of what was sent",
    )
