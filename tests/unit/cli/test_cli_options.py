"""What people type: times, states, addresses of peers; and the settings that the demo runs with."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

import pytest

from dicom_node.cli.addresses import find_remote
from dicom_node.cli.demo_node import demo_settings
from dicom_node.cli.failures import UsageError
from dicom_node.cli.files import files_below
from dicom_node.cli.invocation import Invocation
from dicom_node.cli.options import chosen, moment
from dicom_node.settings import Database, DicomDestination, Node, Receiver, Settings, document


class _State(StrEnum):
    OPEN = "open"
    CLOSED = "closed"


@pytest.mark.parametrize(
    ("typed", "ago"),
    [
        ("30m", timedelta(minutes=30)),
        ("12h", timedelta(hours=12)),
        ("7d", timedelta(days=7)),
        ("2w", timedelta(weeks=2)),
    ],
)
def test_how_long_ago(typed: str, ago: timedelta) -> None:
    """A number and a unit count back from now."""
    found = moment(typed)
    assert found is not None
    assert abs(datetime.now(UTC) - ago - found) < timedelta(seconds=10)


def test_points_in_time() -> None:
    """A time with a zone is that time; without one it is local; none is none."""
    assert moment("2026-01-31T13:00+01:00") == datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert moment("2026-01-31") == datetime(2026, 1, 31).astimezone(UTC)
    assert moment(None) is None


@pytest.mark.parametrize("typed", ["", "d", "yesterday", "7y", "-3d", "9999999d", "9" * 5000 + "w", "0001-01-01"])
def test_no_time_is_a_usage_error(typed: str) -> None:
    """Whatever is no time is refused with an example."""
    with pytest.raises(UsageError, match="2026-01-31"):
        moment(typed)


@pytest.mark.parametrize("typed", ["9999999d", "999999999999999999999w", "0001-01-01T00:00+14:00"])
def test_a_time_before_all_calendars_is_a_usage_error(typed: str) -> None:
    """So long ago is told in a sentence, with an example."""
    with pytest.raises(UsageError, match="before the first day"):
        moment(typed)


def test_states_are_chosen_by_name() -> None:
    """Names in any case choose states, none chooses all, and a wrong one names the right ones."""
    assert chosen(_State, ["OPEN"]) == (_State.OPEN,)
    assert chosen(_State, None) is None
    with pytest.raises(UsageError, match=r"state .*open, closed"):
        chosen(_State, ["lost"])


def test_peers_are_found_as_the_node_knows_them(tmp_path: Path) -> None:
    """Without host and port: this node on this machine, or a destination of the settings; what is given wins."""
    settings = Settings.model_construct(
        node=Node(ae_title="NODE", data_dir=tmp_path),
        receiver=Receiver(port=4242),
        destinations=(DicomDestination(ae_title="PACS", host="pacs.example.org", port=104),),
    )
    config = tmp_path / "lungsentry.toml"
    config.write_text(document(settings))
    invocation = Invocation(config_file=config)
    assert str(find_remote(invocation, None, None, None)) == "NODE at 127.0.0.1:4242"
    assert str(find_remote(invocation, "PACS", None, None)) == "PACS at pacs.example.org:104"
    assert str(find_remote(invocation, "PACS", None, 11112)) == "PACS at pacs.example.org:11112"
    assert str(find_remote(invocation, "OTHER", "10.1.2.3", 104)) == "OTHER at 10.1.2.3:104"


def test_files_are_found_below_folders(tmp_path: Path) -> None:
    """Folders are searched to their end, in order; an empty one and a missing one are usage errors."""
    for name in ("b/2.dcm", "a/1.dcm"):
        (tmp_path / "in" / name).parent.mkdir(parents=True)
        (tmp_path / "in" / name).touch()
    (tmp_path / "empty").mkdir()
    assert files_below([tmp_path / "in"]) == [tmp_path / "in/a/1.dcm", tmp_path / "in/b/2.dcm"]
    with pytest.raises(UsageError, match="no file"):
        files_below([tmp_path / "empty"])
    with pytest.raises(UsageError, match="nowhere"):
        files_below([tmp_path / "nowhere"])


def test_the_demo_touches_nothing_of_the_node(tmp_path: Path) -> None:
    """Whatever the settings say, the demo has its own database, its own port, and no destination."""
    base = Settings.model_construct(
        node=Node(data_dir=Path("/var/lib/lungsentry")),
        database=Database(url="postgresql+psycopg://user@host/name"),
        destinations=(DicomDestination(ae_title="PACS", host="pacs.example.org", port=104),),
    )
    demo = demo_settings(base, tmp_path)
    assert demo.database_url == f"sqlite:///{tmp_path / 'data' / 'lungsentry.sqlite3'}"
    assert (demo.receiver.host, demo.receiver.port, demo.destinations) == ("127.0.0.1", 0, ())
    assert demo.archive_dir.is_relative_to(tmp_path)
