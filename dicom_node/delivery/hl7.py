"""Messages go as HL7 v2.5.1 ORU^R01 over MLLP, in the layout of IHE RAD-128; the receiver's code ends them."""

import socket
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hl7apy.core import Message as Hl7Message
from hl7apy.core import Segment
from hl7apy.exceptions import HL7apyException
from hl7apy.parser import parse_message

from alerts.message import Message
from alerts.reports.codes import PRIVATE_SCHEME
from alerts.wording import RESEARCH_USE
from dicom_node.delivery.channel import Receipt
from dicom_node.delivery.connection import connected
from dicom_node.delivery.errors import Busy, Refused, Unreachable
from dicom_node.settings import Hl7Destination

__all__ = ["Hl7Channel", "oru_of"]

_START, _END = b"\x0b", b"\x1c\r"  # MLLP release 1
_MOST_BYTES = 65_536
_VERSION = "2.5.1"
_STUDY = "113014^DICOM Study^DCM"
_PROCEDURE = "18748-4^Diagnostic imaging study^LN"
_IMPRESSION = "19005-8^Radiology Imaging study [Impression] (narrative)^LN"
_ESCAPES = str.maketrans({"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "~": "\\R\\", "&": "\\T\\"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Observation:
    """One OBX: its type, what is told, and the value, encoded. R: entered, not verified; O: an order's detail."""

    kind: str
    what: str
    value: str
    unit: str = ""
    status: str = "R"


class Hl7Channel:
    """A listener of a hospital's or an integration engine's."""

    most_together = 1

    def __init__(self, settings: Hl7Destination, *, sending: str, timeout_s: float) -> None:
        self._settings = settings
        self._sending = sending
        self._timeout_s = timeout_s

    def tell(self, key: str, messages: Sequence[Message]) -> Receipt:
        """Send one ORU^R01, ``key`` its control ID, and wait for the acknowledgement.

        Raises:
            Unreachable: nobody answers, in time, or this message. Worth another attempt.
            Busy: AE, an error of the moment. Worth another attempt.
            Refused: AR, it is not taken.
        """
        (message,) = messages
        text = oru_of(key, message, settings=self._settings, sending=self._sending)
        with self._connected() as connection:
            connection.sendall(_START + text.encode() + _END)
            code, answered = _acknowledgement(_read(connection))
        where = f"{self._settings.host}:{self._settings.port}"
        if answered != key:
            raise Unreachable(f"{where} acknowledged another message.")
        match code:
            case "AA" | "CA":
                return Receipt(answer=code)
            case "AE" | "CE":
                raise Busy(f"{where} replied {code}.")
            case "AR" | "CR":
                raise Refused(f"{where} replied {code}.")
            case _:
                raise Unreachable(f"{where} replied with a code that HL7 does not know.")

    def check(self) -> str:
        """Connect, by TLS where that is set, and say nothing.

        Raises:
            DeliveryError: nobody takes the connection.
        """
        with self._connected():
            return f"{self._settings.host}:{self._settings.port} takes connections"

    def _connected(self) -> AbstractContextManager[socket.socket]:
        settings = self._settings
        return connected(
            settings.host,
            settings.port,
            tls=settings.tls,
            certificates=settings.certificates,
            timeout_s=self._timeout_s,
        )


def oru_of(key: str, message: Message, *, settings: Hl7Destination, sending: str) -> str:
    """The message in HL7's encoding; a patient's segment stands there only where the patient may be told."""
    oru = Hl7Message("ORU_R01", version=_VERSION)
    msh = oru.msh
    msh.msh_3, msh.msh_5, msh.msh_6 = map(_text, (sending, settings.receiving_application, settings.receiving_facility))
    msh.msh_7 = _moment(datetime.now(UTC))
    msh.msh_9, msh.msh_10, msh.msh_11, msh.msh_18 = "ORU^R01^ORU_R01", key, "P", "UNICODE UTF-8"
    result = oru.add_group("ORU_R01_PATIENT_RESULT")
    identity = message.identity
    if identity.patient_id or identity.patient_name:
        pid = result.add_group("ORU_R01_PATIENT").add_segment("PID")
        pid.pid_3, pid.pid_5 = _text(identity.patient_id), _person(identity.patient_name)
        pid.pid_7, pid.pid_8 = _text(identity.birth_date), _text(identity.sex)
    order = result.add_group("ORU_R01_ORDER_OBSERVATION")
    obr = order.add_segment("OBR")
    obr.obr_1, obr.obr_3, obr.obr_4 = "1", key, _PROCEDURE
    obr.obr_7, obr.obr_18 = _text(identity.study_date), _text(identity.accession_number)
    obr.obr_22, obr.obr_25 = _moment(message.raised_at), "R"  # R: not verified; P and F would make it more than it is
    for number, one in enumerate(_observations(message), start=1):
        obx: Segment = order.add_group("ORU_R01_OBSERVATION").add_segment("OBX")
        obx.obx_1, obx.obx_2, obx.obx_3, obx.obx_5 = str(number), one.kind, one.what, one.value
        if one.unit:
            obx.obx_6 = one.unit
        obx.obx_11 = one.status
    return str(oru.to_er7())


def _observations(message: Message) -> Iterator[_Observation]:
    """The study, the figures, the impression, and the way to the case."""
    alert, lungs = message.alert, message.findings.both_lungs
    yield _Observation(kind="ST", what=_STUDY, value=alert.study_instance_uid, status="O")
    volume = "cm3^cubic centimeter^UCUM"
    for name, value, unit in (
        ("BURDEN^Pneumonia burden: opacity as percentage of lung volume", alert.burden_percent, "%^Percent^UCUM"),
        ("LUNG_VOLUME^Volume of both lungs", lungs.lung_volume_ml, volume),
        ("GGO_VOLUME^Volume of ground-glass opacity", lungs.ggo_volume_ml, volume),
        (
            "HIGH_VOLUME^Volume of high opacity (consolidation or pleural effusion)",
            lungs.high_opacity_volume_ml,
            volume,
        ),
    ):
        yield _Observation(kind="NM", what=f"{name}^{PRIVATE_SCHEME}", value=f"{value:.1f}", unit=unit)
    told = [alert.headline, f"ACR category {alert.category.value}.", *alert.reasons, RESEARCH_USE]
    if message.confirmed is False:
        told.insert(1, "The PACS has not confirmed the report yet.")
    for line in told:
        yield _Observation(kind="TX", what=_IMPRESSION, value=_text(line))
    if message.link:
        case = f"CASE^Case in the worklist^{PRIVATE_SCHEME}"
        yield _Observation(kind="RP", what=case, value=f"{_text(message.link)}^^TEXT^HTML")


def _text(value: str) -> str:
    """The text on one line, its delimiters escaped."""
    return " ".join(value.translate(_ESCAPES).split())


def _person(name: str) -> str:
    """A DICOM person's name, alphabetic, as HL7 has it: the suffix stands before the prefix."""
    parts = [_text(part) for part in name.partition("=")[0].split("^")] + [""] * 5
    family, given, middle, prefix, suffix = parts[:5]
    return f"{family}^{given}^{middle}^{suffix}^{prefix}".rstrip("^")


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y%m%d%H%M%S+0000")


def _read(connection: socket.socket) -> bytes:
    """One block of MLLP.

    Raises:
        Unreachable: it ends before its time, or does not.
    """
    block = bytearray()
    while not block.endswith(_END):
        part = connection.recv(4096)
        if not part:
            raise Unreachable("The connection was closed before an acknowledgement came.")
        block += part
        if len(block) > _MOST_BYTES:
            raise Unreachable("The acknowledgement does not end.")
    return bytes(block[: -len(_END)]).partition(_START)[2]


def _acknowledgement(block: bytes) -> tuple[str, str]:
    """The code of the acknowledgement, and the control ID that it answers.

    Raises:
        Unreachable: it is none.
    """
    try:
        answer: Any = parse_message(block.decode("utf-8", "replace").strip(), find_groups=False)
        return str(answer.msa.msa_1.to_er7()), str(answer.msa.msa_2.to_er7())
    except (HL7apyException, AttributeError, IndexError, KeyError, ValueError) as error:
        raise Unreachable("What was answered is no acknowledgement.") from error
