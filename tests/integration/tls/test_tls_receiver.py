"""TLS at a running receiver, with dcmtk and peers that do not speak it."""

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest
from listeners import free_port
from pydicom import dcmread
from tls_peers import Authority, client_context, dcmtk
from typer.testing import CliRunner

from db import Peer, RefusedAssociation, Store
from dicom_node.cli import app
from dicom_node.delivery import DicomChannel, Parcel, Receipt, Unreachable
from dicom_node.network.tls import CertificateFolder, UnusableCertificates
from dicom_node.node import run_receiver
from dicom_node.peers.remote import Remote
from dicom_node.settings import Settings, Tls
from dicom_node.simulator import PhantomSpec, build_phantom, write_series

pytestmark = [
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed"),
    pytest.mark.usefixtures("dropped_sockets"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def encrypted(
    node: CertificateFolder,
    settings: Settings,
    store: Store,
    receiving: Callable[[Settings], AbstractContextManager[int]],
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
    ours = CertificateFolder(peer).client_context()
    parcel = Parcel(delivery_id=1, path=ct_file, sop_instance_uid=None)
    remote = Remote(
        ae_title="LUNGSENTRY",
        host="localhost",
        port=encrypted[1],
        calling_ae_title="SCANNER",
        timeout_s=10,
        tls=ours,
    )
    assert DicomChannel(lambda: remote).deliver(parcel) == Receipt(answer="0x0000")

    with pytest.raises(Unreachable):
        DicomChannel(lambda: replace(remote, host="127.0.0.2")).deliver(parcel)


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
