"""Help is what an administrator reads first: it is there for every command, teaches by example, and is quick."""

import subprocess
import sys
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from dicom_node.cli import app


def _commands(command: Any, above: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    below = getattr(command, "commands", None)
    if below is None:
        return [(above, command)]
    shown = ((name, child) for name, child in below.items() if not child.hidden)
    return [found for name, child in shown for found in _commands(child, (*above, name))]


COMMANDS = _commands(get_command(app))
EXPECTED = {
    *(
        "serve",
        "receiver",
        "worker",
        "scheduler",
        "web",
        "status",
        "why",
        "requeue",
        "echo",
        "send",
        "fetch",
        "import",
        "simulate",
    ),
    *(
        "analyze",
        "evaluate",
        "train",
        "doctor",
        "verify",
        "conformance",
        "demo",
        "studies list",
        "studies show",
        "series list",
        "series show",
    ),
    *("jobs list", "jobs show", "jobs cancel", "alerts list", "alerts show", "alerts ack", "alerts dismiss"),
    *("alerts pass", "alerts undo", "alerts why", "alerts feedback", "policy show", "policy test", "export"),
    *("deliveries list", "deliveries show", "deliveries retry", "deliveries cancel"),
    *("destinations list", "destinations test", "destinations pause", "destinations resume"),
    *("commitments list", "peers list", "peers allow", "peers remove", "peers refused"),
    *("models list", "models show", "models verify", "models install", "models export", "models activate"),
    "models shadow",
    *("users list", "users add", "users link", "users roles", "users disable", "users enable"),
    *("audit list", "audit export"),
    *("config check", "config show", "config init", "db upgrade", "db backup", "db restore"),
}


def test_every_command_of_the_manual_exists() -> None:
    """The commands are those that the manual names, no more and no fewer."""
    assert {" ".join(path) for path, _ in COMMANDS} == EXPECTED


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=[" ".join(path) for path, _ in COMMANDS])
def test_help_has_a_sentence_an_example_and_exit_codes(path: tuple[str, ...], command: Any) -> None:
    """Each command says what it does, shows an example that calls it, and names its exit codes."""
    shown = CliRunner().invoke(app, [*path, "--help"])
    assert shown.exit_code == 0
    assert command.help.strip().endswith(".")
    words = " ".join(shown.output.split())
    assert "Exit codes: 0 " in words
    assert f" {' '.join(path)}" in words.split("Example: lungsentry", 1)[1]


def test_everything_that_lists_or_shows_has_json() -> None:
    """A script can read whatever is listed or shown."""
    for path, command in COMMANDS:
        if path[-1] in {"list", "show", "refused", "status", "why", "requeue", "doctor", "verify", "fetch", "analyze"}:
            assert any("--json" in parameter.opts for parameter in command.params), path


def test_version_is_printed() -> None:
    """--version names the distribution and ends."""
    shown = CliRunner().invoke(app, ["--version"])
    assert shown.exit_code == 0
    assert shown.output.startswith("lungsentry ")


def test_help_loads_nothing_heavy() -> None:
    """Help is shown without importing the model, the database or DICOM libraries: it would take seconds."""
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from dicom_node.cli import app\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        "heavy = {'torch', 'sqlalchemy', 'pydicom', 'pynetdicom', 'numpy', 'pydantic'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


def test_unknown_command_is_a_usage_error() -> None:
    """A command that does not exist ends with exit code 2."""
    assert CliRunner().invoke(app, ["nonsense"]).exit_code == 2
