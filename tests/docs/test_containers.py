"""What deploy/ has for containers and clusters is valid, and asks for what the program is."""

import re
import sqlite3
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml
from typer.main import get_command

from db import upgrade
from dicom_node.cli import app
from dicom_node.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy" / "helm" / "lungsentry"
VALUES = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
KUBERNETES = "1.31"
_PLACE = re.compile(r"\{\{ ([.\w]+)((?: \| (?:toYaml|indent \d+))*) \}\}")


def _rendered(text: str) -> str:
    """What Helm makes of the chart, which uses no more of its language than this."""

    def value(found: re.Match[str]) -> str:
        given: Any = {"Release": {"Name": "test"}, "Values": VALUES}
        for name in found[1].strip(".").split("."):
            given = given[name]
        for step in re.findall(r"toYaml|indent \d+", found[2]):
            if step == "toYaml":
                given = yaml.safe_dump(given).rstrip("\n")
            else:
                given = "\n".join(" " * int(step.split()[1]) + line for line in str(given).splitlines())
        return str(given)

    rendered = _PLACE.sub(value, text)
    assert "{{" not in rendered
    return rendered


def _documents() -> list[dict[str, Any]]:
    return [
        document
        for file in sorted((CHART / "templates").glob("*.yaml"))
        for document in yaml.safe_load_all(_rendered(file.read_text(encoding="utf-8")))
    ]


def _pods() -> dict[str, dict[str, Any]]:
    return {
        one["metadata"]["name"]: one["spec"]["template"]["spec"]
        for one in _documents()
        if "template" in one.get("spec", {})
    }


def _takes(arguments: list[str]) -> bool:
    """Whether the program has such a command."""
    command: Any = get_command(app)
    for name in arguments:
        command = command.commands.get(name)
        if command is None:
            return False
    return True


def test_the_chart_is_what_kubernetes_takes() -> None:
    """Every object of its own API is valid, strictly; those of KEDA name what is in the chart."""
    documents = _documents()
    for one in documents:
        if not one["apiVersion"].startswith("keda.sh/"):
            kubernetes_validate.validate(one, KUBERNETES, strict=True)
    names = {(one["kind"], one["metadata"]["name"]) for one in documents}
    (scaled,) = (one["spec"] for one in documents if one["kind"] == "ScaledObject")
    assert ("Deployment", scaled["scaleTargetRef"]["name"]) in names
    assert ("TriggerAuthentication", scaled["triggers"][0]["authenticationRef"]["name"]) in names
    assert scaled["minReplicaCount"] <= scaled["maxReplicaCount"]


def test_the_depth_of_the_queue_is_asked_of_the_schema(tmp_path: Path) -> None:
    """KEDA's query is one that the database answers."""
    file = tmp_path / "db.sqlite3"
    upgrade(f"sqlite:///{file}")
    (scaled,) = (one["spec"] for one in _documents() if one["kind"] == "ScaledObject")
    connection = sqlite3.connect(file)
    try:
        assert connection.execute(scaled["triggers"][0]["metadata"]["query"]).fetchone() == (0,)
    finally:
        connection.close()


def test_every_pod_may_do_little() -> None:
    """No root, no capability, no writable root, no token; a probe where something runs for long."""
    pods = _pods()
    assert set(pods) == {"test-receiver", "test-worker", "test-scheduler", "test-upgrade"}
    for name, pod in pods.items():
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert not pod["automountServiceAccountToken"]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert not container["securityContext"]["allowPrivilegeEscalation"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]
        assert _takes(container["args"]), name
        probes = [one for one in container if one.endswith("Probe")]
        assert len(probes) == (0 if name == "test-upgrade" else 3)


def _variables(environment: dict[str, str]) -> None:
    for name in environment:
        if not name.startswith("LUNGSENTRY_") or name == "LUNGSENTRY_CONFIG":
            continue
        section, _, field = name.removeprefix("LUNGSENTRY_").lower().partition("__")
        assert field in Settings.model_fields[section].annotation.model_fields, name  # type: ignore[union-attr]


def test_settings_of_the_chart_are_the_programs() -> None:
    """Its file of settings, and every variable."""
    assert Settings.model_validate(tomllib.loads(VALUES["settings"])).node.ae_title == "LUNGSENTRY"
    for pod in _pods().values():
        _variables({one["name"]: one["value"] for one in pod["containers"][0]["env"]})


def test_compose_runs_the_programs_commands() -> None:
    """Each role is a command; nothing is privileged; what is mounted is declared."""
    compose = yaml.safe_load((ROOT / "deploy" / "container" / "compose.yaml").read_text(encoding="utf-8"))
    roles = {name: one for name, one in compose["services"].items() if name != "database"}
    assert set(roles) == {"upgrade", "receiver", "worker", "scheduler"}
    for one in roles.values():
        assert _takes(one["command"])
        assert one["read_only"]
        assert one["cap_drop"] == ["ALL"]
        assert set(one["secrets"]) <= set(compose["secrets"])
        assert {volume.partition(":")[0] for volume in one["volumes"]} <= set(compose["volumes"])
        assert (ROOT / "deploy" / "container" / one["build"]["context"] / one["build"]["dockerfile"]).is_file()
        _variables(one["environment"])


def test_the_image_is_made_of_what_is_there() -> None:
    """What is copied exists and is not ignored; it does not run as root, and its first words are a command."""
    text = (ROOT / "deploy" / "container" / "Dockerfile").read_text(encoding="utf-8")
    assert (ROOT / "requirements.lock").is_file()
    assert re.search(r"(?m)^USER 10001:10001$", text)
    assert _takes(re.findall(r'^CMD \["(\w+)"\]', text, re.MULTILINE))
    _variables(dict(re.findall(r"(LUNGSENTRY_\w+)=(\S+)", text)))
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] == "!"}
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    assert {one.rstrip("*") for one in packages["find"]["include"]} | {"README.md", "LICENSE"} <= kept
    assert all((ROOT / one).exists() for one in kept)


def test_a_roles_unit_is_as_hardened_as_the_nodes() -> None:
    """The two differ in what they run, and in nothing else."""
    differs = {"Description", "ExecStart", "ExecStartPre", "EnvironmentFile"}

    def lines(name: str) -> list[str]:
        text = (ROOT / "deploy" / name).read_text(encoding="utf-8")
        return [line for line in text.splitlines() if line and line[0] != "#" and line.partition("=")[0] not in differs]

    assert lines("lungsentry@.service") == lines("lungsentry.service")
    assert "ExecStart=/opt/lungsentry/bin/lungsentry %i" in (ROOT / "deploy" / "lungsentry@.service").read_text()
