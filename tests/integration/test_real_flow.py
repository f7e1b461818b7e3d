"""Real chest CT, sent by dcmtk to a running node: what is flagged, what is not, and what happens the second time."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from db import SeriesRecord, SeriesState, Store, StoredResult
from dicom_node.cli.demo_node import DemoNode, demo_settings, running_node, wait_for_series
from dicom_node.settings import Settings

CALLING = "STORESCU"
PATIENCE_S = 600
SYNTAX_OPTION = {"covid_P001": "-xs", "normal001": "-xs", "philips_two_recons": "-xv"}
"""storescu proposes the transfer syntax of the files: JPEG Lossless, JPEG 2000 lossless."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bench:
    node: DemoNode
    store: Store
    folder: Path
    data: Path

    def send(self, name: str) -> set[str]:
        """Send a folder with storescu; the Series Instance UIDs that the node then knows of it."""
        before = {one.series_instance_uid for one in self.store.series.list()}
        subprocess.run(
            ["storescu", "-aec", "LUNGSENTRY", "-aet", CALLING, SYNTAX_OPTION[name], "+sd", "127.0.0.1",
             str(self.node.port), str(self.data / "dicom" / name)],
            env={**os.environ, "TCP_NODELAY": "1"},
            check=True,
            timeout=PATIENCE_S,
        )  # fmt: skip
        return {one.series_instance_uid for one in self.store.series.list()} - before

    def ended(self, uids: set[str]) -> Mapping[str, SeriesRecord]:
        """The series once each has its end."""
        return wait_for_series(self.node, uids, PATIENCE_S)

    def result(self, uid: str) -> StoredResult:
        """The result in force."""
        found = self.store.results.latest(uid)
        assert found is not None
        return found

    def run(self, *words: str) -> Any:
        """A command of the administrator on this node, as JSON."""
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "dicom_node.cli",
                "--config",
                str(self.folder / "lungsentry.toml"),
                *words,
                "--json",
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@contextmanager
def _bench(folder: Path, data: Path) -> Iterator[_Bench]:
    if shutil.which("storescu") is None:
        if os.environ.get("CI"):
            pytest.fail("storescu (Debian package dcmtk) is missing")
        pytest.skip("storescu (Debian package dcmtk) is missing")
    settings = demo_settings(Settings(), folder)
    with running_node(settings, folder, CALLING) as node, Store.open(settings.database_url) as store:
        yield _Bench(node=node, store=store, folder=folder, data=data)


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_covid_is_flagged_once_whatever_is_sent_or_run_again(tmp_path: Path, shared_data: Path) -> None:
    """covid_P001 is analysed and flagged, its report valid; resent, nothing happens; requeued, replaced."""
    with _bench(tmp_path, shared_data) as bench:
        (uid,) = bench.send("covid_P001")
        assert bench.ended({uid})[uid].state is SeriesState.ANALYSED
        first = bench.result(uid)
        assert first.findings.slice_count == 148
        assert first.findings.burden_percent > 0.5
        (alert,) = bench.store.alerts.list(states=None)
        assert alert.alert.series_instance_uid == uid
        report = bench.node.settings.results_dir / first.report.path
        judged = subprocess.run(["dciodvfy", str(report)], capture_output=True, text=True, check=False, timeout=60)
        assert "Error" not in judged.stdout + judged.stderr
        assert first.pictures
        assert all((bench.node.settings.results_dir / one.path).is_file() for one in first.pictures)

        assert bench.send("covid_P001") == set()
        assert bench.store.series.get(uid).revision == 1
        assert len(bench.store.jobs.list(None, None)) == 1

        bench.run("requeue", "--series", uid)
        assert bench.ended({uid})[uid].state is SeriesState.ANALYSED
        second = bench.result(uid)
        assert second.id != first.id
        assert second.findings.both_lungs == first.findings.both_lungs
        assert second.report.sop_instance_uid == first.report.sop_instance_uid
        assert [one.id for one in bench.store.alerts.list(states=None)] == [alert.id]


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_normal_is_not_flagged_and_one_reconstruction_is_chosen(tmp_path: Path, shared_data: Path) -> None:
    """normal001 is analysed without an alert; of two Philips reconstructions one is analysed, the other says why."""
    with _bench(tmp_path, shared_data) as bench:
        (normal,) = bench.send("normal001")
        both = bench.send("philips_two_recons")
        assert len(both) == 2
        found = bench.ended({normal, *both})
        assert found[normal].state is SeriesState.ANALYSED
        assert normal not in {one.alert.series_instance_uid for one in bench.store.alerts.list(states=None)}
        assert sorted(found[uid].state.value for uid in both) == ["analysed", "excluded"]
        (left_out,) = (uid for uid in both if found[uid].state is SeriesState.EXCLUDED)
        assert "reconstruction" in (found[left_out].reason or "")
        rules = bench.run("why", left_out)
        assert any(rule["outcome"] == "excluded" for rule in rules["rules"])
