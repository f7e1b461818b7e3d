"""No result in force and no alert ends before its successor is committed: receiver, ticks and worker."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import node_harness as harness
import pydicom
import pytest
from inbound_bench import DATABASES, InboundBench, inbound_bench, settings_of

from db import RequeueFilter, SeriesState
from dicom_node.simulator import Phantom, PhantomSpec, Variant, build_phantom, header_for, write_series, write_variant


@pytest.fixture(params=DATABASES)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[InboundBench]:
    """A bench on each database."""
    with inbound_bench(settings_of(request.param, tmp_path / "node")) as made:
        yield made


@pytest.fixture(scope="module")
def ctac() -> Phantom:
    return build_phantom(PhantomSpec.ctac_opacities(matrix=128))


@pytest.fixture
def kernels(ctac: Phantom, tmp_path: Path) -> dict[str, list[Path]]:
    """Two reconstructions of one acquisition; the soft one is the better."""
    paths = write_variant(Variant.TWO_RECONSTRUCTIONS, ctac, tmp_path / "ct")
    return {kind: [path for path in paths if path.parent.name == kind] for kind in ("soft", "sharp")}


@pytest.mark.parametrize("fate", ["failing", "lungless"])
def test_better_reconstruction_that_cannot_be_analysed_leaves_the_older_standing(
    bench: InboundBench, kernels: dict[str, list[Path]], fate: str
) -> None:
    """Its job dies, or finds no lung: result and alert of the other stand. Requeued and well, it takes the place."""
    soft, sharp = harness.series_uid(kernels["soft"]), harness.series_uid(kernels["sharp"])
    bench.send(kernels["sharp"])
    bench.settle(sharp, SeriesState.ANALYSED)
    assert bench.flagged() == [sharp]
    getattr(bench, fate).add(soft)
    bench.send(kernels["soft"])
    bench.settle(soft, SeriesState.FAILED if fate == "failing" else SeriesState.EXCLUDED)
    assert bench.store.results.latest(sharp) is not None
    assert (bench.of(sharp).state, bench.flagged()) == (SeriesState.ANALYSED, [sharp])

    getattr(bench, fate).clear()
    bench.store.requeue.apply(bench.store.requeue.select(RequeueFilter(series=soft)), "tester")
    assert bench.flagged() == [sharp]
    bench.settle(soft, SeriesState.ANALYSED)
    assert (bench.of(sharp).state, bench.flagged()) == (SeriesState.EXCLUDED, [soft])
    assert "other reconstruction chosen" in str(bench.of(sharp).reason)
    assert bench.store.results.latest(sharp) is None


def test_where_the_chosen_reconstruction_fails_the_next_best_is_analysed(
    bench: InboundBench, kernels: dict[str, list[Path]]
) -> None:
    """Both come together, the better one cannot be analysed: the other was left out for it, and takes its place."""
    soft, sharp = harness.series_uid(kernels["soft"]), harness.series_uid(kernels["sharp"])
    bench.failing.add(soft)
    bench.send([*kernels["soft"], *kernels["sharp"]])
    bench.settle(sharp, SeriesState.ANALYSED)
    assert bench.of(soft).state is SeriesState.FAILED
    assert bench.flagged() == [sharp]
    assert bench.ran == [soft, sharp]


def test_rerun_that_fails_leaves_what_it_was_to_replace(bench: InboundBench, ctac: Phantom, tmp_path: Path) -> None:
    """A requeue that dies, and a lost file: the series says what failed and that its result stands."""
    paths = write_series(ctac, tmp_path / "ct")
    uid = harness.series_uid(paths)
    bench.send(paths)
    bench.settle(uid, SeriesState.ANALYSED)
    (bench.settings.archive_dir / bench.store.intake.series_paths(uid)[5].path).unlink()
    bench.store.requeue.apply(bench.store.requeue.select(RequeueFilter(series=uid)), "tester")
    failed = bench.settle(uid, SeriesState.FAILED)
    assert "the result of revision 1 stands" in str(failed.reason)
    assert bench.flagged() == [uid]
    assert bench.store.results.latest(uid) is not None


def test_corrected_slice_after_retention_leaves_the_result_standing(
    bench: InboundBench, ctac: Phantom, tmp_path: Path
) -> None:
    """The files are gone, one comes anew: it says what it lacks, and counts what is there. All again: analysed."""
    paths = write_series(ctac, tmp_path / "ct")
    uid = harness.series_uid(paths)
    bench.send(paths)
    bench.settle(uid, SeriesState.ANALYSED)
    first = bench.store.results.latest(uid)
    _remove(bench, uid)
    assert bench.of(uid).instance_count == 0

    corrected = pydicom.dcmread(paths[7])
    corrected.ImageComments = "corrected"
    corrected.save_as(tmp_path / "corrected.dcm")
    bench.send([tmp_path / "corrected.dcm"])
    excluded = bench.settle(uid, SeriesState.EXCLUDED, revision=2)
    assert excluded.instance_count == 1
    assert f"{len(paths) - 1} removed by retention" in str(excluded.reason)
    assert "send the others again" in str(excluded.reason)
    assert "the result of revision 1 stands" in str(excluded.reason)
    assert bench.flagged() == [uid]
    assert bench.store.results.latest(uid) == first
    (refused,) = bench.store.requeue.select(RequeueFilter(series=uid))
    assert refused.refusal == "its instances were removed by retention"

    bench.send([path for path in paths if path != paths[7]])
    whole = bench.settle(uid, SeriesState.ANALYSED, revision=3)
    assert (whole.instance_count, whole.instances_removed_at) == (len(paths), None)
    latest = bench.store.results.latest(uid)
    assert latest is not None
    assert (latest.revision, latest.findings.slice_count) == (whole.revision, len(paths))
    assert bench.flagged() == [uid]


def test_whole_revision_that_is_no_lung_ends_the_result(bench: InboundBench, ctac: Phantom, tmp_path: Path) -> None:
    """Judged by a rule, with every instance on disk: nothing of the older revision is in force any more."""
    paths = write_series(ctac, tmp_path / "ct", header_for(ctac, salt="whole"))
    uid = harness.series_uid(paths)
    bench.send(paths)
    bench.settle(uid, SeriesState.ANALYSED)
    bench.lungless.add(uid)
    changed = pydicom.dcmread(paths[3])
    changed.ImageComments = "changed"
    changed.save_as(tmp_path / "changed.dcm")
    bench.send([tmp_path / "changed.dcm"])
    bench.settle(uid, SeriesState.EXCLUDED, revision=2)
    assert bench.store.results.latest(uid) is None
    assert bench.flagged() == []


def _remove(bench: InboundBench, uid: str) -> None:
    """As retention does when the time has come."""
    before = {SeriesState.ANALYSED: datetime.now(UTC) + timedelta(days=1)}
    with bench.store.retention.removal(uid, before) as stored:
        for one in stored:
            (bench.settings.archive_dir / one.path).unlink()
