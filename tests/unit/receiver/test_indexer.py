"""Rows follow files: gathered, retried, and told of."""

import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import pytest

from db import DatabaseUnavailable, ReceivedInstance, Recorded, RecordedKind, StoreError
from dicom_node.network.errors import OutOfResources
from dicom_node.network.protocol import AssociationInfo
from dicom_node.storage.indexer import Indexer

if TYPE_CHECKING:
    from dicom_node.storage.associations import AssociationRecords

INFO = AssociationInfo(association_id="a", calling_ae_title="CT", called_ae_title="NODE", address="10.0.0.1")


class Associations:
    """A ledger that only remembers."""

    def __init__(self) -> None:
        self.opened: list[str] = []

    def ensure_open(self, info: AssociationInfo) -> None:
        """Remember."""
        self.opened.append(info.association_id)


class Index:
    """Records, or fails as it is told to."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.forgotten: list[str] = []
        self.error: StoreError | None = None
        self.refused: set[str] = set()
        self.entered = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def record(self, instances: Sequence[ReceivedInstance]) -> Sequence[Recorded]:
        """Record all or none."""
        self.entered.set()
        assert self.go_on.wait(20)
        if self.error is not None:
            raise self.error
        uids = [instance.sop_instance_uid for instance in instances]
        if self.refused.intersection(uids):
            raise StoreError
        self.batches.append(uids)
        return [
            Recorded(kind=RecordedKind.NEW, instance_id=1, series_instance_uid="1", revision=1, path=one.path)
            for one in instances
        ]


def instance(uid: str) -> ReceivedInstance:
    return ReceivedInstance(
        sop_instance_uid=uid,
        sop_class_uid="1.2",
        transfer_syntax_uid="1.2",
        study_instance_uid="1",
        series_instance_uid="1",
        patient_id="P",
        modality="CT",
        path=f"a/b/{uid}",
        size_bytes=1,
        sha256="0" * 64,
        calling_ae_title="CT",
        called_ae_title="NODE",
        address="",
        association_id="a",
        received_at=datetime.now(UTC),
        header={},
        uid_warning=False,
    )


@pytest.fixture
def index() -> Index:
    return Index()


@pytest.fixture
def make_indexer(index: Index) -> Iterator[Callable[[], Indexer]]:
    """Make indexers that are closed."""
    made: list[Indexer] = []

    def make() -> Indexer:
        made.append(Indexer(index.record, index.forgotten.extend, cast("AssociationRecords", Associations())))
        return made[-1]

    yield make
    for one in made:
        one.close(5)


def test_rows_that_wait_are_one_commit(index: Index, make_indexer: Callable[[], Indexer]) -> None:
    """What comes while a commit runs forms the next one, in order."""
    indexer = make_indexer()
    index.go_on.clear()
    indexer.add(INFO, instance("1"), "entry-1")
    assert index.entered.wait(20)
    for uid in ("2", "3", "4"):
        indexer.add(INFO, instance(uid), f"entry-{uid}")
    index.go_on.set()

    assert indexer.settle("a", 20)
    assert index.batches == [["1"], ["2", "3", "4"]]
    assert index.forgotten == [f"entry-{uid}" for uid in "1234"]


def test_database_that_is_away_keeps_rows_and_refuses_new_ones(
    index: Index, make_indexer: Callable[[], Indexer]
) -> None:
    """A transient error loses no row: nothing new is taken until the rows are in."""
    indexer = make_indexer()
    index.error = DatabaseUnavailable()
    indexer.add(INFO, instance("1"), "entry-1")
    assert not indexer.settle("a", 0.5)
    with pytest.raises(OutOfResources):
        indexer.check()
    assert index.forgotten == []

    index.error = None

    assert indexer.settle("a", 20)
    indexer.check()
    assert index.batches == [["1"]]


def test_row_that_cannot_be_recorded_takes_no_other_with_it(index: Index, make_indexer: Callable[[], Indexer]) -> None:
    """A permanent error of one row is that one's; the others of its batch are recorded. It is not tried for ever."""
    indexer = make_indexer()
    index.refused = {"2"}
    index.go_on.clear()
    for uid in ("1", "2", "3"):
        indexer.add(INFO, instance(uid), f"entry-{uid}")
    index.go_on.set()

    assert indexer.settle("a", 20)
    assert sorted(uid for batch in index.batches for uid in batch) == ["1", "3"]
    assert sorted(index.forgotten) == ["entry-1", "entry-2", "entry-3"]


def test_closing_records_what_waits(index: Index, make_indexer: Callable[[], Indexer]) -> None:
    """A receiver that stops leaves nothing unindexed."""
    indexer = make_indexer()
    indexer.add(INFO, instance("1"), "entry-1")

    indexer.close(20)

    assert index.batches == [["1"]]


def test_association_that_brought_nothing_is_settled(make_indexer: Callable[[], Indexer]) -> None:
    """Nothing to wait for is not waited for."""
    assert make_indexer().settle("b", 0.0)


def test_unexpected_error_does_not_end_the_thread(index: Index, make_indexer: Callable[[], Indexer]) -> None:
    """Whatever a record raises, its rows are tried again."""
    indexer = make_indexer()
    cast("Any", index).error = ValueError("odd")
    indexer.add(INFO, instance("1"), "entry-1")
    assert not indexer.settle("a", 0.5)
    index.error = None

    assert indexer.settle("a", 20)
