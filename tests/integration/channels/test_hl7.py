"""ORU^R01 over MLLP to a listener that reads it with another library: AA, AE, AR, silence and nonsense."""

import socket
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hl7
import pytest
from listeners import free_port, listening
from message_node import ACCESSION, IDENTIFIED, PATIENT, WORKLIST, message_node, told_of_phantom
from store_bench import STUDY
from tls_peers import Authority

from alerts import DeliveryState
from alerts.wording import RESEARCH_USE
from dicom_node.delivery import Unreachable
from dicom_node.delivery.hl7 import Hl7Channel
from dicom_node.settings import Hl7Destination


@dataclass
class _Engine:
    """Reads blocks, acknowledges them with the next of ``codes``, or AA, and keeps what it took."""

    codes: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def answer(self, connection: socket.socket) -> None:
        block = b""
        while not block.endswith(b"\x1c\r"):
            if not (part := connection.recv(4096)):
                return
            block += part
        assert block.startswith(b"\x0b")
        text = block[1:-2].decode()
        parsed = hl7.parse(text)
        code = self.codes.pop(0) if self.codes else "AA"
        if code == "AA":
            self.texts.append(text)
        acknowledgement = str(parsed.create_ack(code))
        if code == "OTHER":
            acknowledgement = str(parsed.create_ack("AA")).replace(str(parsed.segment("MSH")[10]), "another")
        if code == "SILENCE":
            connection.recv(1)
            return
        if code == "NOISE":
            acknowledgement = "good morning"
        connection.sendall(b"\x0b" + acknowledgement.encode() + b"\x1c\r")


def _destination(port: int, **other: Any) -> Hl7Destination:
    values: dict[str, Any] = {"name": "HIS", "host": "127.0.0.1", "port": port, "after": "flagged"}
    return Hl7Destination(**(values | {"receiving_application": "ENGINE"} | other))


@pytest.mark.parametrize("identify", IDENTIFIED)
def test_another_library_reads_what_is_meant(tmp_path: Path, identify: str) -> None:
    """Study, figures, impression and link in the layout of RAD-128; the patient's segment only where it may be told."""
    engine = _Engine()
    with listening(engine.answer) as port, message_node(tmp_path, _destination(port, identify=identify)) as node:
        recorded = node.flag()
        node.tick()
        node.tick()
        assert node.states() == [DeliveryState.SENT]
    (text,) = engine.texts
    told = hl7.parse(text)
    assert str(told.segment("MSH")[9]) == "ORU^R01^ORU_R01"
    assert [str(told.segment("MSH")[number]) for number in (3, 5, 12, 18)] == [
        "LUNGSENTRY",
        "ENGINE",
        "2.5.1",
        "UNICODE UTF-8",
    ]
    observed = told.segments("OBX")
    assert [str(one[1]) for one in observed] == [str(number) for number in range(1, len(observed) + 1)]
    assert [str(observed[0][number]) for number in (2, 3, 5, 11)] == ["ST", "113014^DICOM Study^DCM", STUDY, "O"]
    figures = {str(one[3]).partition("^")[0]: (str(one[5]), str(one[6])) for one in observed if str(one[2]) == "NM"}
    assert figures["BURDEN"] == ("10.0", "%^Percent^UCUM")
    assert figures["LUNG_VOLUME"] == ("4000.0", "cm3^cubic centimeter^UCUM")
    impression = [told.unescape(str(one[5])) for one in observed if str(one[2]) == "TX"]
    assert impression[0] == "opacities"
    assert RESEARCH_USE in impression
    (link,) = (str(one[5]) for one in observed if str(one[2]) == "RP")
    assert link == f"{WORKLIST}/alerts/{recorded.alert_id}^^TEXT^HTML"
    order = told.segment("OBR")
    assert str(order[25]) == "R"
    assert str(order[18]) == ("" if identify == "none" else ACCESSION)
    assert told_of_phantom(text) == IDENTIFIED[identify]
    if identify == "full":
        assert [str(told.segment("PID")[number]) for number in (3, 5, 8)] == [PATIENT, "Phantom^Lung", "O"]
    else:
        assert "PID" not in text


@pytest.mark.parametrize(
    ("code", "state", "cause"),
    [
        ("AE", DeliveryState.PENDING, "AE"),
        ("AR", DeliveryState.FAILED, "AR"),
        ("SILENCE", DeliveryState.PENDING, "too long"),
        ("NOISE", DeliveryState.PENDING, "no acknowledgement"),
        ("OTHER", DeliveryState.PENDING, "another message"),
    ],
)
def test_acknowledgement_decides_whether_to_try_again(
    tmp_path: Path, code: str, state: DeliveryState, cause: str
) -> None:
    """AR ends it; an error of the moment, silence, and what answers something else do not."""
    engine = _Engine(codes=[code])
    with (
        listening(engine.answer) as port,
        message_node(tmp_path, _destination(port), retry_base_s=60, timeout_s=0.5 if code == "SILENCE" else 10) as node,
    ):
        node.flag()
        node.tick()
        (delivery,) = node.deliveries()
        assert delivery.state is state
        assert delivery.cause is not None
        assert cause in delivery.cause
    assert engine.texts == []


def test_listener_that_is_down_for_the_whole_run_gets_everything_once_it_is_up(tmp_path: Path) -> None:
    """Each message once, under the control ID of its first attempt."""
    engine, port = _Engine(codes=["AE"]), free_port()
    with message_node(tmp_path, _destination(port)) as node:
        for number in range(3):
            node.flag(number)
            node.tick()
        assert node.states() == [DeliveryState.PENDING] * 3
        with listening(engine.answer, port=port):
            while DeliveryState.PENDING in node.states():
                node.tick()
    assert len({str(hl7.parse(text).segment("MSH")[10]) for text in engine.texts}) == len(engine.texts) == 3


def test_tls_is_trusted_or_nothing_is_said(tmp_path: Path) -> None:
    """By TLS where it is set; a stranger's certificate, and a listener that speaks none, get nothing."""
    own = Authority.make(tmp_path / "ca").issue("engine", tmp_path / "engine")
    stranger = Authority.make(tmp_path / "other").issue("engine", tmp_path / "stranger")
    engine = _Engine()

    def check(port: int) -> Callable[[], str]:
        return Hl7Channel(_destination(port, tls=True, certificates=own), sending="NODE", timeout_s=2).check

    refusing: list[AbstractContextManager[int]] = [
        listening(engine.answer, certificates=stranger),
        listening(engine.answer),
    ]
    with listening(engine.answer, certificates=own) as port:
        assert check(port)() == f"127.0.0.1:{port} takes connections"
    for one in refusing:
        with one as port, pytest.raises(Unreachable):
            check(port)()
    assert engine.texts == []
