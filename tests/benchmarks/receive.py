"""Receiving: dcmtk storescp (not durable), Orthanc with SyncStorageArea (durable), this node (durable), interleaved.

Every receiver is fed by dcmtk's storescu with the same CT slices of 512 x 512, over 1, 4 and 8 associations, with
TCP_NODELAY=1 on both ends (without it dcmtk stalls at 45 ms an image, whoever listens). Senders must exit with 0 and
what was delivered is counted. Each run is of a new receiver on an empty folder, which first takes a few images over as
many associations, uncounted: a receiver that runs for months is compared, not its start. The ratio of a repeat compares
neighbours in time; the median of the ratios counts. All write to the same file system (``TMPDIR`` sets which). What
they wrote is removed at the end of all (6 GB by default): ext4 without a journal looks a minute long for inodes that
were not freed of late, and whoever comes after a removal would pay for it.

``LUNGSENTRY_BENCH_REPEATS`` (5) and ``LUNGSENTRY_BENCH_IMAGES`` (60, for each association) set the length;
``LUNGSENTRY_BENCH_MEMORY=20000`` instead sends that many instances to this node and shows its memory on the way.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from db import upgrade
from dicom_node.settings import Settings

ASSOCIATIONS = (1, 4, 8)
ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1"}
CT = "1.2.840.10008.5.1.4.1.1.2"
WARM_UP_IMAGES = 8
"""Of each association, before the time is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A receiver that listens: its port, its process, and how to count what it has."""

    port: int
    process: psutil.Process
    delivered: Callable[[], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One run."""

    images_per_s: float
    cpu_ms_per_image: float


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port: int) -> None:
    ends = time.monotonic() + 30
    while time.monotonic() < ends:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"nothing listens on port {port}")


@contextmanager
def started(command: list[str]) -> Generator[psutil.Process]:
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


@contextmanager
def storescp(folder: Path) -> Generator[Running]:
    port = free_port()
    command = ["storescp", "--fork", "+B", "-pdu", "131072", "-od", str(folder), str(port)]
    with started(command) as process:
        wait_for(port)
        yield Running(port=port, process=process, delivered=lambda: sum(1 for _ in folder.glob("CT.*")))


@contextmanager
def orthanc(folder: Path) -> Generator[Running]:
    port = free_port()
    settings = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "index"),
        "SyncStorageArea": True,
        "HttpServerEnabled": False,
        "DicomPort": port,
        "DicomAet": "ORTHANC",
        "DicomAlwaysAllowStore": True,
        "DicomThreadsCount": 8,
        "MaximumPduLength": 131072,
        "Plugins": [],
    }
    file = folder / "orthanc.json"
    file.write_text(json.dumps(settings))

    def delivered() -> int:
        with contextlib.closing(sqlite3.connect(folder / "index" / "index")) as index:
            return index.execute("SELECT COUNT(*) FROM Resources WHERE resourceType = 4").fetchone()[0]

    with started(["Orthanc", str(file)]) as process:
        wait_for(port)
        yield Running(port=port, process=process, delivered=delivered)


@contextmanager
def lungsentry(folder: Path) -> Generator[Running]:
    settings = Settings(
        node={"data_dir": folder},
        receiver={"host": "127.0.0.1", "port": 0, "disk_watermark_bytes": 0, "accept_unknown_peers": True},
    )
    upgrade(settings.database_url)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "dicom_node.node", "receiver"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        process.stdin.write(settings.model_dump_json() + "\n")
        process.stdin.flush()
        port = json.loads(next(line for line in process.stdout if line.strip()))["port"]

        def delivered() -> int:
            return sum(1 for _ in settings.archive_dir.glob("??/*/*.dcm"))

        yield Running(port=port, process=psutil.Process(process.pid), delivered=delivered)
        process.send_signal(signal.SIGTERM)
        process.wait(30)


RECEIVERS: Mapping[str, Callable[[Path], contextlib.AbstractContextManager[Running]]] = {
    "storescp": storescp,
    "orthanc": orthanc,
    "lungsentry": lungsentry,
}


def write_slices(folder: Path, count: int, size: int, rng: np.random.Generator) -> None:
    """One series of noise slices, of no patient."""
    folder.mkdir(parents=True)
    study, series = generate_uid(), generate_uid()
    for number in range(count):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CT
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
        dataset.Modality, dataset.PatientID, dataset.PatientName = "CT", "BENCH", "Bench^Mark"
        dataset.StudyID, dataset.SeriesNumber, dataset.InstanceNumber = "1", 1, number + 1
        dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, number], [1, 0, 0, 0, 1, 0]
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.Rows = dataset.Columns = size
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
        dataset.PixelData = rng.integers(0, 4096, (size, size), dtype=np.uint16).tobytes()
        dataset["PixelData"].VR = "OW"
        dataset.save_as(folder / f"{number:05}.dcm", enforce_file_format=True)


def processes_of(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def cpu_seconds(process: psutil.Process) -> float:
    """User and system time of a process, its children, and those that have ended."""
    total = 0.0
    for one in processes_of(process):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def send(port: int, folders: list[Path], *options: str) -> float:
    """Send each folder over an association of its own; the seconds that took. A sender that fails ends the run."""
    command = ["storescu", "-aet", "BENCH", "-aec", "ANY", *options, "127.0.0.1", str(port), "+sd"]
    started_at = time.perf_counter()
    senders = [
        subprocess.Popen([*command, str(folder)], env=ENVIRONMENT, stdout=subprocess.DEVNULL) for folder in folders
    ]
    statuses = [sender.wait(600) for sender in senders]
    seconds = time.perf_counter() - started_at
    if any(statuses):
        raise RuntimeError(f"storescu exited with {statuses}")
    return seconds


def measure(name: str, source: Path, associations: int, images: int) -> Figure:
    folder = Path(tempfile.mkdtemp(prefix=f"bench-{name}-", dir=source.parent))
    with RECEIVERS[name](folder) as running:
        send(running.port, [source / f"warm-up-{number}" for number in range(associations)])
        before = cpu_seconds(running.process)
        seconds = send(running.port, [source / str(number) for number in range(associations)])
        cpu = cpu_seconds(running.process) - before
    delivered = running.delivered() - associations * WARM_UP_IMAGES  # Orthanc's index is its own while it runs
    sent = associations * images
    if delivered != sent:
        raise RuntimeError(f"{name}: {sent} sent, {delivered} delivered")
    return Figure(images_per_s=sent / seconds, cpu_ms_per_image=cpu / sent * 1000)


def file_system() -> str:
    """The type of the file system that all receivers write to."""
    command = ["stat", "--file-system", "--format=%T", tempfile.gettempdir()]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def compare(repeats: int, images: int) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-receive-") as temporary:
        source = Path(temporary) / "source"
        rng = np.random.default_rng(20)
        for number in range(max(ASSOCIATIONS)):
            write_slices(source / str(number), images, 512, rng)
            write_slices(source / f"warm-up-{number}", WARM_UP_IMAGES, 512, rng)
        figures: dict[tuple[int, str], list[Figure]] = {}
        for _ in range(repeats):
            for associations in ASSOCIATIONS:
                for name in RECEIVERS:
                    figure = measure(name, source, associations, images)
                    figures.setdefault((associations, name), []).append(figure)
    print(f"{repeats} repeats, {images} images of 528 kB an association, files on {file_system()}; medians")
    for associations in ASSOCIATIONS:
        ours = figures[associations, "lungsentry"]
        for name in RECEIVERS:
            runs = figures[associations, name]
            rate = statistics.median(run.images_per_s for run in runs)
            cpu = statistics.median(run.cpu_ms_per_image for run in runs)
            ratios = [mine.images_per_s / other.images_per_s for mine, other in zip(ours, runs, strict=True)]
            print(
                f"{associations} associations  {name:<10}  {rate:6.0f} images/s  {cpu:5.2f} ms CPU/image  "
                f"lungsentry is {statistics.median(ratios):.2f} x ({min(ratios):.2f} to {max(ratios):.2f})"
            )


def memory(instances: int) -> None:
    """Send that many small instances over four associations, and show resident memory after each tenth."""
    associations, batch = 4, 50
    with tempfile.TemporaryDirectory(prefix="bench-receive-") as temporary:
        source, node = Path(temporary) / "source", Path(temporary) / "node"
        node.mkdir()
        for number in range(associations):
            write_slices(source / str(number), batch, 64, np.random.default_rng(number))
        with lungsentry(node) as running:
            repeats = instances // 10 // batch // associations
            for tenth in range(1, 11):
                send(
                    running.port,
                    [source / str(number) for number in range(associations)],
                    *("--repeat", str(repeats), "+II", "+IR", str(batch)),
                )
                sizes = [one.memory_info().rss >> 20 for one in processes_of(running.process)]
                print(f"{tenth * repeats * batch * associations:6} sent, {running.delivered():6} there: MiB {sizes}")


def main() -> None:
    """Compare the receivers, or watch the memory."""
    if instances := int(os.environ.get("LUNGSENTRY_BENCH_MEMORY", "0")):
        memory(instances)
        return
    missing = [program for program in ("storescp", "storescu", "Orthanc") if shutil.which(program) is None]
    if missing:
        print(f"not run: {', '.join(missing)} not installed (make peers)")
        return
    compare(int(os.environ.get("LUNGSENTRY_BENCH_REPEATS", "5")), int(os.environ.get("LUNGSENTRY_BENCH_IMAGES", "60")))
