"""What an administrator installs from deploy/ is what the program takes."""

import json
import math
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from dicom_node.settings import Settings, load

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


def test_the_example_settings_load() -> None:
    """The file is accepted as it is, and every value it sets is the value in force."""
    file = DEPLOY / "lungsentry.example.toml"
    settings = load(file)
    assert settings.node.ae_title == "LUNGSENTRY"
    assert (settings.retention.analysed_days, settings.retention.failed_days) == (30, None)
    assert not settings.receiver.accept_unknown_peers


def test_the_default_thresholds_are_the_cards_operating_points() -> None:
    """Without any setting, and as the example has it, they are those of the shipped model, rounded down to a half."""
    card = (DEPLOY.parent / "analysis" / "weights" / "MODEL_CARD.md").read_text(encoding="utf-8")
    derived = {
        profile: math.floor(2 * float(burden)) / 2
        for profile, burden in re.findall(r"\*\*(chest_ct|ctac): burden ([\d.]+) %\*\*", card)
    }
    for settings in (Settings(), load(DEPLOY / "lungsentry.example.toml")):
        policy = settings.policy
        assert {"chest_ct": policy.chest_ct.burden_percent, "ctac": policy.ctac.burden_percent} == derived


def test_what_the_example_comments_out_loads_too(tmp_path: Path) -> None:
    """A line that an administrator uncomments is a valid setting."""
    text = (DEPLOY / "lungsentry.example.toml").read_text()
    sections = re.sub(r"(?m)^# (?=\[|[a-z_]+ = )", "", text).replace(
        "/etc/lungsentry/database-url", str(tmp_path / "u")
    )
    (tmp_path / "u").write_text("postgresql+psycopg://node@localhost/lungsentry\n")
    destinations = Settings.model_validate(tomllib.loads(sections)).destinations
    assert destinations[0].name == "PACS"
    assert {one.channel for one in destinations} == {"dicom", "stow", "mail", "webhook", "hl7", "syslog"}


def _commands() -> set[str]:
    found: set[str] = set()
    for file in (DEPLOY / "scanners.md", DEPLOY / "install.md", DEPLOY / "lungsentry.service"):
        for line in file.read_text().splitlines():
            found.update(re.findall(r"(?:bin/|`|^)lungsentry ([a-z]+(?: [a-z]+)?)", line))
    return found


def test_the_commands_that_are_shown_exist() -> None:
    """Every ``lungsentry ...`` in the instructions names a command of the program."""
    typer = pytest.importorskip("typer")
    cli = pytest.importorskip("dicom_node.cli.app")
    root = typer.main.get_command(cli.app)
    commands = _commands()
    assert len(commands) > 8
    for shown in sorted(commands):
        first, _, second = shown.partition(" ")
        assert first in root.commands, shown
        below = getattr(root.commands[first], "commands", None)
        if below is not None:
            assert second in below, shown


def test_orthanc_and_the_rule_speak_of_the_same_peer() -> None:
    """The Lua rule sends to the modality that the JSON file defines, under the node's default AE title."""
    config = json.loads((DEPLOY / "orthanc" / "lungsentry.json").read_text())
    (name,) = config["DicomModalities"]
    assert f"/modalities/{name}/store" in (DEPLOY / "orthanc" / "lungsentry.lua").read_text()
    assert config["DicomModalities"][name]["AET"] == Settings.model_construct().node.ae_title
    assert config["LuaScripts"] == ["lungsentry.lua"]


def test_dcm4chee_rule_is_well_formed() -> None:
    """Every entry of the LDIF has a name and a class, and the rule names the exporter that is there."""
    text = re.sub(r"(?m)^#.*\n", "", (DEPLOY / "dcm4chee" / "lungsentry.ldif").read_text())
    entries = [block for block in text.split("\n\n") if "dn:" in block]
    assert len(entries) == 6
    assert all(re.search(r"(?m)^dn: .+\nobjectClass: \w+$", entry) for entry in entries)
    assert set(re.findall(r"dcmExporterID: (\w+)", text)) == {"LUNGSENTRY"}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_the_unit_is_valid() -> None:
    """Every line of the unit is understood by systemd."""
    judged = subprocess.run(
        ["systemd-analyze", "verify", str(DEPLOY / "lungsentry.service")], capture_output=True, text=True, check=False
    )
    complaints = [line for line in judged.stderr.splitlines() if "Unknown" in line or "Failed to parse" in line]
    assert not complaints


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_the_unit_gives_little_away() -> None:
    """Systemd's own judgement of what the service may do: as little as a network service can be given ("OK")."""
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=20", str(DEPLOY / "lungsentry.service")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert judged.returncode == 0, judged.stdout[-400:]


def _unit() -> dict[str, list[str]]:
    """The unit's settings, each with its values."""
    found: dict[str, list[str]] = {}
    for line in (DEPLOY / "lungsentry.service").read_text().splitlines():
        name, given, value = line.partition("=")
        if given and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def test_one_killed_process_does_not_end_the_unit() -> None:
    """What is killed for memory is started again by the node; the whole is bounded and is not restarted for ever."""
    unit = _unit()
    assert unit["OOMPolicy"] == ["continue"]
    assert unit["MemoryMax"]
    assert unit["LimitCORE"] == ["0"]
    assert int(unit["StartLimitBurst"][0]) * int(unit["RestartSec"][0]) < int(unit["StartLimitIntervalSec"][0])
