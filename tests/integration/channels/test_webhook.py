"""Messages go to a server that checks their signature, once each, and say no more of the patient than they may."""

import base64
import io
import json
import logging
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import structlog
from message_node import IDENTIFIED, WORKLIST, message_node, told_of_phantom
from standardwebhooks import Webhook
from tls_peers import Authority

from alerts import DeliveryState
from alerts.wording import RESEARCH_USE
from dicom_node.delivery import NotAdmitted, Unreachable
from dicom_node.delivery.webhook import WebhookChannel
from dicom_node.logs import configure
from dicom_node.settings import Logging, Settings, WebhookDestination, document, shown

OLD, NEW = (f"whsec_{base64.b64encode(word * 4).decode()}" for word in (b"of last year", b"of this year"))


@dataclass
class _Receiver:
    """Takes what is signed with its secret; ``replies`` are given first, to requests that are right as well."""

    secret: str = NEW
    port: int = 0
    told: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    replies: list[int] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)


def _handler(receiver: _Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            told = Webhook(receiver.secret).verify(body, dict(self.headers))
            receiver.ids.append(self.headers["webhook-id"])
            status = receiver.replies.pop(0) if receiver.replies else 200
            if status == 200:
                receiver.told.append((self.headers["webhook-id"], told))
                receiver.bodies.append(body)
            self._reply(status)

        def do_HEAD(self) -> None:
            self._reply(405)

        def _reply(self, status: int) -> None:
            self.send_response(status)
            self.send_header("content-length", "0")
            if 300 <= status < 400:
                self.send_header("location", f"https://127.0.0.1:{receiver.port}/elsewhere")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    return Handler


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """A handshake that fails is the test's to notice."""


@contextmanager
def _serving(folder: Path, receiver: _Receiver, port: int = 0) -> Iterator[_Receiver]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    with _Server(("127.0.0.1", port), _handler(receiver)) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        receiver.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("webhook")
    return Authority.make(folder / "ca").issue("portal", folder / "portal")


def _destination(folder: Path, certificates: Path, port: int, **other: Any) -> WebhookDestination:
    secret = folder / "secret"
    secret.write_text(f"{NEW}\n{OLD}\n")
    values: dict[str, Any] = {"name": "Portal", "url": f"https://127.0.0.1:{port}/hook?token=abc"}
    return WebhookDestination(**(values | {"secret_file": secret, "certificates": certificates} | other))


@pytest.mark.parametrize("identify", IDENTIFIED)
def test_signed_request_arrives_once(tmp_path: Path, certificates: Path, identify: str) -> None:
    """Figures, link and the research-use line; of the patient what may be told."""
    with _serving(certificates, _Receiver()) as receiver:
        settings = _destination(tmp_path, certificates, receiver.port, identify=identify)
        with message_node(tmp_path, settings) as node:
            recorded = node.flag()
            node.tick()
            node.tick()
            ((_, told),) = receiver.told
            assert told["type"] == "examination.flagged"
            assert told["data"]["burden_percent"] == 10.0
            assert told["data"]["link"] == f"{WORKLIST}/alerts/{recorded.alert_id}"
            assert told["data"]["notice"] == RESEARCH_USE
            assert told_of_phantom(*receiver.bodies) == IDENTIFIED[identify]
            assert node.states() == [DeliveryState.SENT]


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """What a node logs, however much."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure(Logging(format="json", level="DEBUG"), role="scheduler", stream=stream)
    yield stream
    logging.captureWarnings(capture=False)
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def test_logs_hold_neither_patient_nor_address(tmp_path: Path, certificates: Path, logged: io.StringIO) -> None:
    """What was told in full is not told in the log, and the token of an address is not either."""
    with _serving(certificates, _Receiver(replies=[503])) as receiver:
        settings = _destination(tmp_path, certificates, receiver.port, identify="full")
        with message_node(tmp_path, settings) as node:
            node.flag()
            node.tick()
            assert node.states() == [DeliveryState.SENT]
    text = logged.getvalue()
    assert "delivery.failed" in text
    assert "delivery.sent" in text
    assert told_of_phantom(text) == set()
    assert "token" not in text


@pytest.mark.parametrize("secret", [OLD, NEW])
def test_both_secrets_are_valid_while_one_takes_the_place_of_the_other(
    tmp_path: Path, certificates: Path, secret: str
) -> None:
    """Whoever checks with the old one, or with the new one, finds the signature right."""
    with _serving(certificates, _Receiver(secret=secret)) as receiver:
        with message_node(tmp_path, _destination(tmp_path, certificates, receiver.port)) as node:
            node.flag()
            node.tick()
        assert len(receiver.told) == 1


def test_server_that_is_down_for_the_whole_run_gets_everything_once_it_is_up(
    tmp_path: Path, certificates: Path
) -> None:
    """Each message once, under the id of its first attempt."""
    receiver = _Receiver(replies=[503])
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    with message_node(tmp_path, _destination(tmp_path, certificates, port)) as node:
        for number in range(3):
            node.flag(number)
            node.tick()
        assert node.states() == [DeliveryState.PENDING] * 3
        with _serving(certificates, receiver, port):
            while DeliveryState.PENDING in node.states():
                node.tick()
        assert node.states() == [DeliveryState.SENT] * 3
    told = [one for one, _ in receiver.told]
    assert len(told) == len(set(told)) == 3
    assert set(receiver.ids) == set(told)


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (503, DeliveryState.PENDING),
        (429, DeliveryState.PENDING),
        (401, DeliveryState.PENDING),
        (400, DeliveryState.FAILED),
        (410, DeliveryState.FAILED),
        (307, DeliveryState.FAILED),
    ],
)
def test_status_decides_whether_to_try_again(
    tmp_path: Path, certificates: Path, status: int, state: DeliveryState
) -> None:
    """What is of the moment is tried again; a refusal, or being sent elsewhere, is not. No token is told."""
    with _serving(certificates, _Receiver(replies=[status])) as receiver:
        settings = _destination(tmp_path, certificates, receiver.port)
        with message_node(tmp_path, settings, retry_base_s=60) as node:
            node.flag()
            node.tick()
            (delivery,) = node.deliveries()
            assert delivery.state is state
            assert delivery.cause is not None
            assert str(status) in delivery.cause
            assert "token" not in delivery.cause
    assert receiver.told == []


def test_silent_server_is_left_after_its_time(tmp_path: Path, certificates: Path) -> None:
    """Who takes the connection and says nothing, and who is a stranger, gets no message; it is tried again."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = _destination(tmp_path, certificates, silent.getsockname()[1])
        with pytest.raises(Unreachable, match="too long"):
            WebhookChannel(settings, timeout_s=0.2).check()
    stranger = Authority.make(tmp_path / "ca").issue("portal", tmp_path / "stranger")
    with _serving(stranger, _Receiver()) as receiver:
        channel = WebhookChannel(_destination(tmp_path, certificates, receiver.port), timeout_s=10)
        with pytest.raises(Unreachable, match="not trusted"):
            channel.check()


def test_check_asks_without_telling(tmp_path: Path, certificates: Path) -> None:
    """HEAD is answered, whatever with; a secret that cannot be used is told, and not what stands there."""
    with _serving(certificates, _Receiver()) as receiver:
        settings = _destination(tmp_path, certificates, receiver.port)
        channel = WebhookChannel(settings, timeout_s=10)
        assert channel.check() == f"127.0.0.1:{receiver.port} answered HEAD with 405"
        settings.secret_file.write_text("x\n")
        with pytest.raises(NotAdmitted) as refused:
            channel.check()
        assert "base64" in str(refused.value)
    assert receiver.told == []


def test_what_follows_the_question_mark_is_not_shown(tmp_path: Path, certificates: Path) -> None:
    """Neither shown settings nor their document, nor a list, hold the token of an address."""
    destination = _destination(tmp_path, certificates, 443)
    settings = Settings(destinations=(destination,))
    assert "abc" not in json.dumps(shown(settings)) + document(settings) + destination.where


@pytest.mark.parametrize("url", ["http://portal.example.org/", "https://user:word@portal.example.org/", "ftp://a/"])
def test_an_address_in_the_clear_or_with_a_password_is_refused(tmp_path: Path, url: str) -> None:
    """Https elsewhere; passwords stand in a file."""
    with pytest.raises(ValueError, match="url"):
        WebhookDestination(name="Portal", url=url, secret_file=tmp_path / "secret")
