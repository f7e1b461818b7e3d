"""The store: every read, write and guarded transition of the node's state, by subject."""

from types import TracebackType
from typing import Self

from db.engine import Database, check_schema
from db.store.alerts import Alerts
from db.store.deliveries import Deliveries
from db.store.intake import Intake
from db.store.jobs import Jobs
from db.store.leadership import Leadership
from db.store.peers import Peers
from db.store.reading import SeriesReading, StudyReading, status
from db.store.requeue import Requeue
from db.store.results import Results
from db.store.retention import Retention
from db.values import Status


class Store:
    """State, by subject. Threads may share one; a process that forks may not."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._leadership = Leadership(database)
        self.intake = Intake(database)
        self.jobs = Jobs(database)
        self.results = Results(database)
        self.alerts = Alerts(database)
        self.deliveries = Deliveries(database)
        self.peers = Peers(database)
        self.requeue = Requeue(database)
        self.retention = Retention(database)
        self.studies = StudyReading(database)
        self.series = SeriesReading(database)

    @classmethod
    def open(cls, url: str) -> Self:
        """The store of a database whose schema is this version's.

        Raises:
            SchemaOutOfDate: it is not; ``upgrade`` makes it so.
            DatabaseUnavailable: the database cannot be reached.
        """
        database = Database(url)
        try:
            check_schema(database.engine)
        except BaseException:
            database.close()
            raise
        return cls(database)

    def status(self) -> Status:
        """How the node stands."""
        return status(self._database)

    def leads(self) -> bool:
        """Whether this process leads the schedulers; it does from then on, where no other does."""
        return self._leadership.held()

    def close(self) -> None:
        """Give up leadership and all connections."""
        self._leadership.resign()
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
