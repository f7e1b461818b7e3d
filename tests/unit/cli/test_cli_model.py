"""``model``: what is installed, whether it can be trusted, and who put it in use."""

import shutil
from pathlib import Path

import pytest
from filled_store import FLAGGED, FilledNode, filled_node
from model_folders import write_model
from typer.testing import CliRunner

from analysis.findings import Profile
from db import ModelRole, RequeueFilter
from dicom_node.cli import app
from dicom_node.settings import Worker
from dicom_node.work.models import ModelBench

STUB = "stub@1.2.3"


@pytest.fixture
def node(tmp_path: Path) -> FilledNode:
    return filled_node(tmp_path)


@pytest.fixture
def given(tmp_path: Path) -> Path:
    write_model(tmp_path / "given")
    return tmp_path / "given"


def _models(node: FilledNode) -> dict[str, dict[str, object]]:
    return {one["model"]: one for one in node.json("model", "list")["models"]}


def test_the_shipped_model_is_active_where_nobody_decided(node: FilledNode) -> None:
    """The package's own, active for both profiles, none in shadow; the paper's stands beside it, unused."""
    own, *beside = _models(node).values()
    assert own["shipped"] is True
    assert own["active_for"] == ["chest_ct", "ctac"]
    assert own["shadow_for"] == []
    assert str(own["model"]) in node.run("model", "list").stdout
    assert [(one["name"], one["shipped"], one["active_for"]) for one in beside] == [("killekar2022", False, [])]


def test_the_papers_network_is_put_in_use_by_its_name(node: FilledNode) -> None:
    """It needs no installing; a worker of this node then loads it, and `shipped` returns to the package's own."""
    node.run("model", "activate", "killekar2022", "--profile", "ctac")
    (reference,) = [name for name, one in _models(node).items() if one["name"] == "killekar2022"]
    assert _models(node)[reference]["active_for"] == ["ctac"]
    with node.store() as store:
        bench = ModelBench(Worker(device="cpu"), node.config.parent / "data" / "models", store)
        assert bench.active(Profile.CTAC).provenance(Profile.CTAC).model_name == "killekar2022"
        assert bench.active(Profile.CHEST_CT).provenance(Profile.CHEST_CT).model_name != "killekar2022"
    node.run("model", "activate", "shipped")
    assert _models(node)[reference]["active_for"] == []


def test_models_can_be_looked_at_without_a_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scientist who has no database lists, shows and verifies all the same."""
    monkeypatch.chdir(tmp_path)
    for words in (["list"], ["show", "shipped"]):
        assert CliRunner().invoke(app, ["model", *words, "--json"]).exit_code == 0
    assert not list(tmp_path.iterdir())


def test_installing_activating_and_releasing_are_events_with_a_name(node: FilledNode, given: Path) -> None:
    """Who installed, activated and retired a model is kept, with its SHA-256 and what was active before."""
    shipped = next(iter(_models(node)))
    node.run("model", "install", str(given), "--who", "Physicist")
    assert _models(node)[STUB]["active_for"] == []
    node.run("model", "activate", STUB, "--profile", "ctac", "--who", "Head")
    assert _models(node)[STUB]["active_for"] == ["ctac"]
    assert _models(node)[shipped]["active_for"] == ["chest_ct"]
    node.run("model", "activate", "shipped", "--who", "Deputy")
    assert _models(node)[shipped]["active_for"] == ["chest_ct", "ctac"]
    shown = node.json("model", "show", STUB)
    events = [(one["event"], one["actor"]["name"], one["from_state"], one["to_state"]) for one in shown["events"]]
    assert events == [
        ("install", "Physicist", None, None),
        ("assign_active", "Head", "shipped", STUB),
        ("release_active", "Deputy", STUB, "shipped"),
    ]
    assert {one["actor"]["kind"] for one in shown["events"]} == {"user"}
    assert shown["sha256"] in shown["events"][1]["detail"]
    assert "Head" in node.run("model", "show", STUB).stdout


def test_what_is_activated_is_pinned_by_its_hash(node: FilledNode, given: Path) -> None:
    """The database names the SHA-256 beside name and version."""
    manifest = write_model(given)
    node.run("model", "install", str(given))
    node.run("model", "activate", STUB)
    with node.store() as store:
        for profile in Profile:
            assigned = store.models.assigned(profile, ModelRole.ACTIVE)
            assert assigned is not None
            assert (assigned.reference, assigned.sha256) == (STUB, manifest.sha256)


def test_a_shadow_is_another_model_than_the_active_one(node: FilledNode, given: Path) -> None:
    """The active model in its own shadow is refused; a shadow that becomes active leaves the shadow; none ends it."""
    assert "active" in node.run("model", "shadow", "shipped", code=2).stderr
    node.run("model", "install", str(given))
    node.run("model", "shadow", STUB)
    assert _models(node)[STUB]["shadow_for"] == ["chest_ct", "ctac"]
    node.run("model", "activate", STUB, "--profile", "ctac")
    assert _models(node)[STUB]["shadow_for"] == ["chest_ct"]
    node.run("model", "shadow", "none")
    assert _models(node)[STUB]["shadow_for"] == []


def test_show_tells_terms_hash_and_thresholds_of_each_profile(node: FilledNode, given: Path) -> None:
    """What a person must know before the model is put in use."""
    manifest = write_model(given)
    node.run("model", "install", str(given))
    shown = node.json("model", "show", STUB)
    assert shown["sha256"] == manifest.sha256
    assert set(shown["thresholds"]) == {"chest_ct", "ctac"}
    assert "esearch use only" in shown["terms"]
    assert shown["figures"] == {"covid20_lesion_dice": 0.25}
    told = node.run("model", "show", STUB).stdout
    for word in (manifest.sha256, "thresholds, ctac", "lesion_probability 0.5", "Research use only", "0.250"):
        assert word in told


def test_verify_says_ok_or_why_not(node: FilledNode, given: Path) -> None:
    """All models by default, or those named, or a folder; a changed byte is told and is exit code 1.

    So is a model that computes and sees nothing: the untrained one calls all of the phantom's lung opacity.
    """
    node.run("model", "install", str(given))
    checked = node.json("model", "verify", code=1)
    assert {one["model"] for one in checked["models"]} == set(_models(node))
    assert {one["model"]: one["ok"] for one in checked["models"]} == {name: name != STUB for name in set(_models(node))}
    assert "phantom" in next(one["why"] for one in checked["models"] if one["model"] == STUB)
    weights = next(path for path in given.parent.rglob("stub@1.2.3/model.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    checked = node.json("model", "verify", code=1)
    assert {one["model"]: one["ok"] for one in checked["models"]}[STUB] is False
    assert "SHA-256" in node.run("model", "verify", STUB, code=1).stdout
    assert node.json("model", "verify", "shipped")["ok"] is True
    assert "phantom" in node.json("model", "verify", str(given), code=1)["models"][0]["why"]
    assert "no such model" in node.run("model", "verify", "9.9.9", code=1).stderr


def test_a_model_that_sees_no_opacity_is_told_before_it_is_used(node: FilledNode, given: Path) -> None:
    """Put in shadow or activated, it is said that the phantom speaks against it; not so of the shipped one."""
    node.run("models", "install", str(given))
    for words in (["shadow", STUB], ["activate", STUB]):
        assert "of a phantom's lung opacity" in " ".join(node.run("models", *words).stderr.split()), words
    assert "phantom" not in node.run("models", "activate", "shipped").stderr


def test_a_broken_model_is_not_activated(node: FilledNode, given: Path) -> None:
    """Activation verifies first: nothing changes."""
    node.run("model", "install", str(given))
    weights = next(path for path in given.parent.rglob("stub@1.2.3/model.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    assert "SHA-256" in node.run("model", "activate", STUB, code=1).stderr
    assert _models(node)[STUB]["active_for"] == []


def test_a_model_in_use_that_is_missing_is_told(node: FilledNode, given: Path) -> None:
    """Somebody removed the folder of the active model: the list says so."""
    node.run("model", "install", str(given))
    node.run("model", "activate", STUB)
    next(given.parent.rglob("stub@1.2.3")).rename(given.parent / "moved")
    assert node.json("model", "list")["missing"] == [STUB]
    assert "not installed" in node.run("model", "list").stderr
    failed = [one for one in node.json("doctor", code=1)["checks"] if one["name"] == "weights"]
    assert any(STUB in str(one) and "install" in str(one) for one in failed)


def test_export_writes_what_install_takes(node: FilledNode, given: Path, tmp_path: Path) -> None:
    """A model goes to another node as a folder."""
    node.run("model", "install", str(given))
    node.run("model", "export", STUB, str(tmp_path / "out"))
    (tmp_path / "elsewhere").mkdir()
    other = filled_node(tmp_path / "elsewhere")
    other.run("model", "install", str(tmp_path / "out" / STUB))
    assert STUB in _models(other)


@pytest.mark.parametrize(
    ("words", "fits"),
    [
        (["--model-version", "1.0"], True),
        (["--model-version", "test@1.0"], True),
        (["--model-version", "other@1.0"], False),
        (["--not-model-version", "1.0"], False),
        (["--not-model-version", "2.0"], True),
        (["--not-model-version", "other@1.0"], True),
    ],
)
def test_requeue_by_who_made_the_result(node: FilledNode, words: list[str], *, fits: bool) -> None:
    """From a version, or from any other, with the model's name or without; a series without result is neither."""
    planned = node.json("requeue", *words, "--dry-run", code=0 if fits else 1)
    assert [one["series_instance_uid"] for one in planned["series"]] == ([FLAGGED] if fits else [])


def test_every_result_names_model_version_and_hash(node: FilledNode) -> None:
    """On the command line, as JSON and for people, and in the database."""
    shown = node.json("series", "show", FLAGGED)["result"]["findings"]["provenance"]
    assert (shown["model_name"], shown["model_version"], shown["weights_sha256"]) == ("test", "1.0", "0" * 64)
    assert "0" * 64 in node.run("series", "show", FLAGGED).stdout
    with node.store() as store:
        (candidate,) = store.requeue.select(RequeueFilter(model_version="test@1.0"))
        assert candidate.series_instance_uid == FLAGGED


def test_a_restored_backup_has_the_activated_model_and_it_runs(node: FilledNode, given: Path, tmp_path: Path) -> None:
    """Everything is wiped after a backup: the restored node knows the model, has it, and it segments."""
    node.run("models", "install", str(given))
    node.run("models", "activate", STUB, "--profile", "ctac")
    ran = node.json("models", "verify", STUB, code=1)["models"]
    assert ran[0]["phantom_opacity_percent"] == 100.0  # the stub is loaded, and calls everything
    copy = tmp_path / "copy.tar"
    node.run("db", "backup", str(copy))
    assert "move them away" in node.run("db", "restore", str(copy), code=1).stderr
    with node.store() as store:
        standing = store.status()
    shutil.rmtree(tmp_path / "data")
    node.run("db", "restore", str(copy))
    listed = node.json("models", "list")
    assert listed["missing"] == []
    assert _models(node)[STUB]["active_for"] == ["ctac"]
    with node.store() as store:
        assert store.status() == standing
    assert node.json("models", "verify", STUB, code=1)["models"] == ran


def test_what_is_no_backup_is_not_restored(node: FilledNode, tmp_path: Path) -> None:
    """Another file is told apart, and nothing is left of it."""
    shutil.rmtree(tmp_path / "data")
    other = tmp_path / "other.tar"
    other.write_bytes(b"nothing")
    assert "no backup" in node.run("db", "restore", str(other), code=1).stderr
    assert list((tmp_path / "data").iterdir()) == []
