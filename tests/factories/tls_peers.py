"""Certificates that openssl made, and peers that speak TLS: dcmtk and Python's ssl."""

import shutil
import socket
import ssl
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest


def openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], capture_output=True, check=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """A hospital's certificate authority."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> "Authority":
        """A new one, with its files in a folder."""
        folder.mkdir(exist_ok=True)
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        openssl("req", "-x509", *curve, "-days", 365, "-subj", "/CN=Hospital CA",
                "-keyout", folder / "ca-key.pem", "-out", folder / "ca.pem")  # fmt: skip
        return cls(folder=folder)

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
