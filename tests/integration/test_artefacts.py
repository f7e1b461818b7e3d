"""Files of results: written once under the hash of their content, and removed only when nothing refers to them."""

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import node_harness as harness
import pydicom
import pytest
from model_sets import models_with
from store_bench import opened
from threshold_segmenter import ThresholdSegmenter

from alerts import DICOM, Artefact, ArtefactKind, Draft
from analysis.pipeline import AnalysedSeries, ExcludedSeries, analyse
from analysis.series import Series
from db import JobState, SeriesState, Store
from dicom_node.composition import worker_with
from dicom_node.node import prepare
from dicom_node.settings import Settings
from dicom_node.simulator import PhantomSpec, build_phantom, write_series
from dicom_node.storage.artefacts import YOUNG_S, ArtefactFolder
from dicom_node.storage.unreferred import SHARDS, Unreferred
from dicom_node.sweep import Sweep
from dicom_node.sweeps import Sweeps


def _draft(content: bytes = b"content") -> Draft:
    return Draft(kind=ArtefactKind.SR, name="report.dcm", media_type=DICOM, content=content)


def test_file_is_named_by_its_content_and_written_once(tmp_path: Path) -> None:
    """Put twice it is the file that was there, touched; other content is another file."""
    folder = ArtefactFolder(tmp_path)
    first = folder.put(_draft())
    path = tmp_path / first.path
    assert path.stem == first.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    _age(path)
    inode = path.stat().st_ino
    assert folder.put(_draft()) == first
    assert path.stat().st_ino == inode
    assert time.time() - path.stat().st_mtime < YOUNG_S / 2
    assert folder.put(_draft(b"other")).path != first.path
    assert not list(tmp_path.rglob(".*"))


def _age(path: Path) -> None:
    os.utime(path, (time.time() - 2 * YOUNG_S,) * 2)


@pytest.fixture
def referred(tmp_path: Path) -> Iterator[tuple[Store, ArtefactFolder, Path]]:
    """A store with one result, whose report lies in the folder of results, old."""
    results = tmp_path / "results"
    folder = ArtefactFolder(results)
    with opened("sqlite", tmp_path) as bench:
        report = folder.put(_draft())
        bench.record(bench.running(), artefacts=(report,))
        _age(results / report.path)
        yield bench.store, folder, results


def _sweep_all(store: Store, folder: ArtefactFolder) -> None:
    sweep = Sweep(name="unreferred files", every_s=60, units=Unreferred(store=store, folder=folder).units)
    sweeps = Sweeps([sweep], leads=lambda: True)
    for _ in SHARDS:
        sweeps.tick(sweep)


def test_sweep_removes_what_no_row_refers_to(referred: tuple[Store, ArtefactFolder, Path]) -> None:
    """Of four files two go: those that are old and nobody's, one of them set aside by a removal that was cut off."""
    store, folder, results = referred
    kept = set(results.rglob("*.dcm"))
    young, old, aside = (results / folder.put(_draft(content)).path for content in (b"young", b"old", b"aside"))
    _age(old)
    _age(aside)
    aside.rename(aside.with_name(f".removing-{aside.name}"))
    _sweep_all(store, folder)
    assert set(results.rglob("*.dcm")) == {*kept, young}


def test_referred_file_that_was_set_aside_comes_back(referred: tuple[Store, ArtefactFolder, Path]) -> None:
    """A removal that was cut off costs no result its file."""
    store, folder, results = referred
    (path,) = results.rglob("*.dcm")
    path.rename(path.with_name(f".removing-{path.name}"))
    _sweep_all(store, folder)
    assert path.is_file()


def test_file_that_is_put_while_it_is_being_removed_stays(referred: tuple[Store, ArtefactFolder, Path]) -> None:
    """A worker that makes the same content again meanwhile finds it in its place afterwards."""
    _store, folder, results = referred
    old = results / folder.put(_draft(b"old")).path
    _age(old)

    def put_meanwhile(_paths: object) -> set[str]:
        folder.put(_draft(b"old"))
        return set()

    assert folder.remove_unreferred(old.parent.parent.name, put_meanwhile) == 0
    assert old.is_file()


def test_file_put_anew_beside_one_that_a_crash_left_set_aside_stays(
    referred: tuple[Store, ArtefactFolder, Path],
) -> None:
    """A run puts a file whose old copy a crash left half removed: what it put is young, and outlives the sweep."""
    store, folder, _ = referred
    artefact = folder.put(_draft(b"put again"))
    path = folder._folder / artefact.path
    _age(path)
    path.rename(path.with_name(f".removing-{path.name}"))
    folder.put(_draft(b"put again"))
    _sweep_all(store, folder)
    assert path.read_bytes() == b"put again"
    assert not list(path.parent.glob(".removing-*"))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A node whose workers do not notice for long that a job is not theirs any more."""
    return harness.quick_settings(tmp_path / "node", lease_s=6000)


def _content_of(settings: Settings, artefacts: tuple[Artefact, ...]) -> dict[str, str]:
    paths = {one.path for one in artefacts}
    return {path: hashlib.sha256((settings.results_dir / path).read_bytes()).hexdigest() for path in paths}


def test_late_run_of_a_job_that_was_taken_away_leaves_the_files_of_the_result_in_force(
    settings: Settings, tmp_path: Path
) -> None:
    """Two workers have the same job one after the other, and measure differently: the late one changes nothing."""
    prepare(settings)
    phantom = build_phantom(PhantomSpec.ctac_opacities(matrix=128))
    with Store.open(settings.database_url) as store:
        uid = harness.queue(settings, store, write_series(phantom, tmp_path / "ct"))
        analysed, may_record = threading.Event(), threading.Event()

        def slow(series: Series, progress: Callable[[str], None]) -> AnalysedSeries | ExcludedSeries:
            found = analyse(series, models=models_with(ThresholdSegmenter()), progress=progress)
            assert isinstance(found, AnalysedSeries)
            analysed.set()
            assert may_record.wait(60)
            return replace(found, findings=replace(found.findings, lesion_count=99))

        late = worker_with(settings=settings, store=store, analyse=slow, name="late")
        job = store.jobs.claim("late", 60)
        assert job is not None
        running = threading.Thread(target=late.run_job, args=(job, threading.Event()))
        running.start()
        assert analysed.wait(60)
        store.jobs.fail(job, "its time limit passed", transient=True)
        prompt = worker_with(
            settings=settings,
            store=store,
            analyse=lambda series, progress: analyse(
                series, models=models_with(ThresholdSegmenter()), progress=progress
            ),
        )
        assert harness.run_due_job(store, prompt).state is JobState.SUCCEEDED
        result = store.results.latest(uid)
        assert result is not None
        before = _content_of(settings, result.artefacts)

        may_record.set()
        running.join(60)

        assert not running.is_alive()
        assert store.results.latest(uid) == result
        assert store.series.get(uid).state is SeriesState.ANALYSED
        assert _content_of(settings, result.artefacts) == before
        assert before == {one.path: one.sha256 for one in result.artefacts}
        lying = {path.relative_to(settings.results_dir).as_posix() for path in settings.results_dir.rglob("*.dcm")}
        beside = [pydicom.dcmread(settings.results_dir / path) for path in lying - set(before)]
        # the refused report lies beside, until it is removed
        assert [one.Modality for one in beside].count("SR") == 1
