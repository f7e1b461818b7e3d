"""Escalation: a flagged case that nobody has looked at in the time that its category allows."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import structlog

from db import Store
from dicom_node.sweep import Unit

__all__ = ["Escalation"]

_LOG = structlog.stdlib.get_logger()
AT_ONCE = 100
"""Alerts that one look escalates at most; the next look goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Escalation:
    """The sweep that finds what is overdue, by its index; the destinations ``tell`` get a message about each."""

    store: Store
    tell: tuple[str, ...] = ()

    def units(self) -> Iterator[Unit]:
        """One unit for each overdue alert."""
        for alert_id in self.store.alerts.overdue(AT_ONCE):
            yield Unit(identity=f"alert {alert_id}", run=partial(self._escalate, alert_id))

    def _escalate(self, alert_id: int) -> None:
        escalated = self.store.alerts.escalate(alert_id, tell=self.tell)
        if escalated is not None:
            _LOG.warning("alert.escalated", alert_id=alert_id, category=escalated.alert.category.value)
