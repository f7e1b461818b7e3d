"""SIGKILL at any step between analysis and receipt: nothing in force is lost, nothing arrives as something else."""

import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import node_harness as harness
import pytest
from pynetdicom import evt
from storage_scp import storage_scp

from alerts import AlertState, ArtefactKind, DeliveryState
from db import JobState, RequeueFilter, Store
from dicom_node.node import prepare
from dicom_node.settings import Delivery, DicomDestination, Settings

KILLS = int(os.environ.get("LUNGSENTRY_OUTBOUND_KILLS", "40"))
KINDS = ("opacities", "sr")
MOST_STEPS = 50
SERIES = 4


class _Pacs:
    """A Storage SCP that keeps the first object of a UID, as archives do, and counts what else comes under it."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.changed: list[str] = []
        self.received: Counter[str] = Counter()
        self._mutex = threading.Lock()

    def store(self, event: evt.Event) -> int:
        content = event.request.DataSet.getvalue()
        uid = str(event.request.AffectedSOPInstanceUID)
        with self._mutex:
            self.received[uid] += 1
            if self.kept.setdefault(uid, content) != content:
                self.changed.append(uid)
        return 0x0000


@contextmanager
def _silent() -> Iterator[DicomDestination]:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield DicomDestination(ae_title="SILENT", host="127.0.0.1", port=listener.getsockname()[1], kinds=KINDS)


def _run(settings: Settings, steps: int) -> int:
    file = settings.node.data_dir / "settings.json"
    file.write_text(settings.model_dump_json())
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(harness.REPOSITORY), str(harness.FACTORIES)])}
    with (settings.node.data_dir / "log").open("a") as log:
        command = [sys.executable, "-m", "outbound_program", str(file), str(steps)]
        return subprocess.run(command, env=environment, stdout=log, stderr=log, timeout=240, check=False).returncode


@pytest.mark.slow
@pytest.mark.timeout(max(1800, 30 * KILLS))
def test_kills_between_analysis_and_receipt_lose_and_double_nothing(tmp_path: Path) -> None:
    """Series come, are run again with the same and with other software, while the process dies at every kind of step.

    One destination takes everything, one is silent, one refuses. In the end each series has one result with its files,
    and one alert; who takes everything has every report in force and its segmentation, under each UID one content and
    no more.
    """
    chance, pacs = random.Random(7), _Pacs()
    with (
        storage_scp("UP", pacs.store, kinds=KINDS) as up,
        storage_scp("REFUSES", lambda _event: 0xA900, kinds=KINDS) as refuses,
        _silent() as silent,
    ):
        settings = harness.quick_settings(tmp_path / "node", max_attempts=1000, lease_s=1).model_copy(
            update={
                "destinations": (up, silent, refuses),
                "delivery": Delivery(lease_s=1, timeout_s=0.3, max_attempts=100, retry_base_s=0.5, sweep_s=0.1),
            }
        )
        prepare(settings)
        software = settings.node.data_dir / "software"
        software.write_text("1")
        with Store.open(settings.database_url) as store:
            series = [
                harness.queue(settings, store, harness.write_ct(tmp_path / f"ct{number}")) for number in range(SERIES)
            ]
            killed = 0
            while killed < KILLS:
                if not store.jobs.list([JobState.QUEUED, JobState.RUNNING]):
                    software.write_text(str(chance.randrange(1, 4)))
                    chosen = store.requeue.select(RequeueFilter(series=chance.choice(series)))
                    store.requeue.apply(chosen, "tester")
                ended = _run(settings, chance.randrange(1, MOST_STEPS))
                assert ended in (0, -signal.SIGKILL), (settings.node.data_dir / "log").read_text()[-4000:]
                killed += ended == -signal.SIGKILL
            assert _run(settings, 0) == 0, (settings.node.data_dir / "log").read_text()[-4000:]
            _judge(settings, store, series, pacs)


def _judge(settings: Settings, store: Store, series: list[str], pacs: _Pacs) -> None:
    alerts = store.alerts.list()
    assert Counter(one.alert.series_instance_uid for one in alerts) == Counter(series)
    by_destination: dict[str, list[DeliveryState]] = defaultdict(list)
    confirmed: Counter[str] = Counter()
    for one in store.deliveries.list():
        by_destination[one.destination].append(one.state)
        if one.state is DeliveryState.SENT:
            confirmed[str(one.artefact.sop_instance_uid)] += 1
    for uid in series:
        result = store.results.latest(uid)
        assert result is not None
        (alert,) = (one for one in alerts if one.alert.series_instance_uid == uid)
        assert (alert.state, alert.result_id) == (AlertState.OPEN, result.id)
        for artefact in result.artefacts:
            content = (settings.results_dir / artefact.path).read_bytes()
            assert hashlib.sha256(content).hexdigest() == artefact.sha256
        report = result.report.sop_instance_uid
        assert report in pacs.kept
        assert confirmed[str(report)] == 1
        objects = {one.kind: one.sop_instance_uid for one in result.artefacts if one.kind.value in KINDS}
        assert set(objects) == set(map(ArtefactKind, KINDS))
        assert {*objects.values()} <= set(pacs.kept)
    made = {
        artefact.sop_instance_uid for uid in series for one in store.results.history(uid) for artefact in one.artefacts
    }
    assert not pacs.changed
    assert set(pacs.kept) <= made
    assert set(confirmed.values()) <= {1}
    assert set(confirmed) <= set(pacs.kept)
    assert DeliveryState.SENT not in by_destination["SILENT"]
    assert set(by_destination["REFUSES"]) <= {DeliveryState.FAILED, DeliveryState.CANCELLED}
    print(json.dumps({"received": sum(pacs.received.values()), "objects": len(pacs.kept)}))  # noqa: T201 - a figure
