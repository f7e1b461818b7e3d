"""The store: every read, every write and every guarded transition of the node's state."""

from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from db.engine import Database, check_schema
from db.store.alerts import Alerts
from db.store.artefacts import Artefacts
from db.store.audit import Audit
from db.store.audit_feed import AuditFeed
from db.store.commitments import Commitments
from db.store.counts import Counts
from db.store.deliveries import Deliveries
from db.store.destinations import Destinations
from db.store.drift import Drift
from db.store.examinations import Examinations
from db.store.exporting import Exporting
from db.store.failing_units import FailingUnits
from db.store.feed import Feed
from db.store.feedback import FeedbackRoom
from db.store.figures import FiguresRoom
from db.store.heartbeats import Heartbeats
from db.store.intake import Intake
from db.store.jobs import Jobs
from db.store.lateness import LatenessRoom
from db.store.leadership import Leadership
from db.store.models import Models
from db.store.outbox import Outbox
from db.store.peers import Peers
from db.store.performed_steps import PerformedSteps
from db.store.pruning import Pruning
from db.store.reading import SeriesReading, Studies, read_status
from db.store.requeue import Requeue
from db.store.results import Results
from db.store.retention import Retention
from db.store.sessions import Sessions
from db.store.surroundings import Surroundings
from db.store.timekeeping import Timekeeping
from db.store.users import Users
from db.store.versions import Versions
from db.store.waiting import Waiter
from db.store.worklist import Worklist
from db.values import Status

__all__ = ["Store"]


def _now() -> datetime:
    return datetime.now(UTC)


class Store:
    """One database, safe to share between threads, not between processes that fork; each opens its own."""

    def __init__(self, database: Database, clock: Callable[[], datetime] = _now) -> None:
        self._database = database
        self._waiter = Waiter(database)
        self.leadership = Leadership(database)
        self.intake = Intake(database=database, clock=clock)
        self.versions = Versions(database=database, clock=clock)
        self.jobs = Jobs(database=database, clock=clock, waiter=self._waiter)
        self.results = Results(database=database, clock=clock)
        self.artefacts = Artefacts(database=database, clock=clock)
        self.alerts = Alerts(database=database, clock=clock)
        self.worklist = Worklist(database=database, clock=clock)
        self.deliveries = Deliveries(database=database, clock=clock)
        self.outbox = Outbox(database=database, clock=clock)
        self.destinations = Destinations(database=database, clock=clock)
        self.failing_units = FailingUnits(database=database, clock=clock)
        self.heartbeats = Heartbeats(database=database, clock=clock)
        self.commitments = Commitments(database=database, clock=clock)
        self.performed_steps = PerformedSteps(database=database, clock=clock)
        self.peers = Peers(database=database, clock=clock)
        self.requeue = Requeue(database=database, clock=clock)
        self.models = Models(database=database, clock=clock)
        self.drift = Drift(database=database, clock=clock)
        self.retention = Retention(database=database, clock=clock)
        self.pruning = Pruning(database=database, clock=clock)
        self.counts = Counts(database=database, clock=clock)
        self.timekeeping = Timekeeping(database=database, clock=clock)
        self.studies = Studies(database=database, clock=clock)
        self.series = SeriesReading(database=database, clock=clock)
        self.users = Users(database=database, clock=clock)
        self.sessions = Sessions(database=database, clock=clock)
        self.surroundings = Surroundings(database=database, clock=clock)
        self.feed = Feed(database=database, clock=clock)
        self.examinations = Examinations(database=database, clock=clock)
        self.feedback = FeedbackRoom(database=database, clock=clock)
        self.exporting = Exporting(database=database, clock=clock)
        self.lateness = LatenessRoom(database=database, clock=clock)
        self.figures = FiguresRoom(database=database, clock=clock)
        self.audit = Audit(database=database, clock=clock)
        self.audit_feed = AuditFeed(database=database, clock=clock)

    @classmethod
    def open(cls, url: str, *, clock: Callable[[], datetime] = _now) -> Self:
        """The store at this SQLAlchemy URL.

        Raises:
            SchemaOutOfDate: ``upgrade`` it first.
            SchemaTooNew: this code is too old for it.
            DatabaseUnavailable: it cannot be reached.
        """
        database = Database(url)
        try:
            check_schema(database.engine)
        except BaseException:
            database.close()
            raise
        return cls(database, clock)

    def status(self) -> Status:
        """How the node stands: counts by state, what waits longest, dead letters."""
        with self._database.read() as session:
            return read_status(session)

    def leads(self, name: str = "scheduler") -> bool:
        """Whether this store's process leads; see ``leadership``."""
        return self.leadership.try_acquire(name)

    def close(self) -> None:
        """Give everything back: connections and leadership."""
        self._waiter.close()
        self.leadership.release()
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
