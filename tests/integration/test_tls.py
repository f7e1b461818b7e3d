"""TLS with certificates that openssl made and peers that speak it: dcmtk, Python's ssl, and some that do not."""

import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydicom import dcmread
from typer.testing import CliRunner

from db import Peer, RefusedAssociation, Store
from dicom_node.cli import app
from dicom_node.cli.checks import Level, tls
from dicom_node.delivery import Unreachable
from dicom_node.delivery import store as store_object
from dicom_node.receiver import run_receiver
from dicom_node.settings import Settings, Tls
from dicom_node.simulator import PhantomSpec, build_phantom, write_series
from dicom_node.tls import CertificateFolder, HandshakeFailed, UnusableCertificates, handshake, warn_of_expiry

pytestmark = [
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed"),
    pytest.mark.usefixtures("dropped_sockets"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], capture_output=True, check=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """A hospital's certificate authority."""

    folder: Path

    @property
    def certificate(self) -> Path:
        """Its own certificate."""
        return self.folder / "ca.pem"

    def issue(self, name: str, folder: Path, *, days: int = 365) -> Path:
        """A folder with certificate.pem and key.pem for this name, and this authority as trusted."""
        (folder / "trusted").mkdir(parents=True, exist_ok=True)
        request, extensions = folder / "request.pem", self.folder / "extensions"
        extensions.write_text(f"subjectAltName=DNS:{name},DNS:localhost,IP:127.0.0.1\n")
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        openssl("req", *curve, "-keyout", folder / "key.pem", "-out", request, "-subj", f"/CN={name}")
        signing = ("-CA", self.certificate, "-CAkey", self.folder / "ca-key.pem", "-CAcreateserial")
        openssl("x509", "-req", "-in", request, *signing, "-days", days, "-extfile", extensions, "-out",
                folder / "certificate.pem")  # fmt: skip
        shutil.copy(self.certificate, folder / "trusted" / "hospital.pem")
        return folder


@pytest.fixture(scope="module")
def make_authority(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Authority]:
    def make() -> Authority:
        folder = tmp_path_factory.mktemp("authority")
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        openssl("req", "-x509", *curve, "-days", 365, "-subj", "/CN=Hospital CA",
                "-keyout", folder / "ca-key.pem", "-out", folder / "ca.pem")  # fmt: skip
        return Authority(folder=folder)

    return make


@pytest.fixture(scope="module")
def authority(make_authority: Callable[[], Authority]) -> Authority:
    return make_authority()


@pytest.fixture
def node(authority: Authority, tmp_path: Path) -> CertificateFolder:
    return CertificateFolder(authority.issue("node", tmp_path / "node"))


@pytest.fixture
def peer(authority: Authority, tmp_path: Path) -> Path:
    return authority.issue("scanner", tmp_path / "scanner")


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def client_context(folder: Path, *, with_certificate: bool = True) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(folder / "trusted" / "hospital.pem")
    if with_certificate:
        context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return context


class Caller(threading.Thread):
    """A peer that does the client's side of a handshake and says a word."""

    def __init__(self, connection: socket.socket, context: ssl.SSLContext) -> None:
        super().__init__(daemon=True)
        self.connection, self.context = connection, context
        self.certificate: dict[str, object] | None = None
        self.start()

    def run(self) -> None:
        """Shake hands; what goes wrong is the other side's to tell."""
        self.connection.settimeout(10)
        try:
            with self.context.wrap_socket(self.connection, server_hostname="node") as wrapped:
                self.certificate = wrapped.getpeercert()
                wrapped.sendall(b"hello")
                wrapped.recv(1)
        except OSError:
            """Refused."""


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


@pytest.fixture
def encrypted(
    node: CertificateFolder,
    settings: Settings,
    store: Store,
    receiving: Callable[[Settings], AbstractContextManager[int]],
    free_port: Callable[[], int],
) -> Iterator[tuple[int, int]]:
    """A receiver with both ports, that knows SCANNER: the plain port and the one with TLS."""
    store.peers.allow(Peer(ae_title="SCANNER", called_ae_title=None, cidr=None, host=None, port=None))
    both = settings.model_copy(
        update={
            "receiver": settings.receiver.model_copy(
                update={"host": "127.0.0.1", "port": 0, "disk_watermark_bytes": 0, "processes": 2}
            ),
            "tls": Tls(port=free_port(), certificates=node.folder),
        }
    )
    assert both.tls.port is not None
    with receiving(both) as plain:
        yield plain, both.tls.port


def dcmtk(
    program: str, port: int, *arguments: object, identity: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program of dcmtk as SCANNER; with an identity, by TLS."""
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed (Debian package dcmtk)")
    files = ("key.pem", "certificate.pem", "trusted/hospital.pem")
    key, certificate, authority = (identity / file for file in files) if identity else ("", "", "")
    tls = ("+tls", key, certificate, "+cf", authority) if identity else ()
    command = [program, *tls, "-to", 10, "-aet", "SCANNER", "-aec", "LUNGSENTRY", "127.0.0.1", port, *arguments]
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def ct_file(tmp_path: Path) -> Path:
    """A CT slice of a phantom."""
    return write_series(build_phantom(PhantomSpec.cardiac_ctac(matrix=128)), tmp_path / "ct")[0]


def test_dcmtk_stores_over_both_ports(encrypted: tuple[int, int], peer: Path, ct_file: Path, store: Store) -> None:
    """With TLS and without, storescu brings the same instance to the same archive."""
    plain, secure = encrypted

    for port, identity in ((secure, peer), (plain, None)):
        done = dcmtk("storescu", port, ct_file, identity=identity)
        assert done.returncode == 0, done.stderr

    uid = str(dcmread(ct_file).SOPInstanceUID)
    (version,) = store.intake.find_versions(uid)
    assert version.sop_instance_uid == uid


def test_without_trust_dcmtk_gets_no_association(
    encrypted: tuple[int, int], peer: Path, make_authority: Callable[[], Authority], tmp_path: Path
) -> None:
    """Plain DICOM on the TLS port, TLS on the plain port, and a stranger's certificate: no association, no hang."""
    plain, secure = encrypted
    stranger = make_authority().issue("scanner", tmp_path / "stranger")
    shutil.copy(peer / "trusted" / "hospital.pem", stranger / "trusted" / "hospital.pem")
    for port, identity in ((secure, None), (plain, peer), (secure, stranger)):
        assert dcmtk("echoscu", port, identity=identity).returncode != 0


def test_silent_clients_hold_nobody_up(encrypted: tuple[int, int], peer: Path) -> None:
    """Twelve connections that never begin their handshake: a real peer gets its association in a moment."""
    silent = [socket.create_connection(("127.0.0.1", encrypted[1]), timeout=10) for _ in range(12)]
    try:
        started = time.monotonic()
        done = dcmtk("echoscu", encrypted[1], identity=peer)
        assert done.returncode == 0, done.stderr
        assert time.monotonic() - started < 5
    finally:
        for connection in silent:
            connection.close()


def test_a_running_receiver_shows_the_new_certificate(
    encrypted: tuple[int, int], authority: Authority, node: CertificateFolder, peer: Path, tmp_path: Path
) -> None:
    """Files replaced under a running receiver are in force for the next connection, in every process."""
    renewed = authority.issue("node", tmp_path / "renewed")

    def shown() -> set[str]:
        serials = set()
        for _ in range(4):
            with (
                socket.create_connection(("127.0.0.1", encrypted[1]), timeout=10) as connection,
                client_context(peer).wrap_socket(connection, server_hostname="node") as wrapped,
            ):
                serials.add(wrapped.getpeercert()["serialNumber"])
        return serials

    before = shown()
    for file in ("certificate.pem", "key.pem"):
        shutil.copy(renewed / file, node.folder / file)
    after = shown()

    assert len(before) == len(after) == 1
    assert before != after


def test_a_receiver_without_usable_certificates_does_not_start(
    settings: Settings, store: Store, tmp_path: Path
) -> None:
    """A TLS port with an empty folder is an error at the start, not one for every caller."""
    broken = settings.model_copy(update={"tls": Tls(port=0, certificates=tmp_path)})
    assert store.status()
    with pytest.raises(UnusableCertificates):
        run_receiver(broken, ready=lambda _: None, stop=threading.Event())


def test_the_node_calls_with_tls(encrypted: tuple[int, int], peer: Path, ct_file: Path) -> None:
    """A delivery by TLS arrives; to a host that the certificate does not name, it does not."""
    called = {"host": "localhost", "port": encrypted[1], "called": "LUNGSENTRY", "calling": "SCANNER", "timeout_s": 10}
    ours = CertificateFolder(peer).client_context()

    assert store_object(ct_file, **called, tls=ours).status == 0

    with pytest.raises(Unreachable):
        store_object(ct_file, **{**called, "host": "127.0.0.2"}, tls=ours)


def test_who_fails_at_tls_is_listed(
    encrypted: tuple[int, int], peer: Path, make_authority: Callable[[], Authority], store: Store, tmp_path: Path
) -> None:
    """A stranger's certificate, none, and plain DICOM on the TLS port: one entry for the address, counted, and told."""
    _, secure = encrypted
    stranger = make_authority().issue("scanner", tmp_path / "stranger")
    shutil.copy(peer / "trusted" / "hospital.pem", stranger / "trusted" / "hospital.pem")
    reasons: list[str] = []
    for count, identity in enumerate((stranger, None), start=1):
        assert dcmtk("echoscu", secure, identity=identity).returncode != 0
        (refused,) = _listed(store, count)
        reasons.append(refused.reason)
        assert (refused.calling_ae_title, refused.address) == ("", "127.0.0.1")
    assert all(reason.startswith("TLS: ") for reason in reasons)
    assert "not trusted" in reasons[0]
    assert "version" in reasons[1]

    config = tmp_path / "lungsentry.toml"
    config.write_text(f'[node]\ndata_dir = "{tmp_path / "node"}"\n')
    told = CliRunner().invoke(app, ["--config", str(config), "peers", "refused"])
    assert told.exit_code == 0
    assert "trusted" in told.output
    assert "peers allow ''" not in told.output


def _listed(store: Store, count: int) -> tuple[RefusedAssociation, ...]:
    """The refusals, once so many were counted; the entry is written while the peer hangs up."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        found = store.peers.refusals()
        if sum(one.count for one in found) >= count:
            return found
        threading.Event().wait(0.02)
    return store.peers.refusals()
