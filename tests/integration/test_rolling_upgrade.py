"""A newer schema beside older processes: they go on where it only added to theirs, and say so where it did not."""

from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, text
from store_bench import DATABASES, empty_postgresql, opened

from db import JobState, SchemaTooNew, Store, current_revision, upgrade
from db.engine import HEAD

NEWER = "9999"


def _migrate(url: str, *, floor: str | None = None) -> None:
    """As a later version would: a table, and a column that its own code alone knows."""
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE of_later (id INTEGER PRIMARY KEY)"))
        connection.execute(text("ALTER TABLE jobs ADD COLUMN of_later TEXT"))
        connection.execute(text("ALTER TABLE results ADD COLUMN of_later INTEGER NOT NULL DEFAULT 0"))
        connection.execute(text("UPDATE alembic_version SET version_num = :newer"), {"newer": NEWER})
        if floor is not None:
            connection.execute(text("UPDATE schema_floor SET revision = :floor"), {"floor": floor})
    engine.dispose()


@pytest.mark.parametrize("kind", DATABASES)
def test_older_processes_go_on_beside_what_was_added(kind: str, tmp_path: Path) -> None:
    """One ends its job after the upgrade; one that starts later takes a series to its result; nobody sets it back."""
    with opened(kind, tmp_path) as bench:
        begun = bench.running()
        _migrate(bench.url)
        bench.record(begun)
        with Store.open(bench.url) as later:
            bench.queued("1.2.3.2")
            second = later.jobs.claim("w", 60)
            assert second is not None
            bench.record(second)
            assert {job.state for job in later.jobs.list()} == {JobState.SUCCEEDED}
        upgrade(bench.url)
        assert current_revision(bench.url) == NEWER


@pytest.mark.parametrize("kind", DATABASES)
def test_older_processes_do_not_start_on_what_is_another(kind: str, tmp_path: Path) -> None:
    """A migration that raised the floor is named, with the version that works."""
    with opened(kind, tmp_path) as bench:
        _migrate(bench.url, floor=NEWER)
        with pytest.raises(
            SchemaTooNew, match=f"It is {NEWER}, for {NEWER} and later; this version is made for {HEAD}"
        ):
            Store.open(bench.url)


@pytest.mark.parametrize("kind", DATABASES)
def test_an_upgrade_tells_whether_the_others_go_on(kind: str, tmp_path: Path) -> None:
    """From nothing, and from itself, nobody is held up; 0020 did not know of the floor, and is."""
    url = empty_postgresql() if kind == "postgresql" else f"sqlite:///{tmp_path}/node.sqlite3"
    assert upgrade(url)
    assert upgrade(url)
    older = f"sqlite:///{tmp_path}/older.sqlite3" if kind == "sqlite" else empty_postgresql()
    engine = create_engine(older)
    with engine.begin() as connection:
        _to(connection, "0020")
    engine.dispose()
    assert not upgrade(older)


def _to(connection: Connection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", "db:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
