"""An alert: what is flagged, why, and the life it may lead."""

from dataclasses import dataclass
from enum import StrEnum

from alerts.errors import IllegalTransition


class AlertState(StrEnum):
    """Where an alert stands."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    DISMISSED = "dismissed"
    SUPERSEDED = "superseded"


class AlertEvent(StrEnum):
    """What can happen to an alert."""

    ACKNOWLEDGE = "acknowledge"
    DISMISS = "dismiss"
    SUPERSEDE = "supersede"
    REOPEN = "reopen"


ALERT_TRANSITIONS: dict[tuple[AlertState, AlertEvent], AlertState] = {
    # a reader has seen the case and takes it up
    (AlertState.OPEN, AlertEvent.ACKNOWLEDGE): AlertState.ACKNOWLEDGED,
    # a reader has seen the case and finds nothing to act upon
    (AlertState.OPEN, AlertEvent.DISMISS): AlertState.DISMISSED,
    (AlertState.ACKNOWLEDGED, AlertEvent.DISMISS): AlertState.DISMISSED,
    # a newer result of the same series no longer meets the policy
    (AlertState.OPEN, AlertEvent.SUPERSEDE): AlertState.SUPERSEDED,
    (AlertState.ACKNOWLEDGED, AlertEvent.SUPERSEDE): AlertState.SUPERSEDED,
    # a newer result shows more than the reader judged
    (AlertState.DISMISSED, AlertEvent.REOPEN): AlertState.OPEN,
    # a newer result meets the policy again
    (AlertState.SUPERSEDED, AlertEvent.REOPEN): AlertState.OPEN,
}


def next_alert_state(state: AlertState, event: AlertEvent) -> AlertState:
    """The state an alert enters when ``event`` happens in ``state``; ``IllegalTransition`` where there is no arrow."""
    try:
        return ALERT_TRANSITIONS[state, event]
    except KeyError as cause:
        raise IllegalTransition(state, event) from cause


class Category(StrEnum):
    """ACR actionable-finding category (RADLEX RID49480, RID49481, RID49482)."""

    CATEGORY_1 = "1"
    CATEGORY_2 = "2"
    CATEGORY_3 = "3"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """COVID-like opacities that policy finds worth a reader's eyes. Not a diagnosis.

    ``headline`` and ``reasons`` are for people; they never name the patient.
    """

    study_instance_uid: str
    series_instance_uid: str
    revision: int
    category: Category
    incidental: bool
    headline: str
    reasons: tuple[str, ...]
    burden_percent: float


WORSE_BY_POINTS = 1.0
WORSE_BY_SHARE = 0.1
"""A burden that is measured again, by another model say, may differ by less without meaning anything."""


def is_worse(later: Alert, judged: Alert) -> bool:
    """Whether a newer result of the same series shows more than a reader has judged.

    It does where its category is more pressing, or its burden is higher by a percentage point and by a tenth.
    """
    grown = later.burden_percent - judged.burden_percent
    return int(later.category.value) < int(judged.category.value) or (
        grown >= WORSE_BY_POINTS and grown >= WORSE_BY_SHARE * judged.burden_percent
    )
