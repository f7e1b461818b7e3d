"""``analyze`` on real files in a folder: chests of known burden, and everything that is not one."""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import structlog
from model_sets import models_with
from sr_reports import texts_of
from threshold_segmenter import ThresholdSegmenter
from typer.testing import CliRunner

from analysis import pipeline
from analysis.errors import OutOfMemory
from dicom_node.cli import app, local_analysis
from dicom_node.cli.phantoms import Kind, WrittenPhantom, write_phantom
from dicom_node.simulator import Phantom, PhantomSpec, Variant, build_phantom, write_series, write_variant

FINDINGS = {
    *("lung_volume_ml", "ggo_volume_ml", "high_opacity_volume_ml", "burden_percent", "po_percent", "pho_percent"),
    *("lss", "lhos", "quality", "model_version", "weights_sha256"),
}


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A command sets up logging for its process; here the process goes on."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chest:
    folder: Path
    written: WrittenPhantom


@pytest.fixture(scope="module")
def chest(tmp_path_factory: pytest.TempPathFactory) -> _Chest:
    """An attenuation-correction CT with opacities, small."""
    folder = tmp_path_factory.mktemp("chest")
    return _Chest(folder=folder, written=write_phantom(Kind.CTAC_OPACITIES, folder, {"matrix": 128}))


@pytest.fixture(autouse=True)
def _thresholds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Thresholds take the model's place, and no settings file is near."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(local_analysis, "load_models", lambda _settings, _model: models_with(ThresholdSegmenter()))


def _analyze(*words: object) -> tuple[int, Any, str]:
    done = CliRunner().invoke(app, ["analyze", *map(str, words), "--json"])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, json.loads(done.stdout) if done.stdout else None, done.stderr


def test_json_of_an_analysed_series(chest: _Chest) -> None:
    """JSON has exactly the promised fields; the figures are those of the findings, and the case is flagged."""
    code, document, stderr = _analyze(chest.folder)
    assert code == 0, stderr
    assert stderr == ""
    (series,) = document["series"]
    assert set(series) == {"series_instance_uid", "status", "reason", "profile", "findings", "alert", "seconds"}
    assert series["series_instance_uid"] == chest.written.series_instance_uid
    assert (series["status"], series["reason"], series["profile"]) == ("analysed", None, "ctac")
    assert set(series["findings"]) >= FINDINGS
    truth = chest.written.truth
    assert series["findings"]["lung_volume_ml"] == pytest.approx(truth.lung_volume_ml, rel=0.2)
    assert series["alert"]["category"] in {"1", "2", "3"}
    assert series["alert"]["headline"]
    assert series["seconds"]["total"] >= series["seconds"]["model"] >= 0


def test_out_writes_the_objects_and_pictures(chest: _Chest, tmp_path: Path) -> None:
    """--out holds the DICOM objects of this series, the report first, and PNG pictures, and JSON names them."""
    code, document, _ = _analyze(chest.folder, "--out", tmp_path / "out")
    assert code == 0
    files = [Path(name) for name in document["series"][0]["files"]]
    objects = [pydicom.dcmread(file) for file in files if file.suffix == ".dcm"]
    pictures = [file for file in files if file.suffix == ".png"]
    modalities = [one.Modality for one in objects]
    assert modalities == ["SR", "SEG", *["OT"] * (len(modalities) - 2)]
    assert {"summary.dcm", "key-slice-1.dcm"} <= {file.name for file in files}
    assert {one.StudyInstanceUID for one in objects} == {chest.written.study_instance_uid}
    assert pictures
    assert all(picture.read_bytes().startswith(b"\x89PNG") for picture in pictures)


def test_the_table_is_captioned_for_research(chest: _Chest) -> None:
    """People get a table with the burden, and the research-use statement below it."""
    done = CliRunner().invoke(app, ["analyze", str(chest.folder)])
    assert done.exit_code == 0
    assert "burden %" in done.stdout
    assert "Research use only. Not a medical device." in done.stdout
    assert "Phantom" not in done.stdout


def _opaque_left(share: float) -> tuple[Phantom, float]:
    """A chest whose left lung is opaque, as a whole or its lower part; the share of both lungs that is, in percent."""
    sound = build_phantom(PhantomSpec.normal(matrix=128))
    left = sound.lungs == 2
    held = np.flatnonzero(left.any(axis=(1, 2)))
    part = left & (np.arange(len(left))[:, None, None] < held[0] + share * len(held))
    grain = np.random.default_rng(0).normal(20, 40, left.shape)
    hu = np.where(part & (sound.hu > -930), grain, sound.hu).astype(np.int16)  # the air of the bronchi stays
    return replace(sound, hu=hu), 100 * np.count_nonzero(part) / np.count_nonzero(sound.lungs)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_an_opaque_lung_counts_where_it_belongs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, share: float) -> None:
    """Though the model sees no opacity, the burden is within a fifth of the truth, flagged, and said to be guessed."""
    monkeypatch.setattr(ThresholdSegmenter, "segment", lambda _self, hu, _mask, **_: np.zeros(hu.shape, np.uint8))
    sick, true_percent = _opaque_left(share)
    write_series(sick, tmp_path / "opaque")
    code, document, _ = _analyze(tmp_path / "opaque")
    assert code == 0
    (series,) = document["series"]
    findings = series["findings"]
    assert findings["burden_percent"] == pytest.approx(true_percent, rel=0.2)
    assert findings["right_burden_percent"] == 0
    assert (findings["quality"], findings["lacking_lungs"]) == ("limited", ["left"])
    assert any("counts as high opacity, its border guessed" in text for text in findings["quality_reasons"])
    assert findings["algorithms"]["places"]["name"] == "place of a lung beside the other"
    assert series["alert"] is not None


@pytest.mark.parametrize(
    ("share", "reason"),
    [
        (1.0, "The left lung was not found (removed, collapsed or opaque)."),
        (0.5, "Part of the left lung was not found (removed, collapsed or opaque)"),
    ],
)
def test_a_lung_that_is_not_found_is_no_clean_negative(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, share: float, reason: str
) -> None:
    """A left lung that is opaque, as a whole or its lower half, to a model that sees no opacity in what is left.

    Where its place cannot be told it is said, quality is limited, and the presence of opacity undetermined.
    """
    monkeypatch.setattr(ThresholdSegmenter, "segment", lambda _self, hu, _mask, **_: np.zeros(hu.shape, np.uint8))
    monkeypatch.setattr(pipeline, "with_hidden_lung", lambda _volume, lungs, _model: lungs)
    sick, _ = _opaque_left(share)
    write_series(sick, tmp_path / "opaque")
    code, document, _ = _analyze(tmp_path / "opaque", "--out", tmp_path / "out")
    assert code == 0
    (series,) = document["series"]
    findings = series["findings"]
    assert (findings["quality"], findings["lacking_lungs"]) == ("limited", ["left"])
    assert any(text.startswith(reason) for text in findings["quality_reasons"])
    assert findings["left_lung_coverage_percent"] == pytest.approx(100 * (1 - share), abs=15)
    assert findings["right_lung_coverage_percent"] == 100
    shown = CliRunner().invoke(app, ["analyze", str(tmp_path / "opaque")]).stdout
    report = pydicom.dcmread(next(Path(path) for path in series["files"] if path.endswith(".dcm")))
    assert series["alert"] is None
    for told in (" ".join(shown.split()), " ".join(texts_of(report))):
        assert "left lung was not found" in told
        assert "Presence of opacity is undetermined" in told
        assert "No opacity at or above the thresholds" not in told


@pytest.fixture(scope="module")
def variants(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MR, a localizer and a CT without lungs, of one phantom."""
    folder = tmp_path_factory.mktemp("variants")
    phantom = build_phantom(PhantomSpec.cardiac_ctac(matrix=128))
    for variant in (Variant.MR, Variant.LOCALIZER, Variant.NO_LUNGS):
        write_variant(variant, phantom, folder / variant.value)
    return folder


@pytest.mark.parametrize(
    ("variant", "word"), [(Variant.MR, "MR"), (Variant.LOCALIZER, "localizer"), (Variant.NO_LUNGS, "lung")]
)
def test_what_is_no_chest_is_excluded_with_a_reason(variants: Path, variant: Variant, word: str) -> None:
    """An exclusion is no failure: exit code 0, no findings, and the reason says which rule saw what."""
    code, document, _ = _analyze(variants / variant.value)
    assert code == 0
    (series,) = document["series"]
    assert (series["status"], series["findings"], series["alert"]) == ("excluded", None, None)
    assert word.lower() in series["reason"].lower()


def test_of_two_reconstructions_one_is_analysed(tmp_path: Path) -> None:
    """The other reconstruction is excluded, and its reason names the choice."""
    phantom = build_phantom(PhantomSpec.cardiac_ctac(matrix=128))
    write_variant(Variant.TWO_RECONSTRUCTIONS, phantom, tmp_path / "two")
    code, document, _ = _analyze(tmp_path / "two")
    assert code == 0
    by_status = {series["status"]: series for series in document["series"]}
    assert set(by_status) == {"analysed", "excluded"}
    assert "reconstruction" in by_status["excluded"]["reason"]


def test_a_truncated_image_fails_the_series(chest: _Chest, tmp_path: Path) -> None:
    """Pixels that cannot be decoded: the series failed, the cause is told, exit code 1."""
    folder = tmp_path / "truncated"
    folder.mkdir()
    for path in chest.written.paths:
        (folder / path.name).write_bytes(path.read_bytes())
    broken = folder / chest.written.paths[10].name
    broken.write_bytes(broken.read_bytes()[:-5000])
    code, document, _ = _analyze(folder)
    assert code == 1
    (series,) = document["series"]
    assert series["status"] == "failed"
    assert series["reason"]


def test_an_analysis_that_fails_is_told(chest: _Chest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failing analysis is a failed series and exit code 1, not a traceback."""

    def short(*_args: object, **_named: object) -> None:
        raise OutOfMemory

    monkeypatch.setattr(local_analysis, "analyse", short)
    code, document, _ = _analyze(chest.folder)
    assert code == 1
    assert document["series"][0]["status"] == "failed"
    assert "memory" in document["series"][0]["reason"]


def test_nothing_readable_is_exit_code_1(tmp_path: Path) -> None:
    """A folder with a text file: JSON with no series, the file is named on standard error, exit code 1."""
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "notes.txt").write_text("not DICOM")
    code, document, stderr = _analyze(tmp_path / "text")
    assert code == 1
    assert document == {"notes": [], "series": []}
    assert "notes.txt: not a DICOM file" in stderr
    assert "no DICOM series was found" in stderr


def test_a_missing_path_is_exit_code_2() -> None:
    """A path that does not exist is a usage error."""
    code, document, stderr = _analyze("nowhere")
    assert (code, document) == (2, None)
    assert stderr.startswith("error: there is no file or folder nowhere")
