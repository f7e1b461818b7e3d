"""Every command that the README shows is run, in its order, as a reader would."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from filled_store import FLAGGED, STUDY, FilledNode, filled_node

REPOSITORY = Path(__file__).resolve().parents[2]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
RUN_ELSEWHERE = {
    "make demo": "tests/integration/test_cli_serve.py runs what it runs",
    "make test": "this is it",
    "lungsentry serve": "tests/integration/test_cli_serve.py",
    "lungsentry echo": "tests/integration/test_cli_serve.py",
    "lungsentry simulate opacities": "tests/integration/test_cli_network.py",
    "lungsentry analyze ./study": "tests/integration/test_cli_analyze.py",
    "lungsentry analyze ./study --json": "tests/integration/test_cli_analyze.py",
    "lungsentry analyze ./study --out ./results": "tests/integration/test_cli_analyze.py",
    "lungsentry web": "tests/integration/web starts it",
    "lungsentry doctor": "tests/unit/cli/test_cli_node.py: its exit code is this machine's",
}


def _commands() -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def _words(command: str) -> list[str]:
    quoted = re.findall(r'"[^"]*"|\S+', command)
    named = {"SERIES": FLAGGED, "STUDY": STUDY}
    return [named.get(word, word.strip('"')) for word in quoted]


def test_commands_on_a_node_do_what_the_readme_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a node with a flagged case each command succeeds: read, acknowledged, explained, requeued."""
    node: FilledNode = filled_node(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    ran = 0
    for command in _commands():
        if command in RUN_ELSEWHERE or not command.startswith("lungsentry "):
            continue
        words = _words(command)[1:]
        if words == ["config", "init"]:
            words.append(str(tmp_path / "elsewhere" / "lungsentry.toml"))
        node.run(*words)
        ran += 1
    assert ran >= 10
    assert node.json("alerts", "show", "1")["state"] == "acknowledged"
    jobs = json.loads(node.run("jobs", "list", "--json").stdout)["jobs"]
    assert any(job["state"] == "queued" and job["series_instance_uid"] == FLAGGED for job in jobs)


@pytest.mark.parametrize("command", [line for line in _commands() if line.startswith("python -m ")])
def test_training_commands_teach(command: str) -> None:
    """Each module that is named runs and explains itself."""
    done = subprocess.run(
        [sys.executable, *command.split()[1:]], cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout


def test_commands_run_elsewhere_are_shown() -> None:
    """The list of commands that other tests run names only commands of the README."""
    assert set(RUN_ELSEWHERE) <= set(_commands())


def test_links_lead_somewhere() -> None:
    """Every relative link and picture of the README exists."""
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (REPOSITORY / target).exists(), target
