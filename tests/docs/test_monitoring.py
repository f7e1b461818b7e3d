"""What the dashboard and the alert rules ask for is what the node tells."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry, values
from prometheus_client.multiprocess import MultiProcessCollector

from db import upgrade
from dicom_node.metrics import counters
from dicom_node.metrics.standing import Standing

MONITORING = Path(__file__).resolve().parents[2] / "deploy" / "monitoring"
RULES = MONITORING / "lungsentry.rules.yml"
TOLD_BY_THE_SERVER = {"lungsentry_disk_free_bytes"}
EVENTS = (
    {"event": "series.analysed", "seconds": {"segment": 2.0}},
    {"event": "delivery.sent", "destination": "PACS"},
    {"event": "delivery.failed", "destination": "PACS"},
    {"event": "process.died", "process": "worker"},
    {"event": "sweep.failed", "sweep": "disk", "cause": "StoreError: it failed"},
)


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, set[str]]]:
    """The labels of each metric of a node that has had every event, by the names that queries use."""
    monkeypatch.setenv(counters.FOLDER, str(tmp_path))
    monkeypatch.setattr(values, "ValueClass", values.MultiProcessValue(lambda: "node-0"))
    counted = counters.EventCounters()
    for event in EVENTS:
        counted(None, "info", event)
    url = f"sqlite:///{tmp_path / 'db.sqlite3'}"
    upgrade(url)
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(tmp_path))
    registry.register(Standing(url))
    families = list(registry.collect())
    yield {sample.name: set(sample.labels) for family in families for sample in family.samples} | {
        family.name: set(getattr(family, "_labelnames", ())) for family in families if not family.samples
    }
    for clean_up in values._multi_process_cleanups:
        clean_up()


def _expressions() -> dict[str, str]:
    rules = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"][0]["rules"]
    panels = json.loads((MONITORING / "lungsentry.dashboard.json").read_text(encoding="utf-8"))["panels"]
    return {rule["alert"]: rule["expr"] for rule in rules} | {
        f"{panel['title']} {target['refId']}": target["expr"] for panel in panels for target in panel["targets"]
    }


def test_every_metric_that_is_asked_for_is_told(told: dict[str, set[str]]) -> None:
    """A name that no process tells would make an alert that never comes. Lateness has no value before a receipt."""
    told |= {name: set() for name in TOLD_BY_THE_SERVER} | {"lungsentry_lateness_seconds": {"quantile"}}
    asked = {what: set(re.findall(r"\blungsentry_\w+", text)) for what, text in _expressions().items()}
    missing = {what: names - set(told) for what, names in asked.items() if names - set(told)}
    assert not missing
    assert len(set().union(*asked.values())) >= len(told) - 8, "most of what is told is shown"


def test_every_label_that_is_selected_is_one_of_its_metric(told: dict[str, set[str]]) -> None:
    """Likewise a label."""
    told["lungsentry_lateness_seconds"] = {"quantile"}
    for what, text in _expressions().items():
        for name, selected in re.findall(r"\b(lungsentry_\w+)\{([^}]*)\}", text):
            assert set(re.findall(r"(\w+)=", selected)) <= told[name], what


def test_every_rule_says_what_is_the_matter() -> None:
    """An alert names what holds, and how pressing it is."""
    rules = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"][0]["rules"]
    assert len(rules) > 10
    assert all(rule["annotations"]["summary"] and rule["labels"]["severity"] for rule in rules)
    assert len({rule["alert"] for rule in rules}) == len(rules)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_the_rules_are_prometheus_own(tmp_path: Path) -> None:
    """Prometheus takes the rules, and the dashboard's queries as such."""
    queries = tmp_path / "dashboard.yml"
    panels = [
        {"record": f"panel:number{number}", "expr": text.replace("$__rate_interval", "5m")}
        for number, text in enumerate(_expressions().values())
    ]
    queries.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": panels}]}))
    judged = subprocess.run(
        ["promtool", "check", "rules", str(RULES), str(queries)], capture_output=True, text=True, check=False
    )
    assert judged.returncode == 0, judged.stdout + judged.stderr
