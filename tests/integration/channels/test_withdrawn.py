"""That an examination is flagged no longer is said by every channel, with the reason, and names no patient."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from message_node import message_node, told_of_phantom

from alerts.delivery import Occasion
from alerts.message import Identify, Message, subject_of, text_of
from db import DismissalReason
from dicom_node.delivery.hl7 import oru_of
from dicom_node.delivery.letters import Letters
from dicom_node.delivery.syslog import line_of
from dicom_node.delivery.webhook import payload_of
from dicom_node.settings import Hl7Destination

_HL7 = Hl7Destination(name="HIS", host="his", after="flagged")
WRITERS: dict[str, Callable[[Message], str]] = {
    "mail": lambda message: subject_of([message]) + text_of([message]),
    "hl7": lambda message: oru_of("k", message, settings=_HL7, sending="NODE"),
    "syslog": lambda message: line_of("k", message, host_name="node").decode(),
    "webhook": lambda message: str(payload_of(message)),
}


@pytest.mark.parametrize(
    ("by", "why"), [("reader", "A reader has dismissed it: artefact."), ("result", "None of its results in force")]
)
def test_every_channel_says_that_it_holds_no_longer_and_why(by: str, why: str, tmp_path: Path) -> None:
    """The headline says so before it says what was flagged; a reader's own words stay in the worklist."""
    with message_node(tmp_path, _HL7) as node:
        recorded = node.flag()
        assert recorded.alert_id is not None
        flagged = node.store.outbox.claim("HIS", datetime.now(UTC), 60)
        assert flagged is not None
        node.store.outbox.sent(flagged)
        if by == "reader":
            alerts, reason = node.store.alerts, DismissalReason.ARTEFACT
            alerts.dismiss(recorded.alert_id, "dr", "Mr Phantom coughs", reason=reason)
        else:
            node.bench.record(node.bench.again(flagged.series_instance_uid), alert=False, destinations="")
        taken = node.store.outbox.claim("HIS", datetime.now(UTC), 60)
        assert taken is not None
        letters = Letters(store=node.store, results_dir=node.settings.results_dir, worklist_url=None)
        message = letters.message(taken, Identify.NONE)
    assert message.occasion is Occasion.WITHDRAWN
    for name, write in WRITERS.items():
        text = write(message)
        assert "No longer flagged: opacities" in text, name
        assert why in text, name
        assert "burden 10 %" not in text, name
        assert told_of_phantom(text) == set(), name
