"""What people and systems are told of a flagged examination: a value, and the same as text.

Who the patient is stands in it only as far as its destination may know.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from alerts import wording
from alerts.alert import Alert
from alerts.delivery import Occasion
from analysis.findings import Findings

__all__ = ["Identify", "Identity", "Message", "subject_of", "text_of"]

_OCCASIONS = {
    Occasion.FLAGGED: "Flagged for review.",
    Occasion.TAKEN_UP: "A reader has taken the case up.",
    Occasion.ESCALATED: "Nobody has looked at the case in the time that its category allows.",
    Occasion.WITHDRAWN: "What was told before no longer holds.",
}
_RULE = "-" * 72


class Identify(StrEnum):
    """How much a destination is told of who the patient is."""

    NONE = "none"
    ACCESSION = "accession"
    FULL = "full"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Whose examination it is, in DICOM's spelling; empty is what is not known, or not to be told."""

    accession_number: str = ""
    patient_id: str = ""
    patient_name: str = ""
    birth_date: str = ""
    sex: str = ""
    study_date: str = ""

    def limited(self, identify: Identify) -> "Identity":
        """No more of it than may be told."""
        match identify:
            case Identify.NONE:
                return Identity()
            case Identify.ACCESSION:
                return Identity(accession_number=self.accession_number)
            case Identify.FULL:
                return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One flagged examination, told to one destination.

    ``confirmed``: whether the PACS has confirmed the report; None where
    none is asked. ``link`` opens the case in the worklist.
    """

    occasion: Occasion
    alert: Alert
    findings: Findings
    raised_at: datetime
    identity: Identity
    confirmed: bool | None = None
    link: str | None = None


def subject_of(messages: Sequence[Message]) -> str:
    """One line about them; no patient."""
    if len(messages) == 1:
        return f"Lungsentry: {messages[0].alert.headline}"
    return f"Lungsentry: {len(messages)} flagged examinations"


def text_of(messages: Sequence[Message]) -> str:
    """The messages as plain text, one after another; that it is for research alone stands at the end."""
    blocks = ["\n".join(_lines(one)) for one in messages]
    return f"\n{_RULE}\n".join([*blocks, wording.RESEARCH_USE]) + "\n"


def _lines(message: Message) -> list[str]:
    alert, identity = message.alert, message.identity
    name = identity.patient_name.replace("^", " ").strip()
    told = (
        ("Patient", name),
        ("Patient ID", identity.patient_id),
        ("Born", identity.birth_date),
        ("Accession number", identity.accession_number),
        ("Study date", identity.study_date),
    )
    lines = [alert.headline, f"ACR category {alert.category.value}. {_OCCASIONS[message.occasion]}", *alert.reasons, ""]
    lines += [f"{name}: {value}" for name, value in told if value]
    lines.append(f"Study Instance UID: {alert.study_instance_uid}")
    if message.link:
        lines.append(f"In the worklist: {message.link}")
    if message.confirmed is False:
        lines.append("The PACS has not confirmed the report yet: it may not be there when you look.")
    return lines
