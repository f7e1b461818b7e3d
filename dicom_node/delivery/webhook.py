"""Messages go to a system by HTTP, signed as the Standard Webhooks specification says: one message a request."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from standardwebhooks import Webhook

from alerts.delivery import Occasion
from alerts.message import Message
from alerts.wording import RESEARCH_USE
from dicom_node.delivery.channel import Receipt
from dicom_node.delivery.errors import NotAdmitted
from dicom_node.delivery.http import exchange, raise_for
from dicom_node.delivery.secret_file import secrets_of
from dicom_node.settings import WebhookDestination

__all__ = ["WebhookChannel", "payload_of"]

_TYPES = {
    Occasion.FLAGGED: "examination.flagged",
    Occasion.TAKEN_UP: "examination.taken_up",
    Occasion.ESCALATED: "examination.escalated",
    Occasion.WITHDRAWN: "examination.withdrawn",
}


class WebhookChannel:
    """An address that takes signed requests."""

    most_together = 1

    def __init__(self, settings: WebhookDestination, *, timeout_s: float) -> None:
        self._settings = settings
        self._timeout_s = timeout_s

    def tell(self, key: str, messages: Sequence[Message]) -> Receipt:
        """Post the message, signed with every secret of the file; ``key`` is its webhook-id.

        Raises:
            Unreachable, NotAdmitted, Busy: worth another attempt.
            Refused: it does not take such a message.
        """
        (message,) = messages
        body = json.dumps(payload_of(message), ensure_ascii=False)
        now = datetime.now(UTC)
        headers = {
            "content-type": "application/json",
            "webhook-id": key,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(one.sign(key, now, body) for one in self._signers()),
        }
        answer = exchange(
            self._settings,
            "POST",
            self._settings.url,
            headers=headers,
            content=body.encode(),
            timeout_s=self._timeout_s,
        )
        raise_for(answer.status, urlsplit(self._settings.url).netloc)
        return Receipt(answer=str(answer.status))

    def check(self) -> str:
        """Ask by HEAD, which gives it nothing: whatever it answers of that method, it is there.

        Raises:
            DeliveryError: nobody answers, or the node is not let in, or the secret cannot be used.
        """
        self._signers()
        host = urlsplit(self._settings.url).netloc
        answer = exchange(self._settings, "HEAD", self._settings.url, timeout_s=self._timeout_s)
        if answer.status in {401, 403, 407} or answer.status >= 500:
            raise_for(answer.status, host)
        return f"{host} answered HEAD with {answer.status}"

    def _signers(self) -> tuple[Webhook, ...]:
        """One for each secret: while one takes the place of another, both are valid."""
        file = self._settings.secret_file
        try:
            return tuple(Webhook(secret) for secret in secrets_of(file))
        except ValueError as error:
            raise NotAdmitted(f"{file} holds something that is no secret in base64.") from error


def payload_of(message: Message) -> Mapping[str, Any]:
    """The message in JSON's terms; without identity there is no patient in it."""
    alert, lungs = message.alert, message.findings.both_lungs
    return {
        "type": _TYPES[message.occasion],
        "timestamp": message.raised_at.isoformat(),
        "data": {
            "headline": alert.headline,
            "acr_category": alert.category.value,
            "incidental": alert.incidental,
            "reasons": alert.reasons,
            "profile": message.findings.profile.value,
            "burden_percent": round(alert.burden_percent, 2),
            "lung_volume_ml": round(lungs.lung_volume_ml, 1),
            "ggo_volume_ml": round(lungs.ggo_volume_ml, 1),
            "high_opacity_volume_ml": round(lungs.high_opacity_volume_ml, 1),
            "study_instance_uid": alert.study_instance_uid,
            "series_instance_uid": alert.series_instance_uid,
            "examination": {name: value for name, value in asdict(message.identity).items() if value},
            "report_confirmed": message.confirmed,
            "link": message.link,
            "notice": RESEARCH_USE,
        },
    }
