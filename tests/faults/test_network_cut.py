"""The network is cut in the middle of a transfer, and comes back: what was acknowledged is there, and it goes on."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import node_harness as harness
import pydicom
import pytest

from db import SeriesState, Store
from dicom_node.settings import Settings

pytestmark = pytest.mark.slow

NODE, SCANNER = "192.0.2.1", "192.0.2.2"
"""Of a network for examples and tests alone (RFC 5737); it exists in the two namespaces only."""
SILENCE_S = 2.0
CUTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Cable:
    """A slow network of two, a node and a scanner, each in a namespace of its own."""

    node: str
    scanner: str

    def at_node(self) -> list[str]:
        """What runs a command at the node's end."""
        return ["ip", "netns", "exec", self.node]

    def at_scanner(self) -> list[str]:
        """What runs a command at the scanner's end."""
        return ["ip", "netns", "exec", self.scanner]

    def cut(self) -> None:
        """Nothing passes, and nobody is told."""
        _run("ip", "-n", self.node, "link", "set", "cable", "down")

    def mend(self) -> None:
        """It passes again."""
        _run("ip", "-n", self.node, "link", "set", "cable", "up")


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


@pytest.fixture
def cable() -> Iterator[Cable]:
    """It takes root, and iproute2, to lay one."""
    if os.geteuid() != 0 or shutil.which("ip") is None or shutil.which("tc") is None:
        pytest.skip("a network namespace takes root and iproute2")
    laid = Cable(node=f"node{os.getpid()}", scanner=f"scanner{os.getpid()}")
    if subprocess.run(["ip", "netns", "add", laid.node], check=False, capture_output=True).returncode:
        pytest.skip("this system does not let a network namespace be made")
    try:
        _run("ip", "netns", "add", laid.scanner)
        peer = ["peer", "name", "cable", "netns", laid.scanner]
        _run("ip", "-n", laid.node, "link", "add", "cable", "type", "veth", *peer)
        for namespace, address in ((laid.node, NODE), (laid.scanner, SCANNER)):
            _run("ip", "-n", namespace, "addr", "add", f"{address}/30", "dev", "cable")
            _run("ip", "-n", namespace, "link", "set", "cable", "up")
        slow = ["root", "tbf", "rate", "1mbit", "burst", "16kbit", "latency", "400ms"]
        _run("tc", "-n", laid.scanner, "qdisc", "add", "dev", "cable", *slow)
        yield laid
    finally:
        for namespace in (laid.node, laid.scanner):
            subprocess.run(["ip", "netns", "del", namespace], check=False, capture_output=True)


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def _await_more_than(acknowledged: Path, instances: int) -> None:
    harness.wait_until(lambda: len(_lines(acknowledged)) > instances, seconds=150, what="some instances")


def _await_aborts(settings: Settings, aborts: int) -> None:
    given_up = '"event": "association.aborted"'
    harness.wait_until(lambda: harness.log_of(settings).count(given_up) >= aborts, what="the association's end")


def _ended(store: Store, uid: str, instances: int) -> Callable[[], bool]:
    def look() -> bool:
        series = store.series.get(uid)
        return series is not None and series.state is SeriesState.EXCLUDED and series.instance_count == instances

    return look


def test_network_cut_in_mid_transfer(tmp_path: Path, cable: Cable) -> None:
    """Three cuts, each until the node gives the association up: nothing is lost or differs, nothing is left open."""
    settings = harness.quick_settings(tmp_path / "node")
    receiver = settings.receiver.model_copy(
        update={"host": NODE, "network_timeout_s": SILENCE_S, "pdu_timeout_s": SILENCE_S}
    )
    settings = settings.model_copy(update={"receiver": receiver})
    paths = harness.write_ct(tmp_path / "ct", slices=60)
    acknowledged = tmp_path / "acknowledged"
    with (
        harness.running_node(settings, within=cable.at_node()) as (_node, port),
        Store.open(settings.database_url) as store,
    ):
        program = harness.FACTORIES / "stubborn_sender.py"
        command = [*cable.at_scanner(), sys.executable, program, NODE, port, acknowledged, *paths]
        environment = os.environ | {"PYTHONPATH": str(harness.REPOSITORY)}
        with subprocess.Popen([str(word) for word in command], env=environment) as sender:
            try:
                for cut in range(1, CUTS + 1):
                    _await_more_than(acknowledged, len(_lines(acknowledged)) + 5)
                    cable.cut()
                    _await_aborts(settings, cut)
                    cable.mend()
                assert sender.wait(120) == 0
            finally:
                sender.kill()
        assert len(_lines(acknowledged)) == len(paths)
        uid = harness.series_uid(paths)
        harness.wait_until(_ended(store, uid, len(paths)), what="the end of the series")
        stored = store.intake.series_paths(uid)
        kept = {one.sop_instance_uid: pydicom.dcmread(settings.archive_dir / one.path) for one in stored}
        assert kept == {sent.SOPInstanceUID: sent for sent in map(pydicom.dcmread, paths)}
        assert store.status().open_associations == 0
        assert not list(settings.archive_dir.glob("incoming/*/*.part"))
