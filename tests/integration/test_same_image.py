"""The same image in other bytes is the same image: through the receiver, the ticks and the worker."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import node_harness as harness
import pydicom
import pytest
from inbound_bench import DATABASES, InboundBench, inbound_bench, settings_of

from db import SeriesState
from dicom_node.simulator import Phantom, PhantomSpec, build_phantom, header_for, write_series

TOOLS = ("dcmcjpls", "dcmconv", "dcmcjpeg")
pytestmark = pytest.mark.skipif(
    "CI" not in os.environ and any(shutil.which(one) is None for one in TOOLS), reason="dcmtk is not installed"
)


@pytest.fixture(params=DATABASES)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[InboundBench]:
    """A bench on each database."""
    with inbound_bench(settings_of(request.param, tmp_path / "node")) as made:
        yield made


@pytest.fixture(scope="module")
def ctac() -> Phantom:
    return build_phantom(PhantomSpec.ctac_opacities(matrix=128))


def _re_encoded(paths: Sequence[Path], folder: Path, *command: str) -> list[Path]:
    """The files as dcmtk writes them anew."""
    folder.mkdir()
    for path in paths:
        subprocess.run([*command, path, folder / path.name], check=True, timeout=60)
    return [folder / path.name for path in paths]


def _analysed(bench: InboundBench, paths: Sequence[Path]) -> str:
    uid = harness.series_uid(paths)
    bench.send(paths)
    bench.settle(uid, SeriesState.ANALYSED)
    return uid


def _compared(bench: InboundBench, uid: str) -> None:
    bench.until(lambda: uid not in bench.store.versions.resent_series(), "what came again is compared")


ENCODINGS = {
    "JPEG-LS": ("dcmcjpls",),
    "JPEG": ("dcmcjpeg", "+e1", "+un"),
    "implicit": ("dcmconv", "+ti"),
    "lengths written anew": ("dcmconv", "+te", "-e", "+g"),
}


def test_another_encoding_is_no_revision_and_no_second_report(
    bench: InboundBench, ctac: Phantom, tmp_path: Path
) -> None:
    """Sent again compressed, implicit, with its lengths anew: kept as it came, nothing begins. Lossy: another image."""
    paths = write_series(ctac, tmp_path / "ct", header_for(ctac, salt="encodings"))
    uid = _analysed(bench, paths)
    first, (alert,) = bench.store.results.latest(uid), bench.store.alerts.list()
    for name, command in ENCODINGS.items():
        again = _re_encoded(paths[:4], tmp_path / name, *command)
        assert again[3].read_bytes() != paths[3].read_bytes()
        bench.send(again)
        _compared(bench, uid)
        sent = pydicom.dcmread(again[3])
        kept = next(one for one in bench.store.intake.series_paths(uid) if one.sop_instance_uid == sent.SOPInstanceUID)
        assert kept.transfer_syntax_uid == sent.file_meta.TransferSyntaxUID
        assert pydicom.dcmread(bench.settings.archive_dir / kept.path).PixelData == sent.PixelData
    series = bench.of(uid)
    assert (series.state, series.revision, series.instance_count) == (SeriesState.ANALYSED, 1, len(paths))
    assert bench.store.results.history(uid) == (first,)
    assert bench.store.alerts.list() == (alert,)
    assert bench.ran == [uid]
    told = [str(one.detail) for one in bench.store.series.events(uid) if one.event == "resent"]
    assert told
    assert all("show the same; no revision begins" in one for one in told)

    bench.send(_re_encoded(paths[:4], tmp_path / "lossy", "dcmcjpls", "+en", "+md", "2", "+un"))
    assert bench.settle(uid, SeriesState.ANALYSED, revision=2).revision == 2
    assert bench.ran == [uid, uid]
    assert bench.store.versions.resent_series() == ()


def test_what_ends_the_process_that_compares_it_is_another_image(bench: InboundBench, tmp_path: Path) -> None:
    """Begun three times and never ended: it is not begun again, and the series is judged by what is newest."""
    paths = harness.write_ct(tmp_path / "ct", slices=9)
    uid = harness.series_uid(paths)
    bench.send(paths)
    bench.settle(uid, SeriesState.EXCLUDED)
    bench.send(_re_encoded(paths[:3], tmp_path / "again", "dcmcjpls"))
    harness.wait_until(lambda: bench.store.versions.resent_series() == (uid,), what="indexed")
    for _ in range(3):
        assert all(one.before for one in bench.store.versions.begin(uid, 16))
    assert bench.settle(uid, SeriesState.EXCLUDED, revision=2).revision == 2
