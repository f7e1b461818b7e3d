"""An authority, and a node and a peer with its certificates."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tls_peers import Authority, openssl

from dicom_node.network.tls import CertificateFolder


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
