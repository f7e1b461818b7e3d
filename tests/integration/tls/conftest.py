"""An authority, and a node and a peer with its certificates."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tls_peers import Authority

from dicom_node.network.tls import CertificateFolder


@pytest.fixture(scope="module")
def make_authority(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Authority]:
    def make() -> Authority:
        return Authority.make(tmp_path_factory.mktemp("authority"))

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
