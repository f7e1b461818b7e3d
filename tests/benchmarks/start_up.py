"""How long a receiver takes to start beside what is stored already: from its process's start to its port.

``LUNGSENTRY_BENCH_STORED`` sets how many instances (20000), in series of 100, each with its file and its row.
"""

import os
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from db import ReceivedInstance, Store, upgrade
from dicom_node.settings import Settings
from dicom_node.storage.archive import Archive
from tests.benchmarks.receive import CT, lungsentry

_OF_A_SERIES = 100
_FLOOR_S = 3.0


def main() -> None:
    """Fill, start, print."""
    stored = int(os.environ.get("LUNGSENTRY_BENCH_STORED", "20000"))
    with tempfile.TemporaryDirectory(prefix="bench-start-up-") as name:
        _fill(Path(name), stored)
        started = time.perf_counter()
        with lungsentry(Path(name)):
            seconds = time.perf_counter() - started
    print(f"{stored} instances stored: ready after {seconds:.2f} s (floor {_FLOOR_S} s)")


def _fill(folder: Path, count: int) -> None:
    settings = Settings(node={"data_dir": folder})
    upgrade(settings.database_url)
    archive = Archive(settings.archive_dir)
    with Store.open(settings.database_url) as store:
        for start in range(0, count, _OF_A_SERIES):
            rows = [_instance(start, number) for number in range(start, start + _OF_A_SERIES)]
            archive.absolute(rows[0].path).parent.mkdir(parents=True, exist_ok=True)
            for row in rows:
                archive.absolute(row.path).write_bytes(b"\0" * 512)
            store.intake.record_instances(rows)


def _instance(series: int, number: int) -> ReceivedInstance:
    digest = f"{number:064x}"
    uid, series_uid = f"1.2.3.{number}", f"1.2.4.{series}"
    return ReceivedInstance(
        sop_instance_uid=uid,
        sop_class_uid=CT,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        study_instance_uid="1.2.5",
        series_instance_uid=series_uid,
        patient_id="BENCH",
        modality="CT",
        path=Archive.relative_path(series_instance_uid=series_uid, sop_instance_uid=uid, digest=digest),
        size_bytes=512,
        sha256=digest,
        calling_ae_title="BENCH",
        called_ae_title="LUNGSENTRY",
        address="127.0.0.1",
        association_id=None,
        received_at=datetime.now(UTC),
        header={},
    )
