"""What is told of an alert: put together when it is sent, from what stands then."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError

from alerts import wording
from alerts.alert import Alert, AlertState
from alerts.delivery import Occasion
from alerts.message import Identify, Identity, Message
from db import Store, StoredAlert, StoredDelivery
from dicom_node.delivery.errors import Undeliverable

__all__ = ["Letters", "key_of"]

_TAGS = {
    "accession_number": "AccessionNumber",
    "patient_id": "PatientID",
    "patient_name": "PatientName",
    "birth_date": "PatientBirthDate",
    "sex": "PatientSex",
    "study_date": "StudyDate",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Letters:
    """Reads the store and, where a destination may know the patient, the report. ``worklist_url`` is for links."""

    store: Store
    results_dir: Path
    worklist_url: str | None

    def message(self, delivery: StoredDelivery, identify: Identify) -> Message:
        """What the destination of the delivery is told, and no more of the patient than it may know.

        Raises:
            Undeliverable: what it tells of is gone.
        """
        alert = None if delivery.alert_id is None else self.store.alerts.get(delivery.alert_id)
        result = None if alert is None else self.store.results.get(alert.result_id)
        if alert is None or result is None or delivery.occasion is None:
            raise Undeliverable("There is no such alert, or no such result.")
        withdrawn = delivery.occasion is Occasion.WITHDRAWN
        identity = Identity() if identify is Identify.NONE else _identity(self.results_dir / result.report.path)
        return Message(
            occasion=delivery.occasion,
            alert=_withdrawn(alert) if withdrawn else alert.alert,
            findings=result.findings,
            raised_at=alert.created_at,
            identity=identity.limited(identify),
            confirmed=None if withdrawn else self.store.deliveries.confirmed(result.id),
            link=f"{self.worklist_url.rstrip('/')}/alerts/{alert.id}" if self.worklist_url else None,
        )


def key_of(deliveries: Sequence[StoredDelivery]) -> str:
    """What names these deliveries together, whenever they are sent, and no others of any node: 20 characters."""
    told = ";".join(f"{one.id} {one.series_instance_uid} {one.created_at.isoformat()}" for one in deliveries)
    return hashlib.sha256(told.encode()).hexdigest()[:20]


def _withdrawn(alert: StoredAlert) -> Alert:
    """The alert as it is told that it holds no longer, and why."""
    dismissed = alert.reason if alert.state is AlertState.DISMISSED else None
    return replace(
        alert.alert,
        headline=wording.withdrawn(alert.alert.headline),
        reasons=(wording.withdrawn_because(None if dismissed is None else dismissed.value),),
    )


def _identity(report: Path) -> Identity:
    """Whose the report is."""
    try:
        dataset = pydicom.dcmread(report, stop_before_pixels=True, specific_tags=list(_TAGS.values()))
    except (OSError, InvalidDicomError) as error:
        raise Undeliverable("The report, which tells whose the examination is, cannot be read.") from error
    return Identity(**{field: str(dataset.get(tag, "") or "") for field, tag in _TAGS.items()})
