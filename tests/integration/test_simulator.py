"""The simulated scanner against real judges: a Storage SCP, and dciodvfy."""

import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom.uid import JPEGLSLossless, RLELossless
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage, Verification

from dicom_node.peers.errors import NothingToSend, Rejected, Unreachable
from dicom_node.peers.remote import Remote
from dicom_node.peers.scu import echo
from dicom_node.peers.sending import Outcome, Progress
from dicom_node.simulator import (
    Phantom,
    PhantomSpec,
    Variant,
    build_phantom,
    header_for,
    send_files,
    write_pet_series,
    write_series,
    write_variant,
)


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return build_phantom(PhantomSpec.cardiac_ctac(matrix=128))


@contextmanager
def listening(
    on_store: Callable[[evt.Event], int], *, known_callers: list[str] | None = None, syntaxes: list[str] | None = None
) -> Iterator[int]:
    """A Storage SCP on a free port."""
    entity = AE(ae_title="TESTSCP")
    entity.require_called_aet = True
    entity.require_calling_aet = known_callers or []
    entity.add_supported_context(Verification)
    if syntaxes:
        entity.add_supported_context(CTImageStorage, syntaxes)
    else:
        entity.add_supported_context(CTImageStorage)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, on_store)])
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


def remote(port: int, *, ae_title: str = "TESTSCP", host: str = "127.0.0.1") -> Remote:
    return Remote(ae_title=ae_title, host=host, port=port, calling_ae_title="SIMSCANNER", timeout_s=5)


def test_files_arrive_as_they_lie(phantom: Phantom, tmp_path: Path) -> None:
    """The peer gets every file's own bytes after the meta information, over several associations."""
    paths = write_series(phantom, tmp_path)
    received: dict[str, bytes] = {}

    def keep(event: evt.Event) -> int:
        received[str(event.request.AffectedSOPInstanceUID)] = event.request.DataSet.getvalue()
        return 0x0000

    progress: list[Progress] = []
    with listening(keep) as port:
        report = send_files(
            paths,
            host="127.0.0.1",
            port=port,
            called_ae_title="TESTSCP",
            associations=3,
            on_progress=progress.append,
        )
    assert report.ok
    assert [file.path for file in report.files] == paths
    assert all(
        path.read_bytes().endswith(received[file.sop_instance_uid or ""])
        for path, file in zip(paths, report.files, strict=True)
    )
    assert [each.done for each in progress] == list(range(1, len(paths) + 1))


def test_refusals_are_reported_with_their_status(phantom: Phantom, tmp_path: Path) -> None:
    """A refused file is told with its status and meaning; the others are sent; nothing is sent twice."""
    paths = write_series(phantom, tmp_path)[:4]
    seen: list[str] = []

    def refuse_second(event: evt.Event) -> int:
        seen.append(str(event.request.AffectedSOPInstanceUID))
        return 0xA700 if len(seen) == 2 else 0x0000

    with listening(refuse_second) as port:
        report = send_files(paths, host="127.0.0.1", port=port, called_ae_title="TESTSCP")
    (refused,) = report.not_stored
    assert (refused.path, refused.status, refused.outcome) == (paths[1], 0xA700, Outcome.REFUSED)
    assert "Out of Resources" in refused.reason
    assert len(seen) == len(set(seen)) == 4


def test_a_text_file_and_an_unwanted_syntax_do_not_stop_the_rest(phantom: Phantom, tmp_path: Path) -> None:
    """What cannot be sent is named with its reason, and what can be sent is."""
    text = tmp_path / "notes.txt"
    text.write_text("not an image")
    plain = write_series(phantom, tmp_path / "a")[0]
    packed = write_series(phantom, tmp_path / "b", header_for(phantom, transfer_syntax_uid=str(JPEGLSLossless)))[0]
    with listening(lambda _event: 0x0000) as port:
        report = send_files([text, packed, plain], host="127.0.0.1", port=port, called_ae_title="TESTSCP")
    assert [file.outcome for file in report.files] == [
        Outcome.NOT_SENT,
        Outcome.NOT_SENT,
        Outcome.STORED,
    ]
    assert "not a DICOM file" in report.files[0].reason
    assert str(JPEGLSLossless) in report.files[1].reason


def test_compressed_files_are_sent_in_their_own_syntax(phantom: Phantom, tmp_path: Path) -> None:
    """The presentation context is that of the file; nothing is transcoded."""
    path = write_series(phantom, tmp_path, header_for(phantom, transfer_syntax_uid=str(RLELossless)))[0]
    syntaxes: list[str] = []

    def note(event: evt.Event) -> int:
        syntaxes.append(str(event.context.transfer_syntax))
        return 0x0000

    with listening(note, syntaxes=[str(RLELossless)]) as port:
        report = send_files([path], host="127.0.0.1", port=port, called_ae_title="TESTSCP")
    assert report.ok
    assert syntaxes == [str(RLELossless)]


def test_an_unknown_caller_is_told_what_to_ask_for(phantom: Phantom, tmp_path: Path) -> None:
    """The error names the command that lets this caller in."""
    path = write_series(phantom, tmp_path)[0]
    with (
        listening(lambda _event: 0x0000, known_callers=["CT1"]) as port,
        pytest.raises(Rejected, match="lungsentry peers allow SIMSCANNER --address"),
    ):
        send_files([path], host="127.0.0.1", port=port, called_ae_title="TESTSCP")


def test_a_wrong_called_ae_title_is_named() -> None:
    """The error says that the peer answers to another AE title."""
    with (
        listening(lambda _event: 0x0000) as port,
        pytest.raises(Rejected, match="WRONG is not the AE title"),
    ):
        echo(remote(port, ae_title="WRONG"))


def test_echo_of_a_peer_that_is_there() -> None:
    """A peer that answers is told with its times."""
    with listening(lambda _event: 0x0000) as port:
        report = echo(remote(port))
    assert report.ok
    assert report.echo_s > 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # pynetdicom drops a failed socket open
def test_nothing_listening_is_unreachable() -> None:
    """A closed port is told as such, with what to check."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(Unreachable, match="check host and port"):
        echo(remote(port))


def test_an_unknown_host_is_unreachable() -> None:
    """A name that does not resolve is told as such."""
    with pytest.raises(Unreachable, match=r"no-such-host\.invalid"):
        echo(remote(104, host="no-such-host.invalid"))


def test_no_dicom_at_all_is_an_error(tmp_path: Path) -> None:
    """Sending only text files is an error before any connection."""
    text = tmp_path / "notes.txt"
    text.write_text("not an image")
    with pytest.raises(NothingToSend):
        send_files([text], host="127.0.0.1", port=1)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed")
@pytest.mark.parametrize("kind", ["ct", "pt", "chest", "rle", *(variant.value for variant in Variant)])
def test_dciodvfy_finds_no_error(kind: str, phantom: Phantom, tmp_path: Path) -> None:
    """Every kind of series conforms to its IOD."""
    if kind == "ct":
        paths = write_series(phantom, tmp_path)
    elif kind == "pt":
        paths = write_pet_series(phantom, tmp_path)
    elif kind == "chest":
        chest = build_phantom(PhantomSpec.normal(matrix=128))
        paths = write_series(chest, tmp_path)
    elif kind == "rle":
        paths = write_series(phantom, tmp_path, header_for(phantom, transfer_syntax_uid=str(RLELossless)))
    else:
        paths = write_variant(Variant(kind), phantom, tmp_path)
    for path in (paths[0], paths[-1]):
        judged = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
        text = judged.stdout + judged.stderr
        errors = [line for line in text.splitlines() if line.startswith("Error")]
        assert judged.returncode == 0, errors
        assert not errors
