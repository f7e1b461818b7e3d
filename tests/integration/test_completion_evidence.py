"""Evidence that others give: the modality's performed procedure steps, and the PACS's count. Real peers, real wire."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import node_harness as harness
import pydicom
import pytest
from held_reactor import held_reactor
from listeners import free_port
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, evt
from pynetdicom.association import Association

from db import Peer, SeriesState, StepState, Store
from dicom_node.completion.pacs_counts import PacsCounts
from dicom_node.network.contexts import PERFORMED_PROCEDURE_STEP
from dicom_node.peers.addresses import address_book
from dicom_node.retrieval.query import STUDY_ROOT_FIND
from dicom_node.settings import Completion, Settings
from dicom_node.simulator import send_files

pytestmark = [
    pytest.mark.usefixtures("dropped_sockets"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SUCCESS, DUPLICATE, NO_SUCH, INVALID_VALUE, FAILURE = 0x0000, 0x0111, 0x0112, 0x0106, 0x0110
HOURS_S = 10_000.0


@pytest.fixture
def patient(settings: Settings) -> Settings:
    """Settings of a node that would wait for hours, unless there is evidence; it takes performed steps."""
    receiver = settings.receiver.model_copy(
        update={"host": "127.0.0.1", "port": 0, "disk_watermark_bytes": 0, "accept_unknown_peers": True}
    )
    completion = Completion(quiet_s=HOURS_S, incomplete_quiet_s=HOURS_S, mpps=True)
    return settings.model_copy(update={"receiver": receiver, "completion": completion})


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Six slices of one series."""
    return harness.write_ct(tmp_path / "ct", slices=6)


@contextmanager
def modality(port: int) -> Iterator[Association]:
    """A scanner's association for performed procedure steps."""
    entity = AE(ae_title="SCANNER")
    entity.add_requested_context(PERFORMED_PROCEDURE_STEP)
    association = entity.associate("127.0.0.1", port, ae_title="LUNGSENTRY")
    assert association.is_established
    with held_reactor(association):
        yield association
    association.release()


def beginning() -> Dataset:
    """What an N-CREATE holds, of which the node reads the status."""
    step = Dataset()
    step.PerformedProcedureStepStatus = "IN PROGRESS"
    step.PatientName, step.PatientID, step.Modality = "Nobody^At^All", "TEST", "CT"
    step.PerformedSeriesSequence = []
    return step


def ending(paths: list[Path], *, status: str = "COMPLETED") -> Dataset:
    """What an N-SET holds at the end: the series, and each of its images."""
    images = [pydicom.dcmread(path, stop_before_pixels=True) for path in paths]
    series = Dataset()
    series.SeriesInstanceUID = images[0].SeriesInstanceUID
    series.ReferencedImageSequence = []
    for image in images:
        reference = Dataset()
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
        series.ReferencedImageSequence.append(reference)
    step = Dataset()
    step.PerformedProcedureStepStatus = status
    step.PerformedSeriesSequence = [series]
    return step


def begin(association: Association, uid: str, dataset: Dataset | None = None) -> int:
    """The status of an N-CREATE."""
    return association.send_n_create(dataset or beginning(), PERFORMED_PROCEDURE_STEP, uid)[0].Status


def change(association: Association, uid: str, dataset: Dataset) -> Dataset:
    """The answer to an N-SET."""
    return association.send_n_set(dataset, PERFORMED_PROCEDURE_STEP, uid)[0]


def _counts(settings: Settings, store: Store) -> PacsCounts:
    """What asks the PACS, a second after the last instance."""
    return PacsCounts(
        settings=settings.completion,
        store=store,
        addresses=address_book(settings, store),
        clock=lambda: _a_second_later(store),
    )


def judge_now(settings: Settings, store: Store, uid: str, **more: Any) -> SeriesState:
    """The state of the series after one look, a second after its last instance, at what is complete."""
    for unit in harness.triage_of(settings, store, clock=lambda: _a_second_later(store), **more).completions():
        unit.run()
    series = store.series.get(uid)
    assert series is not None
    return series.state


def _a_second_later(store: Store) -> datetime:
    (evidence,) = store.intake.receiving_series()
    return evidence.last_received_at + timedelta(seconds=1)


@pytest.mark.parametrize("status", ["COMPLETED", "DISCONTINUED"])
def test_series_that_a_step_lists_is_complete_with_its_last_instance(
    patient: Settings,
    store: Store,
    paths: list[Path],
    receiving: Callable[[Settings], AbstractContextManager[int]],
    status: str,
) -> None:
    """The step ends while one instance is missing: the series waits; with the last it is complete at once."""
    uid, step = harness.series_uid(paths), str(generate_uid())
    with receiving(patient) as port:
        with modality(port) as association:
            assert begin(association, step) == SUCCESS
            assert harness.send(paths[:-1], port) == [0] * 5
            assert judge_now(patient, store, uid) is SeriesState.RECEIVING
            assert change(association, step, ending(paths, status=status)).Status == SUCCESS
        assert judge_now(patient, store, uid) is SeriesState.RECEIVING
        (evidence,) = store.intake.receiving_series()
        assert (evidence.announced_instances, evidence.announced_missing) == (6, 1)
        assert harness.send(paths[-1:], port) == [0]
        assert judge_now(patient, store, uid) is SeriesState.COMPLETE
    assert store.performed_steps.state(step) is StepState(status)
    completed = [event for event in store.series.events(uid) if event.event == "complete"]
    assert "all 6 of the modality's list" in str(completed[0].detail)


def test_steps_that_make_no_sense_are_refused_by_the_standards_status(
    patient: Settings, store: Store, paths: list[Path], receiving: Callable[[Settings], AbstractContextManager[int]]
) -> None:
    """Twice the same, unknown, ended already, a status that does not exist: each its answer, and on it goes."""
    step = str(generate_uid())
    wrong = beginning()
    wrong.PerformedProcedureStepStatus = "COMPLETED"
    with receiving(patient) as port, modality(port) as association:
        assert begin(association, step, wrong) == INVALID_VALUE
        assert begin(association, step) == SUCCESS
        assert begin(association, step) == DUPLICATE
        assert change(association, str(generate_uid()), ending(paths)).Status == NO_SUCH
        assert change(association, step, ending(paths, status="PERHAPS")).Status == INVALID_VALUE
        partly = ending(paths[:2], status="IN PROGRESS")
        assert change(association, step, partly).Status == SUCCESS
        assert change(association, step, ending(paths)).Status == SUCCESS
        ended = change(association, step, ending(paths[:1]))
        assert (ended.Status, ended.ErrorID) == (FAILURE, 0xA710)
    assert store.performed_steps.state(step) is StepState.COMPLETED


def test_without_the_setting_no_step_is_taken(
    patient: Settings, store: Store, receiving: Callable[[Settings], AbstractContextManager[int]]
) -> None:
    """Off by default: the presentation context is refused."""
    assert not Settings().completion.mpps
    assert store.status()
    entity = AE(ae_title="SCANNER")
    entity.add_requested_context(PERFORMED_PROCEDURE_STEP)
    entity.add_requested_context("1.2.840.10008.1.1")
    with receiving(patient.model_copy(update={"completion": Completion()})) as port:
        association = entity.associate("127.0.0.1", port, ae_title="LUNGSENTRY")
        assert [one.abstract_syntax for one in association.accepted_contexts] == ["1.2.840.10008.1.1"]
        association.release()


class Pacs:
    """A PACS that answers C-FIND with a number of instances that the test sets."""

    def __init__(self, study: str, series: str) -> None:
        self.instances = 0
        self._study, self._series = study, series
        self._entity = entity = AE(ae_title="PACS")
        entity.add_supported_context(STUDY_ROOT_FIND)
        self._server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, self._find)])
        self.port = self._server.socket.getsockname()[1]

    def stop(self) -> None:
        """Answer no more; again, nothing."""
        if self._server in self._entity._servers:
            self._server.shutdown()

    def _find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        answer = Dataset()
        answer.QueryRetrieveLevel = event.identifier.QueryRetrieveLevel
        answer.StudyInstanceUID = self._study
        if answer.QueryRetrieveLevel == "SERIES":
            answer.SeriesInstanceUID = self._series
            answer.NumberOfSeriesRelatedInstances = self.instances
        yield 0xFF00, answer


@pytest.fixture
def pacs(paths: list[Path]) -> Iterator[Pacs]:
    """The PACS of the series."""
    study = str(pydicom.dcmread(paths[0], stop_before_pixels=True).StudyInstanceUID)
    running = Pacs(study, harness.series_uid(paths))
    yield running
    running.stop()


def test_series_waits_for_what_the_pacs_has_more(
    settings: Settings, store: Store, paths: list[Path], pacs: Pacs
) -> None:
    """Seemingly whole, but the PACS has one more: it waits. When that is here, the series is complete."""
    settings = settings.model_copy(update={"completion": Completion(quiet_s=0.001, pacs="PACS")})
    store.peers.allow(Peer(ae_title="PACS", called_ae_title=None, cidr=None, host="127.0.0.1", port=pacs.port))
    uid, pacs.instances = harness.index(settings, store, paths[:-1]), 6
    counts = _counts(settings, store)

    assert judge_now(settings, store, uid, counts=counts) is SeriesState.RECEIVING  # the PACS is to be asked first
    _ask(counts)
    assert judge_now(settings, store, uid, counts=counts) is SeriesState.RECEIVING
    assert harness.index(settings, store, paths[-1:]) == uid
    _ask(counts)
    assert judge_now(settings, store, uid, counts=counts) is SeriesState.COMPLETE


def test_gap_that_the_pacs_has_too_is_not_waited_for(
    settings: Settings, store: Store, paths: list[Path], pacs: Pacs
) -> None:
    """A slice that was never made: the PACS has as many, so the series is complete without the long wait."""
    settings = settings.model_copy(update={"completion": Completion(quiet_s=0.001, pacs="PACS")})
    store.peers.allow(Peer(ae_title="PACS", called_ae_title=None, cidr=None, host="127.0.0.1", port=pacs.port))
    gapped = [path for number, path in enumerate(paths) if number != 3]
    uid, pacs.instances = harness.index(settings, store, gapped), 5
    counts = _counts(settings, store)
    _ask(counts)
    assert judge_now(settings, store, uid, counts=counts) is SeriesState.COMPLETE


def test_pacs_that_is_away_is_done_without(settings: Settings, store: Store, paths: list[Path], pacs: Pacs) -> None:
    """Nobody answers at its address: one failed query, and the series goes by its geometry and quiet time."""
    settings = settings.model_copy(update={"completion": Completion(quiet_s=0.001, pacs="PACS")})
    store.peers.allow(Peer(ae_title="PACS", called_ae_title=None, cidr=None, host="127.0.0.1", port=pacs.port))
    pacs.stop()
    uid = harness.index(settings, store, paths)
    counts = _counts(settings, store)
    _ask(counts)
    assert judge_now(settings, store, uid, counts=counts) is SeriesState.COMPLETE


@pytest.fixture
def orthanc_port(tmp_path: Path, orthanc: Callable[..., AbstractContextManager[None]]) -> Iterator[int]:
    """Where Orthanc listens as PACS, and answers queries."""
    folder, port = tmp_path / "orthanc", free_port()
    folder.mkdir()
    with orthanc(folder, port, DicomAlwaysAllowFind=True):
        yield port


def test_orthanc_tells_what_it_has_more(settings: Settings, store: Store, paths: list[Path], orthanc_port: int) -> None:
    """A real PACS holds six slices: with five the series waits for it, with the sixth it is complete."""
    settings = settings.model_copy(update={"completion": Completion(quiet_s=0.001, pacs="PACS")})
    store.peers.allow(Peer(ae_title="PACS", called_ae_title=None, cidr=None, host="127.0.0.1", port=orthanc_port))
    assert send_files(paths, host="127.0.0.1", port=orthanc_port, called_ae_title="PACS", timeout_s=20).ok
    uid = harness.index(settings, store, paths[:-1])
    counts = _counts(settings, store)
    _ask(counts)
    assert judge_now(settings, store, uid, counts=counts) is SeriesState.RECEIVING
    harness.index(settings, store, paths[-1:])
    _ask(counts)
    assert judge_now(settings, store, uid, counts=counts) is SeriesState.COMPLETE


def _ask(counts: PacsCounts) -> None:
    for unit in counts.units():
        unit.run()
