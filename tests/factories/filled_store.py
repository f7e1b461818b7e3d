"""A node's settings and store with series of every fate, for commands to read and steer."""

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import store_bench
from typer.testing import CliRunner

from alerts import AlertPolicy, Delivery, ProfileThresholds, RequestContext, evaluate
from analysis.findings import Findings, KeySlice, Profile, Quality, QualityLevel, RegionFindings
from analysis.series import Outcome, Rule, RuleResult, Screening
from db import Job, Peer, ReceivedInstance, Store, upgrade
from dicom_node.cli import app
from dicom_node.settings import Node, Settings, Web, document

PATIENT = store_bench.PATIENT
STUDY, OTHER_STUDY = "1.2.3.100", "1.2.3.200"
FLAGGED, EXCLUDED, FAILED, RECEIVING = "1.2.3.100.11", "1.2.3.100.12", "1.2.3.100.13", "1.2.3.200.21"
ELIGIBLE = replace(store_bench.ELIGIBLE, profile=Profile.CTAC, profile_cues=("kernel B19f",))
LOCALIZER = Screening(
    results=(RuleResult(rule=Rule.IMAGE_TYPE, value="LOCALIZER", expected="no localizer", outcome=Outcome.EXCLUDED),),
    profile=None,
)


def _received(series: str, study: str, study_date: str = "20260131") -> ReceivedInstance:
    return store_bench.instance(
        series=series,
        study_instance_uid=study,
        path=f"{series}/1.dcm",
        received_at=datetime.now(UTC),
        header={
            "slice_position_mm": 1.0,
            "series_description": "AC CT 5.0",
            "study_description": "PET/CT WHOLE BODY",
            "study_date": study_date,
            "accession_number": "ACC-1",
        },
    )


def _findings(job: Job) -> Findings:
    """Findings on a CTAC of limited quality, with a key slice."""
    return replace(
        store_bench.findings_of(job),
        profile=Profile.CTAC,
        key_slices=(
            KeySlice(
                sop_instance_uid=f"{job.series_instance_uid}.1",
                frame_number=None,
                slice_index=30,
                position_mm=150.0,
                ggo_area_mm2=900.0,
                high_opacity_area_mm2=100.0,
            ),
        ),
        quality=Quality(level=QualityLevel.LIMITED, reasons=("no inspiration scan",)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FilledNode:
    """Its settings file and its database."""

    config: Path
    url: str

    def run(self, *words: str, code: int = 0) -> Any:
        """Run a command that ends with ``code``; never a traceback, never the patient."""
        done = CliRunner().invoke(app, ["--config", str(self.config), *words])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        assert done.exit_code == code, done.output
        return done

    def json(self, *words: str, code: int = 0) -> Any:
        """What a command prints as JSON."""
        return json.loads(self.run(*words, "--json", code=code).stdout)

    def store(self) -> Store:
        """The store behind the command."""
        return Store.open(self.url)

    def examine_before(self, series: str, study: str, study_date: str) -> None:
        """An examination of the same patient on an earlier date (DA), with a quarter of the opacities."""
        with self.store() as store:
            revision = store.intake.record_instance(_received(series, study, study_date)).revision
            store.intake.mark_complete(series, revision, "in a test")
            store.jobs.enqueue(series, revision, ELIGIBLE, 3)
            job = store.jobs.claim("worker-1", 60)
            assert job is not None
            region = RegionFindings(
                lung_volume_ml=4000, ggo_volume_ml=75, high_opacity_volume_ml=25, high_density_volume_ml=20
            )
            _record(store, job, both_lungs=region)


def _complete(store: Store, series: str, study: str) -> int:
    recorded = store.intake.record_instance(_received(series, study))
    store.intake.mark_complete(series, recorded.revision, "in a test")
    return recorded.revision


def filled_node(folder: Path) -> FilledNode:
    """A node with a flagged, an excluded, a failed and a receiving series, a peer and a refusal."""
    settings = Settings.model_construct(node=Node(data_dir=folder / "data"), web=Web(port=8042))
    settings.node.data_dir.mkdir()
    config = folder / "lungsentry.toml"
    config.write_text(document(settings))
    upgrade(settings.database_url)
    with Store.open(settings.database_url) as store:
        for series in (FLAGGED, FAILED):
            store.jobs.enqueue(series, _complete(store, series, STUDY), ELIGIBLE, 3)
            job = store.jobs.claim("worker-1", 60)
            assert job is not None
            if series == FAILED:
                store.jobs.fail(job, "UndecodablePixels: truncated", transient=False, retry_delay_s=1)
            else:
                _record(store, job)
        store.intake.exclude(EXCLUDED, _complete(store, EXCLUDED, STUDY), LOCALIZER)
        store.intake.record_instance(_received(RECEIVING, OTHER_STUDY))
        store.peers.allow(Peer(ae_title="CT1", called_ae_title=None, cidr="10.1.2.0/24", host="10.1.2.17", port=104))
        store.peers.record_refusal("CT2", "LUNGSENTRY", "10.1.2.18", "the calling AE title is not known")
        store.peers.record_refusal("CT 3", "OTHER", "10.1.2.19", "the called AE title is not this node's")
    return FilledNode(config=config, url=settings.database_url)


def _record(store: Store, job: Job, **changes: Any) -> None:
    findings = replace(_findings(job), **changes)
    thresholds = ProfileThresholds(burden_percent=1, lesion_volume_ml=5)
    policy = AlertPolicy(thresholds=dict.fromkeys(Profile, thresholds), expected_words=("covid",))
    report, picture = store_bench.artefacts_of(f"{job.series_instance_uid}.9")
    store.results.record(
        job,
        "worker-1",
        findings=findings,
        screening=ELIGIBLE,
        decision=evaluate(findings, RequestContext(), policy),
        artefacts=(report, picture),
        deliveries=(Delivery(destination="PACS", artefact=report.name),),
        seconds={"model": 1.0},
    )
