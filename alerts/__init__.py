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
    ALONE_AFTER,
    DELIVERY_TRANSITIONS,
    Delivery,
    DeliveryEvent,
    DeliveryState,
    Occasion,
    next_delivery_state,
)
from alerts.description import describe
from alerts.errors import AlertsError, IllegalTransition, ReportNotWritten, UnusableEvidence
from alerts.policy import AgeBand, AlertPolicy, Clause, ClauseName, PolicyDecision, ProfileThresholds, evaluate
from alerts.replay import PolicyChange, change_of
from alerts.request import RequestContext
from alerts.severity import Presence, Severity

__all__ = [
    "ALERT_TRANSITIONS",
    "ALONE_AFTER",
    "DECIDED",
    "DEFAULT_KINDS",
    "DELIVERY_TRANSITIONS",
    "DICOM",
    "PNG",
    "SOP_CLASSES",
    "TIME_ALLOWED",
    "UNDECIDED",
    "ZIP",
    "AgeBand",
    "Alert",
    "AlertEvent",
    "AlertPolicy",
    "AlertState",
    "AlertsError",
    "Artefact",
    "ArtefactKind",
    "Category",
    "Change",
    "Clause",
    "ClauseName",
    "Delivery",
    "DeliveryEvent",
    "DeliveryState",
    "Draft",
    "IllegalTransition",
    "Occasion",
    "PolicyChange",
    "PolicyDecision",
    "Presence",
    "Prior",
    "ProfileThresholds",
    "ReportNotWritten",
    "RequestContext",
    "Severity",
    "UnusableEvidence",
    "change_of",
    "choose_prior",
    "compare",
    "describe",
    "evaluate",
    "is_worse",
    "next_alert_state",
    "next_delivery_state",
    "pressing",
]
