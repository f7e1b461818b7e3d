"""RFC 5424 over TLS to a listener that reads frames: each line once, and no more of the patient than may be told."""

import re
import socket
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from listeners import free_port, listening
from message_node import IDENTIFIED, WORKLIST, message_node, told_of_phantom
from store_bench import STUDY
from tls_peers import Authority

from alerts import DeliveryState
from alerts.wording import RESEARCH_USE
from dicom_node.delivery import Unreachable
from dicom_node.delivery.syslog import SyslogChannel
from dicom_node.settings import SyslogDestination

FRAME = re.compile(rb"(\d+) (.*)", re.DOTALL)
LINE = re.compile(
    r"<(?P<priority>\d+)>1 (?P<at>\d{4}-\d\d-\d\dT[\d:.]+Z) (?P<host>\S+) lungsentry - FLAGGED - \ufeff(?P<text>.*)"
)


@dataclass
class _Server:
    """Reads to the end of what is sent."""

    lines: list[str] = field(default_factory=list)

    def answer(self, connection: socket.socket) -> None:
        content = b""
        while part := connection.recv(4096):
            content += part
        frame = FRAME.fullmatch(content)
        if frame is not None and int(frame[1]) == len(frame[2]):  # not the handshake of who wants TLS
            self.lines.append(frame[2].decode())


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("syslog")
    return Authority.make(folder / "ca").issue("syslog", folder / "syslog")


def _destination(certificates: Path, port: int, **other: Any) -> SyslogDestination:
    values: dict[str, Any] = {"name": "Log", "host": "127.0.0.1", "port": port, "certificates": certificates}
    return SyslogDestination(**(values | other))


@pytest.mark.parametrize("identify", IDENTIFIED)
def test_line_arrives_once(tmp_path: Path, certificates: Path, identify: str) -> None:
    """Priority by category, headline, link and the research-use line; of the patient what may be told."""
    server = _Server()
    with (
        listening(server.answer, certificates=certificates) as port,
        message_node(tmp_path, _destination(certificates, port, identify=identify)) as node,
    ):
        recorded = node.flag()
        node.tick()
        node.tick()
        assert node.states() == [DeliveryState.SENT]
    (line,) = server.lines
    told = LINE.fullmatch(line)
    assert told is not None
    assert told["priority"] == str(16 * 8 + 4)
    assert told["host"] == socket.gethostname()
    assert told["text"].startswith(f"opacities. {RESEARCH_USE}")
    assert f"study={STUDY}" in told["text"]
    assert f"case={WORKLIST}/alerts/{recorded.alert_id}" in told["text"]
    assert told_of_phantom(line) == IDENTIFIED[identify]


def test_server_that_is_down_for_the_whole_run_gets_everything_once_it_is_up(
    tmp_path: Path, certificates: Path
) -> None:
    """What could not be told waits, and is told once."""
    server, port = _Server(), free_port()
    with message_node(tmp_path, _destination(certificates, port)) as node:
        for number in range(3):
            node.flag(number)
            node.tick()
        assert node.states() == [DeliveryState.PENDING] * 3
        with listening(server.answer, certificates=certificates, port=port):
            while DeliveryState.PENDING in node.states():
                node.tick()
    assert len(set(server.lines)) == len(server.lines) == 3


def test_only_a_server_that_has_read_to_the_end_counts(tmp_path: Path, certificates: Path) -> None:
    """Who takes the bytes and does not close is not believed; nor is a stranger, nor one without TLS, told anything."""
    over = threading.Event()

    def hold(_connection: socket.socket) -> None:
        over.wait(30)

    with (
        listening(hold, certificates=certificates) as port,
        message_node(tmp_path, _destination(certificates, port), retry_base_s=60, timeout_s=0.5) as node,
    ):
        node.flag()
        node.tick()
        (delivery,) = node.deliveries()
        assert delivery.state is DeliveryState.PENDING
        assert delivery.cause is not None
        assert "too long" in delivery.cause
        over.set()
    stranger = Authority.make(tmp_path / "ca").issue("syslog", tmp_path / "stranger")
    server = _Server()
    for folder in (stranger, None):
        with listening(server.answer, certificates=folder) as port:
            channel = SyslogChannel(_destination(certificates, port), host_name="node", timeout_s=1)
            with pytest.raises(Unreachable):
                channel.check()
    assert server.lines == []
    with listening(server.answer, certificates=certificates) as port:
        channel = SyslogChannel(_destination(certificates, port), host_name="node", timeout_s=5)
        assert channel.check() == f"127.0.0.1:{port} speaks TLS"
