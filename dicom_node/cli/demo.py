"""``demo``: the whole way, from a simulated scanner to flagged cases, on this machine and in a temporary folder."""

from __future__ import annotations

import selectors
import shutil
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dicom_node.cli.failures import CommandError, UsageError
from dicom_node.cli.invocation import Invocation, open_store
from dicom_node.cli.manual import RESEARCH_USE, ExitCode, epilog
from dicom_node.cli.output import number, print_note, print_table, say, text
from dicom_node.cli.phantoms import CALLING_AE_TITLE, Kind, Truth, write_phantom

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from alerts import Artefact
    from db import SeriesRecord, Store
    from dicom_node.cli.demo_node import DemoNode

_OUT = Path("demo-output")
_TIMEOUT_S = 900.0
_OPEN_S = 1800.0
_DEMO_USER = "demo"
_EARLIER = {"ggo_ml": 120.0, "high_opacity_ml": 15.0}
_COLUMNS = ("case", "state", "flagged", "burden %", "lung mL", "GGO mL", "high opacity mL", "report or reason")
_NUMERIC = ("burden %", "lung mL", "GGO mL", "high opacity mL")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """One series to send: what it is, its files, and the truth where it is known."""

    name: str
    series_instance_uid: str
    paths: tuple[Path, ...]
    truth: Truth | None = None


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    codes = {ExitCode.OK: "every series was analysed or excluded", ExitCode.FAILED: "one was not, or the node failed"}
    app.command(epilog=epilog("lungsentry demo", "lungsentry demo --series ./ct --out ./shown", codes=codes))(demo)


def demo(
    ctx: typer.Context,
    *,
    series: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Send the DICOM files of this folder, not phantoms.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where reports and pictures go.")] = _OUT,
    timeout: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="How long to wait for results.")
    ] = _TIMEOUT_S,
    web: Annotated[
        bool, typer.Option("--web/--no-web", help="Keep the worklist open at the end, until Enter on a terminal.")
    ] = True,
    open_for: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="How long the worklist stays open at most.")
    ] = _OPEN_S,
) -> None:
    """Start a node, send it chests as a scanner would, show what it flags beside the truth, and stop it.

    At the end the worklist is open in the browser: the link that is printed signs in, once. Where a Chromium is
    installed, pictures of the list and of a case are kept beside the reports.
    """
    if series is not None and not series.is_dir():
        raise UsageError(f"there is no folder {series}")
    settings = Invocation.of(ctx).settings()
    from dicom_node.cli.demo_node import demo_settings, running_node, wait_for_series
    from dicom_node.cli.sending import send_with_progress, tell_not_stored
    from dicom_node.peers.remote import Remote

    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="lungsentry-demo-") as name:
        folder = Path(name)
        say("building the series to send ..." if series is None else f"reading {series} ...")
        cases = _phantoms(folder / "sent") if series is None else _folder(series)
        with (
            _log_kept(folder, out),
            running_node(demo_settings(settings, folder, web=web), folder, CALLING_AE_TITLE) as node,
        ):
            called = node.settings.node.ae_title
            remote = Remote(ae_title=called, host="127.0.0.1", port=node.port, calling_ae_title=CALLING_AE_TITLE)
            say(f"the node runs: {remote}")
            for case in cases:
                report = send_with_progress(case.paths, remote)
                tell_not_stored(report)
                say(f"sent {case.name}: {len(report.stored)} of {len(report.files)} images stored durably")
                if not report.ok:
                    raise CommandError(f"the node did not take all images of {case.name}")
            say("waiting for the results ...")
            found = wait_for_series(node, [case.series_instance_uid for case in cases], timeout)
            _show(cases, found, node, out)
            if web:
                _keep_open(node, open_for, out)
    say("the node has stopped", style="green")
    if any(record.state.value == "failed" for record in found.values()):
        raise typer.Exit(ExitCode.FAILED)


def _keep_open(node: DemoNode, seconds: float, out: Path) -> None:
    """Tell where the worklist is, and keep the node until Enter or the time is up; without a terminal only tell."""
    from db import UserRole
    from dicom_node.cli.users import new_link

    with open_store(node.settings) as store:
        store.users.add(_DEMO_USER, list(UserRole))
        _take_pictures(store, node, out)
        link = new_link(store, _DEMO_USER, node.worklist, asks_password=False)
    say(f"the worklist is open: {link}", style="bold")
    if not sys.stdin.isatty():
        return
    say(f"Enter ends it; otherwise it closes in {seconds / 60:.0f} minutes")
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin, selectors.EVENT_READ)
        selector.select(seconds)


def _take_pictures(store: Store, node: DemoNode, out: Path) -> None:
    """Pictures of the list and of a case, one that has an earlier examination before others, where a Chromium is."""
    from db import WorklistSort
    from dicom_node.cli.screenshots import chromium, take
    from dicom_node.cli.users import new_link

    program = chromium()
    cases = store.worklist.page(sort=WorklistSort.BURDEN).entries
    if program is None or not cases:
        return
    around = store.surroundings.of(cases)
    shown = next((one.alert.id for one in cases if around[one.alert.id].then), cases[0].alert.id)
    link = new_link(store, _DEMO_USER, node.worklist, asks_password=False)
    try:
        for picture in take(program, link, shown, out):
            say(f"picture: {picture}")
    except CommandError as error:
        print_note(str(error))


def _phantoms(folder: Path) -> list[_Case]:
    """A chest without opacities, one with, the same chest with less of it at an earlier date, and a CTAC."""
    cases: list[_Case] = []
    for name, kind, changes, header in (
        ("normal", Kind.NORMAL, {"seed": 2}, {}),
        ("opacities-earlier", Kind.OPACITIES, _EARLIER, {"study_date": "20260213"}),
        ("opacities", Kind.OPACITIES, {}, {}),
        ("ctac-opacities", Kind.CTAC_OPACITIES, {"seed": 3}, {}),
    ):
        written = write_phantom(kind, folder / name, changes, **header)
        cases.append(
            _Case(
                name=name,
                series_instance_uid=written.series_instance_uid,
                paths=written.paths,
                truth=written.truth,
            )
        )
    return cases


def _folder(folder: Path) -> list[_Case]:
    from analysis.series import read_series

    reading = read_series([folder])
    if not reading.series:
        raise CommandError(f"no DICOM series was found in {folder}")
    return [
        _Case(
            name=folder.name if len(reading.series) == 1 else f"{folder.name} {position}",
            series_instance_uid=one.series_instance_uid,
            paths=tuple(dict.fromkeys(header.path for header in one.headers)),
        )
        for position, one in enumerate(reading.series, start=1)
    ]


def _show(cases: Sequence[_Case], found: Mapping[str, SeriesRecord], node: DemoNode, out: Path) -> None:
    rows: list[tuple[str, ...]] = []
    written: list[Path] = []
    with open_store(node.settings) as store:
        alerts = store.alerts.list(states=None)
        flagged = {
            series.series_instance_uid for one in alerts for series in store.alerts.flagged(one.study_instance_uid)
        }
        for case in cases:
            record = found[case.series_instance_uid]
            result = store.results.latest(case.series_instance_uid)
            if result is None:
                rows.append((case.name, text(record.state), "no", "-", "-", "-", "-", text(record.reason)))
            else:
                report, *pictures = _kept(case, node, out, (result.report, *result.pictures))
                written += pictures
                lungs = result.findings.both_lungs
                rows.append(
                    (
                        case.name,
                        text(record.state),
                        "YES" if case.series_instance_uid in flagged else "no",
                        number(lungs.burden_percent, 2),
                        number(lungs.lung_volume_ml, 0),
                        number(lungs.ggo_volume_ml),
                        number(lungs.high_opacity_volume_ml),
                        str(report),
                    )
                )
            if case.truth is not None:
                rows.append(("  truth", "", "", *case.truth.cells(), ""))
    print_table(_COLUMNS, rows, numeric=_NUMERIC, caption=RESEARCH_USE, title="what the node found")
    for one in alerts:
        say(one.alert.headline, style="bold")
    for picture in written:
        say(f"picture: {picture}")


def _kept(case: _Case, node: DemoNode, out: Path, artefacts: Sequence[Artefact]) -> list[Path]:
    """Copy files of a result out of the temporary folder, under the case's name."""
    kept: list[Path] = []
    for artefact in artefacts:
        target = out / f"{case.name.replace(' ', '-')}-{artefact.name}"
        shutil.copyfile(node.settings.results_dir / artefact.path, target)
        kept.append(target)
    return kept


@contextmanager
def _log_kept(folder: Path, out: Path) -> Generator[None, None, None]:
    """Keep the node's log where the demo fails: the temporary folder goes."""
    try:
        yield
    except CommandError:
        log = folder / "node.log"
        if log.exists():
            shutil.copyfile(log, out / log.name)
            print_note(f"the node's log is in {out / log.name}")
        raise
