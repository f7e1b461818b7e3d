"""What tests of the running node share: small CT series, a client that sends them, a node to start and to kill."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pydicom
from held_reactor import held_reactor
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE

from db import Job, ReceivedInstance, SeriesState, Store
from dicom_node.completion.triage import Triage
from dicom_node.settings import Completion, Database, Logging, Node, Receiver, Settings, Worker
from dicom_node.work.worker import Worker as AnalysisWorker

FACTORIES = Path(__file__).resolve().parent
REPOSITORY = FACTORIES.parent.parent

_Answer = TypeVar("_Answer")

_ROWS = 64
_STEP_MM = 8.0


def quick_settings(folder: Path, *, url: str | None = None, port: int = 0, **worker: object) -> Settings:
    """Settings of a node in ``folder`` that decides and retries within moments."""
    return Settings(
        node=Node(data_dir=folder),
        database=Database(url=url),
        receiver=Receiver(host="127.0.0.1", port=port, accept_unknown_peers=True, disk_watermark_bytes=0),
        completion=Completion(quiet_s=0.2, incomplete_quiet_s=2, sweep_s=0.1),
        worker=Worker.model_validate({"lease_s": 2, "retry_base_s": 0.1, "poll_s": 0.1, "device": "cpu"} | worker),
        logging=Logging(format="json"),
    )


def write_ct(
    folder: Path,
    *,
    slices: int = 10,
    without: Sequence[int] = (),
    study: str | None = None,
    series: str | None = None,
    frame_of_reference: str | None = None,
    **attributes: object,
) -> list[Path]:
    """Write a small axial CT (water in air) that passes every rule on headers; slices in ``without`` are left out."""
    folder.mkdir(parents=True, exist_ok=True)
    study, series, frame = study or generate_uid(), series or generate_uid(), frame_of_reference or generate_uid()
    pixels = np.zeros((_ROWS, _ROWS), np.uint16)
    pixels[16:48, 8:56] = 1024
    paths: list[Path] = []
    for index in range(slices):
        if index in without:
            continue
        image = Dataset()
        image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, generate_uid(entropy_srcs=[series, str(index)])
        image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = study, series, frame
        image.Modality, image.ImageType, image.InstanceNumber = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"], index + 1
        image.PatientID, image.PatientName = "TEST", "Nobody^At^All"
        image.Rows = image.Columns = _ROWS
        image.PixelSpacing, image.SliceThickness = [6, 6], _STEP_MM
        image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        image.ImagePositionPatient = [-192, -192, _STEP_MM * index]
        image.RescaleSlope, image.RescaleIntercept, image.RescaleType = 1, -1024, "HU"
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 0
        for keyword, value in attributes.items():
            setattr(image, keyword, value)
        image.PixelData = pixels.tobytes()
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        path = folder / f"{series[-12:]}-{index:03d}.dcm"
        image.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def index(settings: Settings, store: Store, paths: Sequence[Path]) -> str:
    """Put the files of one series into the archive and the database as a receiver would; its Series Instance UID."""
    settings.archive_dir.mkdir(parents=True, exist_ok=True)
    instances: list[ReceivedInstance] = []
    for path in paths:
        content = path.read_bytes()
        (settings.archive_dir / path.name).write_bytes(content)
        header = pydicom.dcmread(path, stop_before_pixels=True)
        instances.append(
            ReceivedInstance(
                sop_instance_uid=header.SOPInstanceUID,
                sop_class_uid=header.SOPClassUID,
                transfer_syntax_uid=header.file_meta.TransferSyntaxUID,
                study_instance_uid=header.StudyInstanceUID,
                series_instance_uid=header.SeriesInstanceUID,
                patient_id="TEST",
                modality=header.Modality,
                path=path.name,
                size_bytes=len(content),
                sha256=hashlib.sha256(content).hexdigest(),
                calling_ae_title="SCANNER",
                called_ae_title="LUNGSENTRY",
                address="127.0.0.1",
                association_id=None,
                received_at=datetime.now(UTC) - timedelta(hours=1),
                header={
                    "slice_position_mm": float(header.ImagePositionPatient[2]),
                    "frame_of_reference_uid": str(header.FrameOfReferenceUID),
                    "study_date": str(header.get("StudyDate", "")),
                },
            )
        )
    store.intake.record_instances(instances)
    return instances[0].series_instance_uid


def triage_of(settings: Settings, store: Store, **more: Any) -> Triage:
    """The triage of a node with these settings."""
    return Triage(
        settings=settings.completion,
        max_attempts=settings.worker.max_attempts,
        archive_dir=settings.archive_dir,
        store=store,
        **more,
    )


def queue(settings: Settings, store: Store, paths: Sequence[Path]) -> str:
    """Index the files of one series, complete and screen it: its job waits; its Series Instance UID."""
    found = index(settings, store, paths)
    triage = triage_of(settings, store)
    for units in (triage.completions, triage.screenings):
        for unit in tuple(units()):
            unit.run()
    series = store.series.get(found)
    assert series is not None
    assert series.state is SeriesState.QUEUED
    return found


def run_due_job(store: Store, worker: AnalysisWorker) -> Job:
    """Let the worker run, in this thread, the job that is due or will be in a moment; what became of the job."""
    job = wait_until(lambda: store.jobs.claim("worker", 60), what="a job that is due")
    assert job is not None
    worker._name = "worker"
    worker.run_job(job, threading.Event())
    after = store.jobs.get(job.id)
    assert after is not None
    return after


def series_uid(paths: Sequence[Path]) -> str:
    """The Series Instance UID of the first file."""
    return str(pydicom.dcmread(paths[0], stop_before_pixels=True).SeriesInstanceUID)


def send(paths: Sequence[Path], port: int) -> list[int]:
    """Send the files over one association and return the status of each; no answer counts as -1."""
    entity = AE(ae_title="SCANNER")
    entity.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    association = entity.associate("127.0.0.1", port, ae_title="LUNGSENTRY")
    assert association.is_established
    with held_reactor(association):
        statuses = [int(association.send_c_store(path).get("Status", -1)) for path in paths]
    association.release()
    return statuses


def try_to_send(path: Path, port: int) -> int | None:
    """Send one file over an association of its own; its status, or None where there was no answer."""
    entity = AE(ae_title="SCANNER")
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 30
    entity.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    association = entity.associate("127.0.0.1", port, ae_title="LUNGSENTRY")
    if not association.is_established:
        return None
    with held_reactor(association):
        try:
            status = association.send_c_store(path).get("Status")
        except RuntimeError:
            return None
    if association.is_established:
        association.release()
    return status


def wait_until(look: Callable[[], _Answer | None], *, seconds: float = 60, what: str = "it") -> _Answer:
    """The first truthy answer of ``look``; fails when there is none in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = look()
        if answer:
            return answer
        threading.Event().wait(0.05)
    raise AssertionError(f"{what} did not happen within {seconds:g} s")


@contextmanager
def running_node(
    settings: Settings, mode: str = "quick", *, clock: Path | None = None, within: Sequence[str] = ()
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A node as a process of its own, in a session of its own, and the port it listens on.

    With a clock its wall clock, in every process, is off by the seconds that this file holds. ``within`` is the command
    that runs it elsewhere, such as in a network namespace.
    """
    settings.node.data_dir.mkdir(parents=True, exist_ok=True)
    file = settings.node.data_dir / "settings.json"
    file.write_text(settings.model_dump_json())
    stepped = [] if clock is None else [str(FACTORIES / "stepping")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*stepped, str(REPOSITORY), str(FACTORIES)])}
    environment["LUNGSENTRY_TEST_CLOCK"] = str(clock or "")
    log = (settings.node.data_dir / "log.jsonl").open("a")
    with (
        log,
        subprocess.Popen(
            [*within, sys.executable, "-m", "node_program", str(file), mode],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment,
            start_new_session=True,
        ) as node,
    ):
        assert node.stdout is not None
        try:
            line = node.stdout.readline()
            assert line.startswith("port "), log_of(settings)
            yield node, int(line.split()[1])
        finally:
            if node.poll() is None:
                node.terminate()
                try:
                    node.wait(60)
                except subprocess.TimeoutExpired:
                    kill_all(node)
                    raise


def kill_all(node: subprocess.Popen[str]) -> None:
    """SIGKILL to the node and all its processes at the same moment."""
    os.killpg(node.pid, signal.SIGKILL)
    node.wait()


def log_of(settings: Settings) -> str:
    """What the node has logged so far."""
    return (settings.node.data_dir / "log.jsonl").read_text()
