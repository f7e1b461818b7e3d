"""TLS handshakes and certificate folders: who gets through, what is refused and why."""

import shutil
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tls_peers import Authority, Caller, client_context, openssl

from dicom_node.cli.checks import Level, tls
from dicom_node.network.tls import CertificateFolder, HandshakeFailed, UnusableCertificates, handshake, warn_of_expiry
from dicom_node.settings import Settings

pytestmark = [
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed"),
    pytest.mark.usefixtures("dropped_sockets"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_both_sides_show_a_certificate(node: CertificateFolder, peer: Path, pair: tuple) -> None:
    """A peer of the hospital's authority gets through, and bytes pass."""
    caller = Caller(pair[1], client_context(peer))
    with handshake(pair[0], node.server_context(), deadline_s=10) as connection:
        assert connection.recv(5) == b"hello"
        assert connection.version() in {"TLSv1.2", "TLSv1.3"}
    caller.join(10)


def test_without_a_certificate_or_of_another_authority_no_peer_gets_through(
    node: CertificateFolder, peer: Path, make_authority: Callable[[], Authority], tmp_path: Path
) -> None:
    """No certificate, or one that a stranger signed: refused, with a reason that says which."""
    stranger = make_authority().issue("scanner", tmp_path / "stranger")
    shutil.copy(peer / "trusted" / "hospital.pem", stranger / "trusted")
    for context, reason in (
        (client_context(peer, with_certificate=False), "peer did not return a certificate"),
        (client_context(stranger), "not trusted"),
    ):
        ours, theirs = socket.socketpair()
        caller = Caller(theirs, context)
        with ours, theirs, pytest.raises(HandshakeFailed, match=reason):
            handshake(ours, node.server_context(), deadline_s=10)
        caller.join(10)


def test_a_single_certificate_may_be_trusted(authority: Authority, peer: Path, tmp_path: Path, pair: tuple) -> None:
    """With nothing but the scanner's own certificate in trusted/, that scanner gets through."""
    folder = authority.issue("node", tmp_path / "pinned")
    (folder / "trusted" / "hospital.pem").unlink()
    shutil.copy(peer / "certificate.pem", folder / "trusted" / "scanner.crt")
    caller = Caller(pair[1], client_context(peer))
    with handshake(pair[0], CertificateFolder(folder).server_context(), deadline_s=10) as connection:
        assert connection.recv(5) == b"hello"
    caller.join(10)


def test_old_protocols_are_refused(node: CertificateFolder, peer: Path, pair: tuple) -> None:
    """TLS 1.2 without forward secrecy finds no suite in common."""
    context = client_context(peer)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AES256-GCM-SHA384")
    caller = Caller(pair[1], context)
    with pytest.raises(HandshakeFailed, match="cipher"):
        handshake(pair[0], node.server_context(), deadline_s=10)
    caller.join(10)


def test_a_peer_that_speaks_no_tls_is_refused_at_once(node: CertificateFolder, pair: tuple) -> None:
    """Plain DICOM on the TLS port ends with a reason, not with a wait."""
    pair[1].sendall(b"\x01\x00\x00\x00\x00\xc8\x00\x01" + bytes(192))
    with pytest.raises(HandshakeFailed, match="version"):
        handshake(pair[0], node.server_context(), deadline_s=10)


def test_silence_and_trickle_end_with_the_deadline(node: CertificateFolder) -> None:
    """A peer that sends nothing, and one that sends a byte each 20 ms, are both refused in the time of the whole."""
    for trickle in (False, True):
        ours, theirs = socket.socketpair()
        done = threading.Event()

        def drip(to: socket.socket = theirs, done: threading.Event = done) -> None:
            for byte in b"\x16\x03\x01\x02\x00" + bytes(1000):
                if done.wait(0.02):
                    return
                try:
                    to.send(bytes([byte]))
                except OSError:
                    return

        thread = threading.Thread(target=drip, daemon=True)
        if trickle:
            thread.start()
        started = time.monotonic()
        with ours, theirs, pytest.raises(HandshakeFailed, match="too long"):
            handshake(ours, node.server_context(), deadline_s=0.3)
        assert time.monotonic() - started < 5
        done.set()
        if trickle:
            thread.join(10)


def served_serial(node: CertificateFolder, peer: Path) -> object:
    """The serial number of the certificate that the node shows now."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        caller = Caller(theirs, client_context(peer))
        with handshake(ours, node.server_context(), deadline_s=10) as connection:
            connection.recv(5)
        caller.join(10)
    assert caller.certificate is not None
    return caller.certificate["serialNumber"]


def test_a_new_certificate_is_shown_without_a_restart(
    authority: Authority, node: CertificateFolder, peer: Path, tmp_path: Path
) -> None:
    """Half a change (the certificate without its key) leaves the old one in force; the whole one is shown next."""
    context = node.server_context()
    assert node.server_context() is context
    old = served_serial(node, peer)
    renewed = authority.issue("node", tmp_path / "renewed")

    shutil.copy(renewed / "certificate.pem", node.folder / "certificate.pem")
    assert served_serial(node, peer) == old
    shutil.copy(renewed / "key.pem", node.folder / "key.pem")

    assert served_serial(node, peer) != old


@pytest.mark.parametrize("with_key", [True, False])
def test_without_trust_nobody_comes_in(
    node: CertificateFolder, peer: Path, pair: tuple[socket.socket, socket.socket], with_key: bool
) -> None:
    """The last trusted certificate is taken away while the node runs: its owner no longer gets through."""
    assert served_serial(node, peer)
    (node.folder / "trusted" / "hospital.pem").unlink()
    if not with_key:
        (node.folder / "key.pem").unlink()
    ours, theirs = pair
    Caller(theirs, client_context(peer))
    with pytest.raises(HandshakeFailed):
        handshake(ours, node.server_context(), deadline_s=10)


def test_every_suite_that_is_announced_can_be_negotiated(node: CertificateFolder, peer: Path) -> None:
    """None of the TLS 1.2 suites needs what the node does not have (parameters for DHE)."""
    names = [suite["name"] for suite in node.server_context().get_ciphers()]
    assert names
    assert not [name for name in names if name.startswith("DHE")]
    assert peer


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda folder: (folder / "key.pem").unlink(), "No such file"),
        (lambda folder: (folder / "certificate.pem").write_text("x"), "certificate.pem"),
        (lambda folder: (folder / "trusted" / "hospital.pem").unlink(), "holds no"),
        (lambda folder: (folder / "trusted" / "hospital.pem").write_text("x"), "hospital.pem"),
    ],
)
def test_a_folder_that_cannot_be_used_says_which_file(
    authority: Authority, tmp_path: Path, spoil: Callable[[Path], object], told: str
) -> None:
    """A missing key, garbage, and an empty list of whom to trust: told by file at the start."""
    folder = authority.issue("node", tmp_path / "node")
    spoil(folder)
    with pytest.raises(UnusableCertificates, match=told):
        CertificateFolder(folder).server_context()


def test_an_encrypted_key_is_refused_and_does_not_ask(authority: Authority, tmp_path: Path) -> None:
    """Nobody is there to type a password."""
    folder = authority.issue("node", tmp_path / "node")
    openssl("ec", "-in", folder / "key.pem", "-aes256", "-passout", "pass:secret", "-out", folder / "locked.pem")
    (folder / "locked.pem").replace(folder / "key.pem")
    with pytest.raises(UnusableCertificates, match="encrypted"):
        CertificateFolder(folder).server_context()


def test_expiry_is_told_in_time(authority: Authority, tmp_path: Path) -> None:
    """A certificate of ten days is named within thirty days of its end, and not within five."""
    folder = CertificateFolder(authority.issue("node", tmp_path / "short", days=10))
    assert [one.file for one in warn_of_expiry(folder, within_days=30)] == ["certificate.pem"]
    assert warn_of_expiry(folder, within_days=5) == []
    later = datetime.now(UTC) + timedelta(days=11)
    assert [one.file for one in warn_of_expiry(folder, within_days=0, clock=lambda: later)] == ["certificate.pem"]


def test_doctor_tells_how_long_certificates_hold(authority: Authority, tmp_path: Path) -> None:
    """Fine, about to end, and a folder that cannot be used: ok, warn and fail, by name."""
    folder = authority.issue("node", tmp_path / "short", days=10)
    settings = Settings(tls={"certificates": folder})
    short, long = tls(settings)
    assert (short.level, long.level) == (Level.WARN, Level.OK)
    assert "certificate.pem" in short.name
    (folder / "key.pem").unlink()
    (broken,) = tls(settings)
    assert broken.level is Level.FAIL
    assert not list(tls(Settings()))
