"""Archives of existing files: taken once whatever happens, analysed after all else, and nobody is told."""

import json
import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import node_harness as harness
import pydicom
import pytest
from outbound_program import stand_in_analysis
from typer.testing import CliRunner

from db import IMPORTED, JobPriority, JobState, Store
from dicom_node.cli import app
from dicom_node.composition import node_sweeps, worker_with
from dicom_node.node import prepare
from dicom_node.settings import DicomDestination, MailDestination, Settings, document
from dicom_node.sweeps import Sweeps
from dicom_node.web.due import due_of


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A node with a PACS and a ward that hears of what is flagged."""
    made = harness.quick_settings(tmp_path / "node")
    ward = MailDestination(
        name="WARD", host="127.0.0.1", sender="n@example.org", to=("w@example.org",), after="flagged"
    )
    pacs = DicomDestination(name="PACS", ae_title="PACS", host="127.0.0.1", port=104)
    made = made.model_copy(update={"destinations": (pacs, ward)})
    prepare(made)
    (made.node.data_dir / "software").write_text("1.0.0")
    (tmp_path / "lungsentry.toml").write_text(document(made))
    return made


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Two series in folders, one image with a file meta information that leaves its UID out, a report, and a text."""
    folder = tmp_path / "archive"
    for number in range(2):
        harness.write_ct(folder / "2019" / str(number), StudyDate="20190304")
    report = pydicom.dcmread(next((folder / "2019" / "0").iterdir()))
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.22"
    report.save_as(folder / "2019" / "report")
    first = next((folder / "2019" / "1").iterdir())
    partly = pydicom.dcmread(first)
    del partly.file_meta.MediaStorageSOPInstanceUID
    partly.save_as(first, enforce_file_format=False)
    (folder / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    (folder / "notes.txt").write_text("of no use")
    return folder


def _run(tmp_path: Path, *words: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["--config", str(tmp_path / "lungsentry.toml"), *words])
    assert done.exit_code == code, (done.output, done.exception)
    return done.stdout


def _queue(settings: Settings, store: Store) -> None:
    """What a scheduler does until everything waits to be analysed."""
    sweeps = node_sweeps(settings, store, {})
    runner = Sweeps(sweeps, leads=lambda: True)

    def queued() -> bool:
        for sweep in sweeps:
            if sweep.name in {"completion", "screening"}:
                runner.tick(sweep)
                runner.wait()
        return not any(True for _ in store.intake.receiving_series()) and not store.intake.complete_series()

    harness.wait_until(queued, what="the queue")


def test_an_archive_is_taken_once_and_analysed_in_silence(settings: Settings, archive: Path, tmp_path: Path) -> None:
    """What is flagged stands in the worklist, sent to nobody, never overdue; a second import changes nothing."""
    told = _run(tmp_path, "import", str(archive), code=1)
    assert "20 images are in the archive; 1 other objects and 1 files" in told
    assert "notes.txt: it is no DICOM file" in told
    with Store.open(settings.database_url) as store:
        _queue(settings, store)
        worker = worker_with(settings, store, lambda series, _tell: stand_in_analysis(settings, series))
        for _ in range(2):
            harness.run_due_job(store, worker)
        assert {job.state for job in store.jobs.list()} == {JobState.SUCCEEDED}
        alerts = store.alerts.list()
        assert len(alerts) == 2
        assert store.deliveries.list() == ()
        entries = store.worklist.page().entries
        assert len(entries) == 2
        later = max(one.due_at for one in alerts) + timedelta(days=1)
        assert not any(due_of(one, later).waits for one in entries)
    before = _run(tmp_path, "export", "csv", str(tmp_path / "cohort.csv"))
    assert before.startswith("2 results")
    assert (tmp_path / "cohort.csv").read_text().count("20190304") == 2
    _run(tmp_path, "import", str(archive / "2019"))
    with Store.open(settings.database_url) as store:
        _queue(settings, store)
        assert [series.revision for series in store.series.list()] == [1, 1]
        assert len(store.jobs.list()) == 2


def test_an_archive_waits_for_the_living(settings: Settings, archive: Path, tmp_path: Path) -> None:
    """What a scanner sends after an import is analysed before it, and so is what was asked for again."""
    _run(tmp_path, "import", str(archive / "DICOMDIR"), code=1)
    with Store.open(settings.database_url) as store:
        _queue(settings, store)
        fresh = harness.queue(settings, store, harness.write_ct(tmp_path / "fresh"))
        claimed = store.jobs.claim("worker", 60)
        assert claimed is not None
        assert (claimed.series_instance_uid, claimed.priority) == (fresh, JobPriority.FRESH)
        later = store.jobs.claim("worker", 60)
        assert later is not None
        assert (later.site, later.priority) == (IMPORTED, JobPriority.ARCHIVE)


def test_an_import_that_was_killed_is_begun_anew(settings: Settings, tmp_path: Path) -> None:
    """Whatever had been taken, in the end each image is there once, in the archive and in the index."""
    folder = tmp_path / "archive"
    for number in range(20):
        harness.write_ct(folder / str(number))
    command = [sys.executable, "-m", "dicom_node.cli", "--config", str(tmp_path / "lungsentry.toml"), "import"]
    environment = {**os.environ, "PYTHONPATH": str(harness.REPOSITORY)}
    with subprocess.Popen([*command, str(folder)], env=environment, stdout=subprocess.DEVNULL) as process:
        harness.wait_until(lambda: len(list(settings.archive_dir.glob("??/*/*.dcm"))) >= 20, what="a part of it")
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert "200 images are in the archive" in _run(tmp_path, "import", str(folder))
    assert len(list(settings.archive_dir.glob("??/*/*.dcm"))) == 200
    with Store.open(settings.database_url) as store:
        assert sum(series.instance_count for series in store.series.list(limit=99)) == 200


def test_the_nodes_own_archive_is_not_imported(settings: Settings, tmp_path: Path) -> None:
    """It would take what it has; the words say what to do."""
    done = CliRunner().invoke(app, ["--config", str(tmp_path / "lungsentry.toml"), "import", str(settings.archive_dir)])
    assert done.exit_code == 2
    assert "name other folders" in done.stderr


def test_what_a_scanner_adds_to_an_import_is_told(settings: Settings, tmp_path: Path) -> None:
    """More of an imported series makes it a fresh examination: analysed first, sent, and people hear of it."""
    slices = harness.write_ct(tmp_path / "ct")
    before = tmp_path / "before"
    before.mkdir()
    for path in slices[:8]:
        path.rename(before / path.name)
    _run(tmp_path, "import", str(before))
    with Store.open(settings.database_url) as store:
        _queue(settings, store)
        series = harness.index(settings, store, slices[8:])
        _queue(settings, store)
        (job,) = store.jobs.list([JobState.QUEUED])
        assert (job.series_instance_uid, job.site, job.priority) == (series, "SCANNER", JobPriority.FRESH)
        worker = worker_with(settings, store, lambda series, _tell: stand_in_analysis(settings, series))
        harness.run_due_job(store, worker)
        assert {one.destination for one in store.deliveries.list()} == {"PACS", "WARD"}


def test_odd_entries_of_a_folder_stop_nothing(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipe, a link in a circle and a folder that cannot be read are told or left; the images beside are taken."""
    folder = tmp_path / "archive"
    harness.write_ct(folder)
    os.mkfifo(folder / "pipe")
    (folder / "circle").symlink_to(folder)
    (folder / "locked").mkdir()
    entries = os.scandir

    def scandir(path: Any) -> Any:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return entries(path)

    monkeypatch.setattr(os, "scandir", scandir)
    told = json.loads(_run(tmp_path, "import", str(folder), "--json", code=1))
    assert told["taken"] == 10
    assert {Path(one["path"]).name: one["reason"] for one in told["left"]} == {
        "pipe": "it is no regular file",
        "locked": "the folder cannot be read",
    }
    assert len(list(settings.archive_dir.glob("??/*/*.dcm"))) == 10
