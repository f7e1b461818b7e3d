"""From findings to an alert: policy, wording, life cycles, the delivery contract and DICOM reports (``reports``)."""

from alerts.alert import (
    ALERT_TRANSITIONS,
    DECIDED,
    TIME_ALLOWED,
    UNDECIDED,
    Alert,
    AlertEvent,
    AlertState,
    Category,
    is_worse,
    next_alert_state,
    pressing,
)
from alerts.artefact import DEFAULT_KINDS, DICOM, PNG, SOP_CLASSES, ZIP, Artefact, ArtefactKind, Draft
from alerts.change import Change, Prior, choose_prior, compare
from alerts.delivery import (
    DELIVERY_TRANSITIONS,
    Delivery,
    DeliveryEvent,
    DeliveryState,
    next_delivery_state,
)
from alerts.description import describe
from alerts.errors import AlertsError, IllegalTransition, ReportNotWritten, UnusableEvidence
from alerts.policy import AlertPolicy, PolicyDecision, ProfileThresholds, RequestContext, evaluate
from alerts.severity import Presence, Severity

__all__ = [
    "ALERT_TRANSITIONS",
    "DECIDED",
    "DEFAULT_KINDS",
    "DELIVERY_TRANSITIONS",
    "DICOM",
    "PNG",
    "SOP_CLASSES",
    "TIME_ALLOWED",
    "UNDECIDED",
    "ZIP",
    "Alert",
    "AlertEvent",
    "AlertPolicy",
    "AlertState",
    "AlertsError",
    "Artefact",
    "ArtefactKind",
    "Category",
    "Change",
    "Delivery",
    "DeliveryEvent",
    "DeliveryState",
    "Draft",
    "IllegalTransition",
    "PolicyDecision",
    "Presence",
    "Prior",
    "ProfileThresholds",
    "ReportNotWritten",
    "RequestContext",
    "Severity",
    "UnusableEvidence",
    "choose_prior",
    "compare",
    "describe",
    "evaluate",
    "is_worse",
    "next_alert_state",
    "next_delivery_state",
    "pressing",
]
