"""What a PACS has of a series that is analysed again: the node's worker and outbox, and Orthanc."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from io import BytesIO
from pathlib import Path
from urllib.request import Request, urlopen

import node_harness as harness
import pydicom
from listeners import free_port
from outbound_program import stand_in_analysis

from alerts import DeliveryState
from db import JobState, RequeueFilter, Store
from dicom_node.composition import delivery_channels, node_sweeps, worker_with
from dicom_node.node import prepare
from dicom_node.settings import DicomDestination, Settings
from dicom_node.sweeps import Sweeps


def _analyse(settings: Settings, store: Store, software: str, uid: str | None = None) -> None:
    """The series' job runs under this version of the software, and everything due is delivered."""
    (settings.node.data_dir / "software").write_text(software)
    if uid is not None:
        store.requeue.apply(store.requeue.select(RequeueFilter(series=uid)), "tester")
    worker = worker_with(settings, store, lambda series, _tell: stand_in_analysis(settings, series))
    assert harness.run_due_job(store, worker).state is JobState.SUCCEEDED
    sweeps = node_sweeps(settings, store, delivery_channels(settings, store))
    (deliveries,) = (one for one in sweeps if one.name == "deliveries")
    runner = Sweeps([deliveries], leads=lambda: True)
    while store.deliveries.list([DeliveryState.PENDING], limit=1):
        runner.tick(deliveries)
        runner.wait()


def _at_orthanc(http: int) -> dict[str, pydicom.Dataset]:
    """Every object that it has, as it gives them back, by SOP Instance UID."""
    root = f"http://127.0.0.1:{http}/instances"
    with urlopen(Request(root), timeout=30) as answer:
        known = json.load(answer)
    found: dict[str, pydicom.Dataset] = {}
    for one in known:
        with urlopen(Request(f"{root}/{one}/file"), timeout=30) as answer:  # noqa: S310 - as above
            dataset = pydicom.dcmread(BytesIO(answer.read()))
        found[str(dataset.SOPInstanceUID)] = dataset
    return found


def test_the_same_result_is_sent_once_and_another_one_names_it(
    tmp_path: Path, orthanc: Callable[..., AbstractContextManager[None]]
) -> None:
    """Run again alike: nothing is sent. Under other software: new objects, and the report names its predecessor."""
    port, http = free_port(), free_port()
    pacs = DicomDestination(name="PACS", ae_title="PACS", host="127.0.0.1", port=port)
    settings = harness.quick_settings(tmp_path / "node").model_copy(update={"destinations": (pacs,)})
    server = {"HttpServerEnabled": True, "HttpPort": http, "AuthenticationEnabled": False, "RemoteAccessAllowed": False}
    prepare(settings)
    with Store.open(settings.database_url) as store, orthanc(tmp_path, port, **server):
        uid = harness.queue(settings, store, harness.write_ct(tmp_path / "ct"))
        _analyse(settings, store, "1.0.0")
        first = _at_orthanc(http)
        (report,) = (one for one in first.values() if one.Modality == "SR")
        deliveries = len(store.deliveries.list())

        _analyse(settings, store, "1.0.0", uid)
        assert len(store.deliveries.list()) == deliveries
        assert _at_orthanc(http).keys() == first.keys()

        _analyse(settings, store, "2.0.0", uid)
        later = _at_orthanc(http)
        assert first.keys() < later.keys()
        (newer,) = (one for name, one in later.items() if one.Modality == "SR" and name not in first)
        (study,) = newer.PredecessorDocumentsSequence
        (series,) = study.ReferencedSeriesSequence
        (predecessor,) = series.ReferencedSOPSequence
        assert (series.SeriesInstanceUID, predecessor.ReferencedSOPInstanceUID) == (
            report.SeriesInstanceUID,
            report.SOPInstanceUID,
        )
        in_force = store.results.latest(uid)
        assert in_force is not None
        assert in_force.report.sop_instance_uid == newer.SOPInstanceUID
