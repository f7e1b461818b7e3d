"""``echo``, ``send`` and ``simulate`` against a real DICOM peer on this machine."""

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import structlog
from listeners import free_port
from pydicom.uid import CTImageStorage
from pynetdicom import AE, evt
from typer.testing import CliRunner

from dicom_node.cli import app

_VERIFICATION = "1.2.840.10008.1.1"


@contextmanager
def _peer(*, store_status: int = 0x0000, calling: str | None = None) -> Iterator[tuple[int, list[str]]]:
    """A peer named PEER that answers C-ECHO and C-STORE; yields its port and the series it was sent."""
    received: list[str] = []

    def on_store(event: evt.Event) -> int:
        received.append(str(event.dataset.SeriesInstanceUID))
        return store_status

    entity = AE("PEER")
    entity.require_called_aet = True
    if calling:
        entity.require_calling_aet = [calling]
    entity.add_supported_context(_VERIFICATION)
    entity.add_supported_context(CTImageStorage)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, on_store)])
    try:
        yield server.socket.getsockname()[1], received
    finally:
        server.shutdown()


@pytest.fixture
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder without settings."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A command sets up logging for its process; here the process goes on."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def _to(port: int, *words: str, option: str = "--to") -> list[str]:
    return [*words, *([option, "PEER"] if option else ["PEER"]), "--host", "127.0.0.1", "--port", str(port)]


@pytest.mark.usefixtures("at_home")
def test_echo_of_a_peer_that_answers() -> None:
    """A peer that answers C-ECHO is exit code 0, and JSON says who answered."""
    with _peer() as (port, _):
        done = CliRunner().invoke(app, [*_to(port, "echo", option=""), "--json"])
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert (answer["ae_title"], answer["port"]) == ("PEER", port)
    assert answer["seconds"] > 0


def test_echo_where_nothing_listens_is_exit_code_3(at_home: Path) -> None:
    """The installed command tells in one line that a peer is not there."""
    command = Path(sys.executable).with_name("lungsentry")
    done = subprocess.run(
        [command, *_to(free_port(), "echo", option="")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=at_home,
    )
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.usefixtures("at_home")
def test_echo_that_is_rejected_is_exit_code_1() -> None:
    """A peer that is there and does not know us is refused work, not unreachable."""
    with _peer(calling="ONLYME") as (port, _):
        done = CliRunner().invoke(app, _to(port, "echo", option=""))
    assert done.exit_code == 1, done.output
    assert done.stderr.startswith("error: ")


@pytest.mark.usefixtures("at_home")
def test_simulate_sends_a_phantom_and_says_its_truth() -> None:
    """The series that arrives is the one named, and the truth beside it is the phantom's."""
    with _peer() as (port, received):
        done = CliRunner().invoke(
            app, [*_to(port, "simulate", "cardiac-ctac", "--matrix", "128", "--ggo-ml", "20"), "--json"]
        )
    assert done.exit_code == 0, done.output
    sent = json.loads(done.stdout)
    assert sent["series_instance_uids"] == sorted(set(received))
    assert sent["stored"] == len(received) > 0
    assert sent["not_stored"] == []
    truth = sent["truth"]
    assert truth["ggo_volume_ml"] == pytest.approx(20, rel=0.05)
    lesions = truth["ggo_volume_ml"] + truth["high_opacity_volume_ml"]
    assert truth["burden_percent"] == pytest.approx(100 * lesions / truth["lung_volume_ml"])


def test_simulate_replays_and_send_keeps_uids(at_home: Path) -> None:
    """`send` sends files as they are, `simulate --replay` the same under new UIDs; both say what was not DICOM."""
    with _peer() as (port, received):
        kept = at_home / "kept"
        made = CliRunner().invoke(app, _to(port, "simulate", "cardiac-ctac", "--matrix", "128", "--keep", str(kept)))
        assert made.exit_code == 0, made.output
        original = set(received)
        received.clear()
        (kept / "notes.txt").write_text("not DICOM")
        sent = CliRunner().invoke(app, _to(port, "send", str(kept)))
        assert sent.exit_code == 1
        assert "notes.txt" in sent.stderr
        assert set(received) == original
        received.clear()
        replayed = CliRunner().invoke(app, _to(port, "simulate", "--replay", str(kept)))
        assert replayed.exit_code == 0, replayed.output
        assert len(set(received)) == 1
        assert set(received).isdisjoint(original)


@pytest.mark.usefixtures("at_home")
def test_images_that_are_refused_are_exit_code_1() -> None:
    """A peer whose disk is full refuses every image: each is told with its status, and the exit code is 1."""
    with _peer(store_status=0xA700) as (port, _):
        done = CliRunner().invoke(app, _to(port, "simulate", "cardiac-ctac", "--matrix", "128"))
    assert done.exit_code == 1
    assert "0xA700" in done.stderr
    assert "0 of" in done.stdout


@pytest.mark.usefixtures("at_home")
@pytest.mark.parametrize(
    "words",
    [
        ["simulate"],
        ["simulate", "normal", "--replay", "x"],
        ["simulate", "--replay", "x", "--seed", "1"],
        ["simulate", "--replay", "nowhere"],
        ["simulate", "normal", "--matrix", "100"],
        ["simulate", "cardiac-ctac", "--matrix", "128", "--ggo-ml", "90000"],
        ["send", "nowhere"],
    ],
)
def test_what_cannot_be_sent_is_exit_code_2(words: list[str]) -> None:
    """Options that contradict each other and files that are not there are usage errors, found before connecting."""
    done = CliRunner().invoke(app, _to(free_port(), *words))
    assert done.exit_code == 2, done.output
    assert done.stderr.startswith("error: ")
