"""The audit trail reaches an audit record repository as DICOM audit messages, each of them, also after it was away."""

import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from listeners import free_port, listening
from lxml import etree
from store_bench import DATABASES, STUDY, Bench, opened
from tls_peers import Authority

from db import AuditItem, Stream
from dicom_node.composition import node_sweeps
from dicom_node.delivery.audit_message import Source, message_of
from dicom_node.node import run_scheduler
from dicom_node.settings import Audit, Settings
from dicom_node.sweeps import Sweeps

SCHEMA = etree.RelaxNG(etree.parse(str(Path(__file__).resolve().parents[2] / "factories" / "audit_message.rng")))
HEAD = re.compile(rb"<85>1 \d{4}-\d\d-\d\dT[\d:.]+Z (\S+) lungsentry - DICOM\+RFC3881 - \xef\xbb\xbf(<.*)", re.DOTALL)
SETTLED_S = 31
EXPECTED = (
    ("110114", "110122"),
    ("110103", None),
    ("110103", None),
    ("110113", "110136"),
    ("110113", "110132"),
    ("110104", None),
)
"""A sign-in that failed, a case revealed and one opened, roles set, a restricted function, a series that came."""


@dataclass
class _Repository:
    """Reads frames to the end of what is sent; each must be a message as the Standard has it."""

    messages: list[ET.Element] = field(default_factory=list)
    deaf: bool = False

    def answer(self, connection: socket.socket) -> None:
        if self.deaf:
            return
        content = b""
        while part := connection.recv(65536):
            content += part
        while content:
            length, _, content = content.partition(b" ")
            frame, content = content[: int(length)], content[int(length) :]
            told = HEAD.fullmatch(frame)
            assert told is not None
            SCHEMA.assertValid(etree.fromstring(told[2]))
            self.messages.append(ET.fromstring(told[2]))  # noqa: S314 - the node's own

    @property
    def codes(self) -> list[tuple[str, str | None]]:
        """Event and type of each message."""
        return [(_code(one, "EventID") or "", _code(one, "EventTypeCode")) for one in self.messages]


def _code(message: ET.Element, name: str) -> str | None:
    found = message.find(f"EventIdentification/{name}")
    return None if found is None else found.get("csd-code")


def _objects(message: ET.Element) -> list[str | None]:
    return [one.get("ParticipantObjectID") for one in message.iter("ParticipantObjectIdentification")]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audit")
    return Authority.make(folder / "ca").issue("repository", folder / "repository")


@pytest.fixture(params=DATABASES)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    with opened(request.param, tmp_path) as one:
        yield one


def _look(bench: Bench, settings: Settings) -> None:
    (audit,) = (one for one in node_sweeps(settings, bench.store, {}) if one.name == "audit")
    runner = Sweeps([audit], leads=lambda: True)
    runner.tick(audit)
    runner.wait()


def test_everything_is_told_once_and_in_order_also_after_the_server_was_away(
    bench: Bench, tmp_path: Path, certificates: Path
) -> None:
    """Sign-in, a case that was seen, a change of roles, what came and went: valid messages, with study and patient."""
    repository, port, store = _Repository(), free_port(), bench.store
    settings = Settings.model_validate(
        {
            "node": {"data_dir": tmp_path},
            "audit": Audit(host="127.0.0.1", port=port, certificates=certificates),
        }
    )
    store.audit.record(who="ann", action="signed in", address="10.0.0.1", detail="before anybody asked")
    store.audit_feed.begin()
    recorded = bench.record(bench.running(f"{STUDY}.1"), destinations="P")
    store.audit.record(who="ann", action="sign-in failed", address="10.0.0.1")
    store.audit.record(who="ann", action="revealed", subject=f"alert {recorded.alert_id}", address="10.0.0.1")
    store.feedback.open(recorded.alert_id, "ann")
    store.audit.record(who="bob", action="roles set", subject="ann", detail="reader")
    store.audit.record(who="bob", action="destination paused", subject="P")
    _look(bench, settings)
    with listening(repository.answer, certificates=certificates, port=port):
        _look(bench, settings)
        assert not repository.messages, "what is young waits, so that nothing with a smaller number is passed over"
        bench.clock.advance(SETTLED_S)
        repository.deaf = True
        _look(bench, settings)
        repository.deaf = False
        _look(bench, settings)
        trail = repository.codes
        _look(bench, settings)
    assert sorted(map(str, trail)) == sorted(map(str, EXPECTED))
    assert len(repository.messages) == 6
    (failed,) = (one for one in repository.messages if _code(one, "EventID") == "110114")
    seen = [one for one in repository.messages if _code(one, "EventID") == "110103"]
    assert failed.find("EventIdentification[@EventOutcomeIndicator='4']") is not None
    assert failed.find("ActiveParticipant[@UserID='ann'][@NetworkAccessPointID='10.0.0.1']") is not None
    assert [_objects(one) for one in seen] == [[STUDY, "PAT-4711"]] * 2
    (came,) = (one for one in repository.messages if _code(one, "EventID") == "110104")
    assert _objects(came) == [STUDY, "PAT-4711"]


def test_a_text_that_xml_cannot_hold_does_not_hold_up_the_trail() -> None:
    """It is replaced, and the message is valid."""
    item = AuditItem(
        at=datetime.now(UTC), who="a\x00n", action="revealed", study_instance_uid=STUDY, patient_id="1\x0b2\ud800"
    )
    message = message_of(item, Source(ae_title="LUNGSENTRY", host_name="node"))
    SCHEMA.assertValid(etree.fromstring(message))
    assert "1\ufffd2\ufffd".encode() in message


def test_the_schedulers_start_and_stop_are_in_the_trail(bench: Bench, tmp_path: Path) -> None:
    """Where there is a repository, and only there; each is an application activity to it."""
    for host, expected in ((None, []), ("arr.example.org", ["application stopped", "application started"])):
        settings = Settings.model_validate(
            {"node": {"data_dir": tmp_path}, "database": {"url": bench.url}, "audit": {"host": host}}
        )
        settings.archive_dir.mkdir(exist_ok=True)
        stop = threading.Event()
        run_scheduler(settings, stop, stop.set)
        assert [entry.action for entry in bench.store.audit.list()] == expected
    bench.clock.advance(400 * 86_400)
    items, _ = bench.store.audit_feed.next(Stream.TRAIL)
    source = Source(ae_title="LUNGSENTRY", host_name="node")
    messages = [ET.fromstring(message_of(item, source)) for item in items]  # noqa: S314 - the node's own
    assert [(_code(one, "EventID"), _code(one, "EventTypeCode")) for one in messages] == [
        ("110100", "110120"),
        ("110100", "110121"),
    ]


def test_nothing_is_told_where_nobody_is_set(bench: Bench) -> None:
    """The sweep has no units."""
    (audit,) = (one for one in node_sweeps(Settings(), bench.store, {}) if one.name == "audit")
    assert list(audit.units()) == []
