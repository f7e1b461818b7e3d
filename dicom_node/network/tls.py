"""TLS from a folder of certificates: mutual, taken up anew when its files change, with a deadline for the handshake.

::

    certificates/
      certificate.pem     the node's certificate, then those that lead to its authority
      key.pem             its private key, not encrypted, readable by the node's user alone
      trusted/*.pem       authorities, or single peers, whose certificates are taken (also *.crt)

Protocol and suites follow BCP 195 as PS3.15 annex B.12 takes it up: TLS 1.2 at least, authenticated encryption, forward
secrecy. The DICOM upper layer knows nothing of this: a connection that fails here never becomes an association.
"""

import hashlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import structlog
from cryptography import x509

from analysis.errors import ReasonedError
from dicom_node.settings import Tls

__all__ = [
    "Certificate",
    "CertificateFolder",
    "HandshakeFailed",
    "TlsError",
    "UnusableCertificates",
    "certificate_folder",
    "handshake",
    "read_certificates",
    "reason_of",
    "server_trust",
    "warn_of_expiry",
]

_log = structlog.get_logger(__name__)

CERTIFICATE, KEY, TRUSTED = "certificate.pem", "key.pem", "trusted"
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2; those of TLS 1.3 are all authenticated and forward secret."""

_SUFFIXES = frozenset({".pem", ".crt"})

_Fingerprint = tuple[tuple[str, int, int, int], ...]


class TlsError(ReasonedError):
    """TLS cannot be used."""

    transient: ClassVar[bool] = False


class UnusableCertificates(TlsError):
    """The folder of certificates cannot be used."""


class HandshakeFailed(TlsError):
    """The peer did not get through the TLS handshake."""

    transient = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A certificate of the folder, by its file and place in it, and the time in which it holds (UTC)."""

    file: str
    number: int
    not_before: datetime
    not_after: datetime

    @property
    def name(self) -> str:
        """The file, and which of its certificates if it is not the first."""
        return self.file if self.number == 1 else f"{self.file} (certificate {self.number})"


class CertificateFolder:
    """The contexts that a folder of certificates makes; a change of its files makes new ones, without a restart.

    A change that cannot be used (a new certificate whose key has not been copied yet) leaves the old ones in force,
    and is logged once. Trust that is taken away is not left in force: where that cannot be followed otherwise nobody
    comes in, and the node calls nobody, until the folder can be used again.
    """

    def __init__(self, folder: Path, *, verify_peers: bool = True, check_host_names: bool = True) -> None:
        self.folder = folder
        self._verify_peers = verify_peers
        self._check_host_names = check_host_names
        self._mutex = threading.Lock()
        self._seen: _Fingerprint | None = None
        self._in_force: frozenset[tuple[str, str]] = frozenset()
        self._contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None = None

    def server_context(self) -> ssl.SSLContext:
        """For connections that are accepted: the peer shows a certificate that is trusted, unless that is off.

        Raises:
            UnusableCertificates: the folder was never usable; the message says which file, and why.
        """
        return self._current()[0]

    def client_context(self) -> ssl.SSLContext:
        """For connections that the node makes: it checks the peer's certificate and shows its own.

        Raises:
            UnusableCertificates: as for `server_context`.
        """
        return self._current()[1]

    def certificates(self) -> tuple[Certificate, ...]:
        """Every certificate of the folder, the node's own first.

        Raises:
            UnusableCertificates: a file is missing or holds no certificate.
        """
        return tuple(
            certificate for file in (self.folder / CERTIFICATE, *_trusted(self.folder)) for certificate in _read(file)
        )

    def _current(self) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        with self._mutex:
            seen = self._fingerprint()
            if self._contexts is not None and seen == self._seen:
                return self._contexts
            renewed, self._seen = self._contexts is not None, seen
            trusted = self._digests()
            try:
                self._contexts = self._make(ssl.PROTOCOL_TLS_SERVER), self._make(ssl.PROTOCOL_TLS_CLIENT)
                self._in_force = trusted
            except UnusableCertificates as error:
                if self._contexts is None:
                    self._seen = None
                    raise
                withdrawn = bool(self._in_force - trusted)
                if withdrawn:
                    self._contexts, self._in_force = (
                        (_closed(ssl.PROTOCOL_TLS_SERVER), _closed(ssl.PROTOCOL_TLS_CLIENT)),
                        trusted,
                    )
                _log.error("certificates.unusable", cause=str(error), nobody_comes_in=withdrawn)
            else:
                if renewed:
                    _log.info("certificates.reloaded", folder=str(self.folder))
            return self._contexts

    def _make(self, side: int) -> ssl.SSLContext:
        context = ssl.SSLContext(side)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(CIPHERS)
        if side == ssl.PROTOCOL_TLS_CLIENT:
            context.check_hostname = self._check_host_names
        elif self._verify_peers:
            context.verify_mode = ssl.CERT_REQUIRED
        _show_certificate(context, self.folder)
        _take_trusted(context, self.folder)
        return context

    def _digests(self) -> frozenset[tuple[str, str]]:
        """Each trusted file by its content; empty where they cannot be read."""
        try:
            return frozenset(
                (file.name, hashlib.sha256(file.read_bytes()).hexdigest())
                for file in (self.folder / TRUSTED).iterdir()
                if file.suffix in _SUFFIXES
            )
        except OSError:
            return frozenset()

    def _fingerprint(self) -> _Fingerprint:
        """What changes when a file does, whichever way it was put there."""
        files = [self.folder / CERTIFICATE, self.folder / KEY]
        try:
            files += sorted((self.folder / TRUSTED).iterdir())
        except OSError:
            """It is gone; what makes a context says so."""
        found: list[tuple[str, int, int, int]] = []
        for file in files:
            try:
                stat = file.stat()
            except OSError:
                continue
            found.append((file.name, stat.st_mtime_ns, stat.st_size, stat.st_ino))
        return tuple(found)


def certificate_folder(tls: Tls) -> CertificateFolder | None:
    """The folder of the settings; None where none is set."""
    if tls.certificates is None:
        return None
    return CertificateFolder(tls.certificates, verify_peers=tls.verify_peers, check_host_names=tls.check_host_names)


def server_trust(folder: Path | None) -> ssl.SSLContext:
    """For a server that is no DICOM peer, and must have the name that is called.

    Without a folder it is trusted as the machine's authorities say; with one as its ``trusted`` files do, and the
    node's certificate of the folder, where there is one, is shown. Read at every call.

    Raises:
        UnusableCertificates: a file of the folder is missing or cannot be used; the message says which, and why.
    """
    context = ssl.create_default_context() if folder is None else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    if folder is not None:
        _take_trusted(context, folder)
        if (folder / CERTIFICATE).exists():
            _show_certificate(context, folder)
    return context


def handshake(connection: socket.socket, context: ssl.SSLContext, *, deadline_s: float) -> ssl.SSLSocket:
    """The connection, encrypted, with ``deadline_s`` as its time limit for each read; the server's side.

    The whole handshake has the deadline, however slowly the peer trickles. Call it in the connection's own thread.

    Raises:
        HandshakeFailed: it took too long, the peer showed no trusted certificate, or speaks no TLS. The connection
            is closed.
    """
    try:
        connection.settimeout(deadline_s)
        wrapped = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
    except (OSError, ValueError) as error:
        connection.close()
        raise HandshakeFailed(reason_of(error)) from error
    try:
        wrapped.do_handshake()
    except (OSError, ValueError) as error:
        wrapped.close()
        raise HandshakeFailed(reason_of(error)) from error
    return wrapped


def read_certificates(pem: bytes, *, file: str) -> Iterator[Certificate]:
    """The certificates of a PEM text, and when they hold.

    Raises:
        ValueError: there is none, or one is not a certificate.
    """
    for number, one in enumerate(x509.load_pem_x509_certificates(pem), start=1):
        yield Certificate(
            file=file, number=number, not_before=one.not_valid_before_utc, not_after=one.not_valid_after_utc
        )


def warn_of_expiry(
    folder: CertificateFolder, *, within_days: float, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> list[Certificate]:
    """Log, and return, the certificates that hold no more, or no longer than so many days.

    Raises:
        UnusableCertificates: a file is missing or holds no certificate.
    """
    now = clock()
    ending = [one for one in folder.certificates() if one.not_after - now <= timedelta(days=within_days)]
    for one in ending:
        _log.warning(
            "certificate.expires",
            file=one.name,
            not_after=one.not_after.isoformat(),
            days_left=round((one.not_after - now) / timedelta(days=1), 1),
        )
    return ending


def _show_certificate(context: ssl.SSLContext, folder: Path) -> None:
    try:
        context.load_cert_chain(folder / CERTIFICATE, folder / KEY, password=_no_password)
    except (OSError, ValueError) as error:
        raise UnusableCertificates(f"{folder / CERTIFICATE} with {KEY}: {reason_of(error)}.") from error


def _take_trusted(context: ssl.SSLContext, folder: Path) -> None:
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # one peer's own certificate may be trusted as it is
    for file in _trusted(folder):
        try:
            context.load_verify_locations(file)
        except OSError as error:
            raise UnusableCertificates(f"{file}: {reason_of(error)}.") from error


def _trusted(folder: Path) -> list[Path]:
    """The files of trusted certificates.

    Raises:
        UnusableCertificates: there is none, so that no peer could ever come in.
    """
    try:
        files = sorted(file for file in (folder / TRUSTED).iterdir() if file.suffix in _SUFFIXES)
    except OSError as error:
        raise UnusableCertificates(f"{folder / TRUSTED}: {reason_of(error)}.") from error
    if not files:
        raise UnusableCertificates(f"{folder / TRUSTED} holds no *.pem or *.crt.")
    return files


def _closed(side: int) -> ssl.SSLContext:
    """A context with which no handshake comes about: no certificate to show, and nobody is trusted."""
    context = ssl.SSLContext(side)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def _read(file: Path) -> tuple[Certificate, ...]:
    try:
        return tuple(read_certificates(file.read_bytes(), file=file.name))
    except (OSError, ValueError) as error:
        raise UnusableCertificates(f"{file}: {reason_of(error)}.") from error


def _no_password() -> str:
    """A key that is encrypted is refused at once: nobody sits there to type."""
    raise ValueError("the key is encrypted")


def reason_of(error: Exception) -> str:
    """The reason in a word; OpenSSL's own text names no more than files and lines of its source."""
    if isinstance(error, TimeoutError):
        return "it took too long"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return (error.reason or "it is no TLS, or not a certificate").replace("_", " ").lower()
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return str(error)
