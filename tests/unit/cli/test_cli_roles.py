"""Roles tell at once why they cannot start, in a line, and not by dying again and again."""

import os
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dicom_node.cli import app


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("LUNGSENTRY_"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize("role", ["serve", "receiver"])
def test_a_port_that_is_taken_is_told(role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program on the port: exit code 1, and the setting to change is named."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("LUNGSENTRY_RECEIVER__HOST", "127.0.0.1")
        monkeypatch.setenv("LUNGSENTRY_RECEIVER__PORT", str(taken.getsockname()[1]))
        done = CliRunner().invoke(app, [role])
    assert done.exit_code == 1
    assert "receiver.port" in done.stderr


@pytest.mark.parametrize("role", ["worker", "scheduler"])
def test_a_role_alone_never_makes_a_database(role: str, tmp_path: Path) -> None:
    """Without a database a single role says how to make one, and leaves nothing behind."""
    done = CliRunner().invoke(app, [role])
    assert done.exit_code == 3
    assert "lungsentry db upgrade" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [["status"], ["jobs", "list"], ["peers", "list"], ["why", "1.2"]])
def test_reading_never_makes_a_database(words: list[str], tmp_path: Path) -> None:
    """A look at a node that is not there is exit code 3, says what to do, and makes no empty database."""
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 3
    assert "lungsentry serve" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_database_server_that_is_away_is_exit_code_3(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL that does not answer: exit code 3, and no password in the message."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    monkeypatch.setenv("LUNGSENTRY_DATABASE__URL", f"postgresql+psycopg://user:sesame@127.0.0.1:{port}/name")
    done = CliRunner().invoke(app, ["status"])
    assert done.exit_code == 3, done.output
    assert "database.url" in done.stderr
    assert "sesame" not in done.output
