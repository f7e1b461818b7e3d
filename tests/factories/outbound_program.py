"""The outbound half of a node in one process that kills itself: ``python -m outbound_program SETTINGS.json STEPS``.

A worker, whose analysis is a stand-in, and the scheduler with every sweep. SIGKILL comes at the given step: before a
commit, after one, before a file is renamed or touched, before a connection is opened; 0 lets it live. It ends by
itself with 0 once no job is left and nothing that is due waits for the destination UP.

The stand-in finds opacities in two boxes for lungs. What it finds depends on the file ``software`` in the data folder.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np
from sqlalchemy import Engine, event
from sr_reports import make_findings, make_key_slice

from alerts import DeliveryState
from analysis.anatomy.lobes import Lobes
from analysis.anatomy.lungs import Lungs
from analysis.findings import Provenance
from analysis.pipeline import AnalysedSeries
from analysis.series import Series, screen_headers
from analysis.series.volume import assemble
from db import JobState, Store
from dicom_node.composition import worker_with
from dicom_node.node import run_scheduler
from dicom_node.settings import Settings

_STEPS = {"os.rename", "os.utime", "socket.connect"}
_counted = count(1)


def _trap(last: int) -> None:
    def step() -> None:
        if next(_counted) == last:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(name: str, _arguments: object) -> None:
        if name in _STEPS:
            step()

    sys.addaudithook(audit)
    committed = threading.local()

    def before(_connection: object) -> None:
        committed.now = True
        step()

    def after(*_: object) -> None:
        if getattr(committed, "now", False):
            committed.now = False
            step()

    event.listen(Engine, "commit", before)
    event.listen(Engine, "checkin", after)


def stand_in_analysis(settings: Settings, series: Series) -> AnalysedSeries:
    volume = assemble(series)
    labels = np.zeros(volume.hu.shape, np.uint8)
    labels[:, 20:44, 10:30], labels[:, 20:44, 34:54] = 1, 2
    opacities = np.zeros_like(labels)
    opacities[3:6, 24:40, 14:26] = 1
    known = make_findings().provenance
    software = (settings.node.data_dir / "software").read_text()
    provenance = Provenance(
        model_name=known.model_name,
        model_version=known.model_version,
        weights_sha256=known.weights_sha256,
        thresholds=known.thresholds,
        runtime=known.runtime,
        device=known.device,
        software_version=software,
    )
    return AnalysedSeries(
        series=series,
        findings=make_findings(
            study_instance_uid=series.study_instance_uid,
            series_instance_uid=series.series_instance_uid,
            revision=series.revision,
            slice_count=len(volume.hu),
            key_slices=(make_key_slice(volume.sop_instance_uids[4], 4),),
            provenance=provenance,
        ),
        screening=screen_headers(series),
        volume=volume,
        lungs=Lungs(labels=labels),
        labels=opacities,
        lobes=Lobes(labels=np.zeros_like(labels), confidence_percent={}, cut=frozenset(), untold=frozenset()),
        seconds={"all": 0.0},
    )


def _work(settings: Settings, store: Store, stop: threading.Event) -> None:
    def analyse(series: Series, progress: Callable[[str], None]) -> AnalysedSeries:
        progress("model")
        return stand_in_analysis(settings, series)

    worker_with(settings=settings, store=store, analyse=analyse).run(stop)


def _is_settled(store: Store) -> bool:
    if store.jobs.list([JobState.QUEUED, JobState.RUNNING], limit=1):
        return False
    waiting = store.deliveries.list([DeliveryState.PENDING, DeliveryState.SENDING])
    return not any(one.destination in {"UP", "REFUSES"} for one in waiting)


if __name__ == "__main__":
    given = Settings.model_validate_json(Path(sys.argv[1]).read_text())
    _trap(int(sys.argv[2]))
    told = threading.Event()
    with Store.open(given.database_url) as opened:
        roles = [
            threading.Thread(target=_work, args=(given, opened, told)),
            threading.Thread(target=run_scheduler, args=(given, told)),
        ]
        for role in roles:
            role.start()
        while not _is_settled(opened):
            told.wait(0.05)
        told.set()
        for role in roles:
            role.join()
