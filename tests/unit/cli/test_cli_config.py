"""``config``: what is in force, and a first file; errors are told in a line."""

import json
import os
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


def test_init_writes_what_check_accepts(tmp_path: Path) -> None:
    """The file that `config init` writes can be used as it is, and is found in the working folder."""
    assert CliRunner().invoke(app, ["config", "init"]).exit_code == 0
    assert (tmp_path / "lungsentry.toml").is_file()
    checked = CliRunner().invoke(app, ["config", "check"])
    assert checked.exit_code == 0
    assert "lungsentry.toml" in checked.output


def test_init_replaces_only_when_forced(tmp_path: Path) -> None:
    """A settings file that exists is kept unless --force is given."""
    file = tmp_path / "own.toml"
    file.write_text("[node]\n")
    refused = CliRunner().invoke(app, ["config", "init", str(file)])
    assert refused.exit_code == 1
    assert "--force" in refused.stderr
    assert file.read_text() == "[node]\n"
    assert CliRunner().invoke(app, ["config", "init", str(file), "--force"]).exit_code == 0
    assert "ae_title" in file.read_text()


def test_show_json_has_every_section(monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON holds the settings in force, variables of the environment included, and never a password."""
    monkeypatch.setenv("LUNGSENTRY_RECEIVER__PORT", "4242")
    monkeypatch.setenv("LUNGSENTRY_DATABASE__URL", "postgresql+psycopg://user:sesame@host/name")
    shown = CliRunner().invoke(app, ["config", "show", "--json"])
    values = json.loads(shown.stdout)
    assert values["receiver"]["port"] == 4242
    assert {"node", "database", "receiver", "completion", "worker", "policy", "logging"} <= set(values)
    assert "sesame" not in shown.output


def test_show_for_people_names_fields() -> None:
    """The table names each field by section."""
    shown = CliRunner().invoke(app, ["config", "show"])
    assert "receiver.port" in shown.output
    assert "policy.ctac.burden_percent" in shown.output


@pytest.mark.parametrize("content", ["[receiver]\nport = 'x'\n", "[recever]\n", "not toml"])
def test_settings_that_cannot_be_used_are_exit_code_2(tmp_path: Path, content: str) -> None:
    """A wrong value, an unknown section and a broken file each give one line and exit code 2."""
    file = tmp_path / "bad.toml"
    file.write_text(content)
    for command in (["config", "check"], ["status"], ["doctor"], ["serve"]):
        failed = CliRunner().invoke(app, ["--config", str(file), *command])
        assert failed.exit_code == 2
        assert failed.stderr.startswith("error: ")
        assert failed.stderr.count("\n") == 1


def test_a_settings_file_that_is_missing_is_exit_code_2() -> None:
    """--config with a file that does not exist says so."""
    failed = CliRunner().invoke(app, ["--config", "nowhere.toml", "config", "show"])
    assert failed.exit_code == 2
    assert "nowhere.toml" in failed.stderr


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """An operating-system error names the file, without a traceback."""
    failed = CliRunner().invoke(app, ["config", "init", str(tmp_path / "no" / "folder.toml")])
    assert failed.exit_code == 1
    assert "folder.toml" in failed.stderr
