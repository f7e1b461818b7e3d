"""Messages go by mail to a server that demands STARTTLS, once each, and say no more of the patient than they may."""

import asyncio
import email
import email.policy
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import node_harness as harness
import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from message_node import IDENTIFIED, WORKLIST, MessageNode, message_node, told_of_phantom
from tls_peers import Authority

from alerts import DeliveryState
from alerts.wording import RESEARCH_USE
from dicom_node.delivery import DeliveryError, NotAdmitted
from dicom_node.delivery.mail import MailChannel
from dicom_node.settings import MailDestination

PASSWORD = "for the mail server"  # noqa: S105 - opens nothing else


@dataclass
class _Server:
    """A mail server; ``replies`` are given to the next mails instead of 250, ``refused`` are no readers of it."""

    port: int = 0
    mails: list[Envelope] = field(default_factory=list)
    replies: list[str] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if address in self.refused:
            return "550 no such reader"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert session.ssl is not None
        if self.replies:
            return self.replies.pop(0)
        self.mails.append(envelope)
        return "250 OK"

    @property
    def texts(self) -> list[str]:
        return [_parsed(one).get_content() for one in self.mails]


def _parsed(envelope: Envelope) -> Any:
    assert isinstance(envelope.content, bytes)
    return email.message_from_bytes(envelope.content, policy=email.policy.default)


def _sign_in(_server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: LoginPassword) -> AuthResult:
    return AuthResult(success=data.password == PASSWORD.encode(), handled=False)


@contextmanager
def _serving(folder: Path, server: _Server | None = None, *, tls: bool = True, port: int = 0) -> Iterator[_Server]:
    made = server or _Server()
    options: dict[str, Any] = {}
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
        options = {"tls_context": context, "require_starttls": True}
    loop = asyncio.new_event_loop()
    smtp = partial(SMTP, made, authenticator=_sign_in, auth_require_tls=True, loop=loop, **options)
    listening = loop.run_until_complete(loop.create_server(smtp, "127.0.0.1", port))
    made.port = listening.sockets[0].getsockname()[1]
    serving = threading.Thread(target=loop.run_forever)
    serving.start()
    try:
        yield made
    finally:
        loop.call_soon_threadsafe(loop.stop)
        serving.join()
        listening.close()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mail")
    return Authority.make(folder / "ca").issue("mail", folder / "mail")


def _destination(certificates: Path, port: int, **other: Any) -> MailDestination:
    values: dict[str, Any] = {
        "name": "Ward",
        "host": "127.0.0.1",
        "port": port,
        "sender": "node@example.org",
        "to": ("ward@example.org", "reader@example.org"),
        "after": "flagged",
        "certificates": certificates,
    }
    return MailDestination(**(values | other))


@contextmanager
def _node(folder: Path, certificates: Path, server: _Server, **other: Any) -> Iterator[MessageNode]:
    with message_node(folder, _destination(certificates, server.port, **other)) as node:
        yield node


@pytest.mark.parametrize("identify", IDENTIFIED)
def test_flagged_examination_is_mailed_once(tmp_path: Path, certificates: Path, identify: str) -> None:
    """One mail to every reader with headline, link and the research-use line; of the patient what may be told."""
    with _serving(certificates) as server, _node(tmp_path, certificates, server, identify=identify) as node:
        recorded = node.flag()
        node.tick()
        node.tick()
        (mail,) = server.mails
        assert mail.rcpt_tos == ["ward@example.org", "reader@example.org"]
        parsed, (text,) = _parsed(mail), server.texts
        assert "opacities" in parsed["Subject"]
        assert parsed["Auto-Submitted"] == "auto-generated"
        assert RESEARCH_USE in text
        assert f"{WORKLIST}/alerts/{recorded.alert_id}" in text
        assert isinstance(mail.content, bytes)
        assert told_of_phantom(mail.content, text) == IDENTIFIED[identify]
        assert node.states() == [DeliveryState.SENT]


def test_server_that_is_down_for_the_whole_run_gets_everything_once_it_is_up(
    tmp_path: Path, certificates: Path
) -> None:
    """What could not be told waits; then it goes in one mail, under the same name however often it is tried."""
    with _serving(certificates) as server:
        port = server.port
    with message_node(tmp_path, _destination(certificates, port), retry_base_s=0.2) as node:
        for number in range(3):
            node.flag(number)
            node.tick()
        assert node.states() == [DeliveryState.PENDING] * 3
        with _serving(certificates, server, port=port):
            server.replies.append("451 later")
            while DeliveryState.PENDING in node.states():
                due = max(one.not_before for one in node.deliveries())  # who has failed more often waits longer
                harness.wait_until(lambda due=due: datetime.now(UTC) >= due, what="the next attempt of each")
                node.tick()
        (mail,) = server.mails
        assert _parsed(mail)["Subject"] == "Lungsentry: 3 flagged examinations"
        assert node.states() == [DeliveryState.SENT] * 3


@pytest.mark.parametrize(
    ("reply", "state"), [("451 later", DeliveryState.PENDING), ("554 never", DeliveryState.FAILED)]
)
def test_reply_decides_whether_to_try_again(
    tmp_path: Path, certificates: Path, reply: str, state: DeliveryState
) -> None:
    """4yz is of the moment, 5yz is not; the cause is the code."""
    with (
        _serving(certificates) as server,
        message_node(tmp_path, _destination(certificates, server.port), retry_base_s=60) as node,
    ):
        server.replies = [reply]
        node.flag()
        node.tick()
        (delivery,) = node.deliveries()
        assert delivery.state is state
        assert delivery.cause is not None
        assert reply[:3] in delivery.cause
        assert server.mails == []


def test_a_reader_who_is_refused_is_told_of_in_the_answer(tmp_path: Path, certificates: Path) -> None:
    """The others get the mail; refused by all it is a dead letter."""
    with _serving(certificates) as server, _node(tmp_path, certificates, server) as node:
        server.refused = {"ward@example.org"}
        node.flag()
        node.tick()
        assert server.mails[0].rcpt_tos == ["reader@example.org"]
        (event,) = (one for one in node.store.series.events("1.2.3.1") if one.event == "confirm")
        assert event.detail == "250; 1 of 2 readers refused ([550])"
        server.refused.add("reader@example.org")
        node.flag(2)
        node.tick()
        assert node.states() == [DeliveryState.SENT, DeliveryState.FAILED]


def test_nothing_goes_without_tls_that_is_trusted(tmp_path: Path, certificates: Path) -> None:
    """A server without STARTTLS, or with a certificate of somebody else, is given nothing; it is tried again."""
    stranger = Authority.make(tmp_path / "ca").issue("mail", tmp_path / "stranger")
    for folder, tls in ((certificates, False), (stranger, True)):
        with _serving(folder, tls=tls) as server:
            channel = MailChannel(_destination(certificates, server.port), timeout_s=10)
            with pytest.raises(DeliveryError) as refused:
                channel.check()
            assert refused.value.transient
            assert server.mails == []


def test_sign_in_reads_the_password_when_it_is_needed(tmp_path: Path, certificates: Path) -> None:
    """A changed password is taken up at once, a wrong one is worth another attempt, and neither is told."""
    secret = tmp_path / "password"
    with _serving(certificates) as server:
        settings = _destination(certificates, server.port, user="node", password_file=secret)
        channel = MailChannel(settings, timeout_s=10)
        with pytest.raises(NotAdmitted, match="cannot be read"):
            channel.check()
        secret.write_text("wrong\n")
        with pytest.raises(NotAdmitted, match="535") as refused:
            channel.check()
        assert "wrong" not in str(refused.value)
        secret.write_text(f"{PASSWORD}\n")
        assert channel.check() == f"127.0.0.1:{server.port} speaks TLS and lets the node in"


def test_a_threshold_that_is_set_wrongly_floods_nobody(tmp_path: Path, certificates: Path) -> None:
    """Whatever is flagged, no more letters go in an hour than the settings allow; the rest waits."""
    with _serving(certificates) as server, _node(tmp_path, certificates, server, most_per_hour=2) as node:
        for number in range(5):
            node.flag(number)
            node.tick()
        assert len(server.mails) == 2
        assert node.states() == [DeliveryState.SENT] * 2 + [DeliveryState.PENDING] * 3
