"""The forms in which an object is offered to a destination, which may not take every SOP class, and says so once."""

from dataclasses import replace
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING

import structlog
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, KeyObjectSelectionDocumentStorage

from alerts.artefact import REPORT_CLASSES, Reference
from db import Store, StoredDelivery
from dicom_node.delivery.channel import ObjectChannel, Parcel, Receipt
from dicom_node.delivery.errors import NotTaken, Undeliverable

if TYPE_CHECKING:
    from alerts.reports.identity import NamedObject

__all__ = ["deliver_in_form"]

_LOG = structlog.stdlib.get_logger()


def deliver_in_form(
    channel: ObjectChannel, parcel: Parcel, own_class: str, *, delivery: StoredDelivery, store: Store
) -> Receipt:
    """Deliver an object of this SOP class in the first form that the destination takes; what it refuses is remembered.

    A report has several forms, and those that were refused lately are offered last. What has one form, and was refused
    lately, is not offered.

    Raises:
        NotTaken: the destination takes none of the forms.
        DeliveryError: as the channel says; the file is missing or is not a DICOM object.
    """
    destination = delivery.destination
    refused = {one.sop_class_uid: one for one in store.destinations.refused(destination)}
    if own_class in refused and own_class not in REPORT_CLASSES:
        told = refused[own_class]
        raise NotTaken(f"{told.name} was refused at {told.refused_at:%Y-%m-%d %H:%M} UTC: {told.answer}")
    forms = sorted(REPORT_CLASSES, key=refused.__contains__) if own_class in REPORT_CLASSES else [own_class]
    refusal: NotTaken | None = None
    for sop_class in forms:
        try:
            variant = _variant(parcel, own_class, sop_class, delivery=delivery, store=store)
            return channel.deliver(parcel) if variant is None else _deliver(channel, parcel, variant, own_class)
        except NotTaken as error:
            refusal = error
            store.destinations.refuse(destination, str(sop_class), error.detail)
            _LOG.warning("destination.class_refused", destination=destination, sop_class=str(sop_class))
    raise refusal or NotTaken


def _variant(
    parcel: Parcel, own_class: str, sop_class: str, *, delivery: StoredDelivery, store: Store
) -> "NamedObject | None":
    """What goes in place of the object: in this form, and referring to what is at the destination; None: itself."""
    others = store.outbox.sent_as(delivery) if own_class == KeyObjectSelectionDocumentStorage else {}
    absent = store.outbox.absent_segmentations(delivery) if own_class in REPORT_CLASSES else ()
    if own_class == sop_class and not others and not absent:
        return None
    from alerts.reports.variants import report_variant, selection_variant  # what makes reports takes a second to load

    try:
        content = parcel.path.read_bytes()
        if others:
            return selection_variant(content, others)
        return report_variant(content, sop_class_uid=sop_class, absent=absent)
    except (OSError, InvalidDicomError) as error:
        raise Undeliverable(f"{parcel.path.name} is missing or not a DICOM object.") from error


def _deliver(channel: ObjectChannel, parcel: Parcel, variant: "NamedObject", own_class: str) -> Receipt:
    with NamedTemporaryFile(prefix="lungsentry-variant-", suffix=".dcm") as file:
        file.write(variant.content)
        file.flush()
        receipt = channel.deliver(replace(parcel, path=Path(file.name), sop_instance_uid=variant.sop_instance_uid))
    sop_class = variant.sop_class_uid
    return replace(
        receipt,
        answer=receipt.answer if sop_class == own_class else f"{receipt.answer} as {UID(sop_class).name}",
        sent_as=Reference(
            sop_class_uid=sop_class,
            sop_instance_uid=variant.sop_instance_uid,
            series_instance_uid=variant.series_instance_uid,
        ),
    )
