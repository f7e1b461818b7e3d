"""Modality Performed Procedure Step as SCP (PS3.4 annex F.7): what a modality says that it made, as evidence.

N-CREATE begins a step, N-SET says what it made and that it has ended. Of all attributes the status, the series and the
instances they refer to are read; nothing about the patient is kept. Runs in the association's own thread.
"""

from collections.abc import Callable
from typing import ClassVar, Final

import structlog
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid

from analysis.errors import ReasonedError
from db import PerformedSeries, StaleState, StepEvent, StepState, Store, StoreError
from dicom_node.network import dimse_n
from dicom_node.network import status as dimse_status
from dicom_node.network.dimse_n import Operation
from dicom_node.network.errors import UnparsableDataset
from dicom_node.network.protocol import AssociationInfo, Message
from dicom_node.storage.header import is_usable_uid

__all__ = ["PerformedStepService", "StepRefused"]

_log = structlog.get_logger(__name__)

_ENDS: Final = {StepState.COMPLETED: StepEvent.COMPLETE, StepState.DISCONTINUED: StepEvent.DISCONTINUE}
_REFERENCES: Final = ("ReferencedImageSequence", "ReferencedNonImageCompositeSOPInstanceSequence")


class StepRefused(ReasonedError):
    """The request cannot be done."""

    status: ClassVar[int] = dimse_status.PROCESSING_FAILURE
    """PS3.7 annex C."""
    error_id: ClassVar[int | None] = None


class StepExists(StepRefused):
    """There is a step of that UID already."""

    status = dimse_status.DUPLICATE_SOP_INSTANCE


class NoSuchStep(StepRefused):
    """There is no step of that UID."""

    status = dimse_status.NO_SUCH_INSTANCE


class StepEnded(StepRefused):
    """The step has ended and is not changed any more (PS3.4 table F.7.2-2)."""

    error_id = 0xA710


class UnusableStep(StepRefused):
    """The data set cannot be parsed, or holds a value that is not allowed."""

    status = dimse_status.INVALID_ATTRIBUTE_VALUE


class StepNotWritten(StepRefused):
    """The step cannot be written down now."""

    status = dimse_status.RESOURCE_LIMITATION


class PerformedStepService:
    """Takes the performed procedure steps that come on associations."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def serve(self, info: AssociationInfo, message: Message, send: Callable[[bytes], None]) -> None:
        """Serve one message; ``send`` takes PDUs for the peer, and its errors are the association's end."""
        command = dimse_n.read_command(message)
        if dimse_n.is_response(command):
            return
        if command.CommandField not in {Operation.N_CREATE, Operation.N_SET}:
            send(dimse_n.response(command, message.context_id, dimse_status.UNRECOGNISED_OPERATION))
            return
        uid = _uid(command)
        refusal: StepRefused | None = None
        try:
            if not is_usable_uid(uid):
                raise UnusableStep("(SOP Instance UID)")
            if command.CommandField == Operation.N_CREATE:
                self._create(info, uid, message)
            else:
                self._set(info, uid, message)
        except StepRefused as error:
            refusal = error
            _log.warning("performed_step.refused", reason=str(error), status=f"0x{error.status:04X}", **info.titles)
        send(_response(command, uid, message.context_id, refusal))

    def ended(self, info: AssociationInfo) -> None:
        """The association is over; a step outlives it."""

    def _create(self, info: AssociationInfo, uid: str, message: Message) -> None:
        dataset = _read(message)
        if _state(dataset) is not StepState.IN_PROGRESS:
            raise UnusableStep("(Performed Procedure Step Status)")
        try:
            self._store.performed_steps.begin(uid, info.calling_ae_title)
        except StaleState as error:
            raise StepExists from error
        except StoreError as error:
            raise StepNotWritten from error
        _log.info("performed_step.begun", sop_instance_uid=uid, **info.titles)

    def _set(self, info: AssociationInfo, uid: str, message: Message) -> None:
        dataset = _read(message)
        state = _state(dataset) if "PerformedProcedureStepStatus" in dataset else StepState.IN_PROGRESS
        series = _performed_series(dataset)
        try:
            known = self._store.performed_steps.state(uid)
            if known is None:
                raise NoSuchStep
            self._store.performed_steps.update(uid, info.calling_ae_title, series, _ENDS.get(state))
        except StaleState as error:
            raise StepEnded from error
        except StoreError as error:
            raise StepNotWritten from error
        instances = sum(len(one.sop_instance_uids) for one in series)
        facts = {"series": len(series), "instances": instances, "state": state}
        _log.info("performed_step.updated", sop_instance_uid=uid, **facts, **info.titles)


def _uid(command: Dataset) -> str:
    """The step's UID; a modality may leave it to the node (PS3.7 section 10.1.5.1.4)."""
    if command.CommandField == Operation.N_SET:
        return str(command.get("RequestedSOPInstanceUID") or "")
    return str(command.get("AffectedSOPInstanceUID") or generate_uid())


def _read(message: Message) -> Dataset:
    try:
        return dimse_n.read_dataset(message)
    except UnparsableDataset as error:
        raise UnusableStep from error


def _state(dataset: Dataset) -> StepState:
    try:
        return StepState(str(dataset.get("PerformedProcedureStepStatus") or "").strip())
    except ValueError as error:
        raise UnusableStep("(Performed Procedure Step Status)") from error


def _performed_series(dataset: Dataset) -> list[PerformedSeries]:
    listed: list[PerformedSeries] = []
    for item in _items(dataset, "PerformedSeriesSequence"):
        uid = str(item.get("SeriesInstanceUID") or "")
        instances = [
            str(reference.get("ReferencedSOPInstanceUID") or "")
            for keyword in _REFERENCES
            for reference in _items(item, keyword)
        ]
        if not all(map(is_usable_uid, (uid, *instances))):
            raise UnusableStep("(Performed Series Sequence)")
        listed.append(PerformedSeries(series_instance_uid=uid, sop_instance_uids=frozenset(instances)))
    return listed


def _items(dataset: Dataset, keyword: str) -> Sequence | tuple[Dataset, ...]:
    items = dataset.get(keyword)
    return items if isinstance(items, Sequence) else ()


def _response(command: Dataset, uid: str, context_id: int, refusal: StepRefused | None) -> bytes:
    status = dimse_status.SUCCESS if refusal is None else refusal.status
    return dimse_n.response(
        command,
        context_id,
        status,
        AffectedSOPInstanceUID=uid if is_usable_uid(uid) else None,
        ErrorID=None if refusal is None else refusal.error_id,
    )
