"""From DICOM files to findings: copies stored in other ways, parts of chests, and what is no chest at all."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from model_sets import models_with
from pydicom.dataset import Dataset
from stored_copies import Storing, read_slices, write_copy
from threshold_segmenter import ThresholdSegmenter

from alerts import AlertPolicy, Presence, ProfileThresholds, RequestContext, evaluate
from analysis.findings import Findings, Lobe, Profile, QualityLevel
from analysis.pipeline import AnalysedSeries, ExcludedSeries, analyse
from analysis.series import read_series
from dicom_node.simulator import Phantom, PhantomSpec, Variant, build_phantom, write_series, write_variant

STORINGS = {
    "mirrored": Storing(columns_flipped=True),
    "upside down": Storing(rows_flipped=True),
    "transposed": Storing(transposed=True),
    "reversed": Storing(reversed_order=True),
    "feet first": Storing(feet_first=True),
    "all at once": Storing(feet_first=True, rows_flipped=True, transposed=True),
}
POLICY = AlertPolicy(
    thresholds=dict.fromkeys(Profile, ProfileThresholds(burden_percent=1.0, lesion_volume_ml=5.0)), expected_words=()
)


def _analyse(folder: Path) -> AnalysedSeries | ExcludedSeries:
    (series,) = read_series([folder]).series
    return analyse(series, models=models_with(ThresholdSegmenter()))


def _analysed(folder: Path) -> AnalysedSeries:
    outcome = _analyse(folder)
    assert isinstance(outcome, AnalysedSeries), outcome.screening.reason
    return outcome


@pytest.fixture(scope="module")
def opacities() -> Phantom:
    """A chest with opacities of known volume."""
    return build_phantom(PhantomSpec.opacities(matrix=128))


@pytest.fixture(scope="module")
def phantom_slices(opacities: Phantom, tmp_path_factory: pytest.TempPathFactory) -> list[Dataset]:
    """Its slices, from feet to head."""
    return read_slices(write_series(opacities, tmp_path_factory.mktemp("opacities")))


@pytest.fixture(scope="module")
def real_slices(shared_data: Path) -> list[Dataset]:
    """Every fourth slice of a real chest with opacities, from feet to head."""
    return read_slices(sorted((shared_data / "dicom" / "covid_P001").iterdir()))[::4]


@pytest.fixture(scope="module", params=["phantom", pytest.param("real", marks=pytest.mark.real_data)])
def slices(request: pytest.FixtureRequest) -> list[Dataset]:
    """The slices of a phantom, and of a patient."""
    return request.getfixturevalue(f"{request.param}_slices")


@pytest.fixture(scope="module")
def plain(slices: list[Dataset], tmp_path_factory: pytest.TempPathFactory) -> AnalysedSeries:
    """They as they are."""
    return _analysed(write_copy(slices, tmp_path_factory.mktemp("plain")))


def _same(one: object, other: object) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    return one == (pytest.approx(other, rel=1e-6, abs=1e-6) if isinstance(other, float) else other)


@pytest.mark.parametrize("storing", STORINGS.values(), ids=STORINGS.keys())
def test_the_same_chest_gives_the_same_findings(
    slices: list[Dataset], plain: AnalysedSeries, storing: Storing, tmp_path: Path
) -> None:
    """However rows, columns and slices are ordered: every figure, score and reason to rounding."""
    copied = _analysed(write_copy(slices, tmp_path, storing=storing)).findings
    expected, found = plain.findings.summary(), copied.summary()
    assert [name for name in expected if not _same(expected[name], found[name])] == []
    assert [key.sop_instance_uid for key in copied.key_slices] == [
        key.sop_instance_uid for key in plain.findings.key_slices
    ]


@pytest.mark.parametrize("part", ["lower half", "upper half", "heart"])
def test_a_part_of_a_chest_is_measured_as_that_part(
    slices: list[Dataset], plain: AnalysedSeries, part: str, tmp_path: Path
) -> None:
    """Volumes of the lungs are those of the same slices of the whole; coverage, cut lungs and lobes are told.

    Scores that cannot be told are absent, with the lobe that is in the way.
    """
    count = len(slices)
    kept = {"lower half": (0, count // 2), "upper half": (count // 2, count), "heart": (count // 5, 3 * count // 4)}
    start, stop = kept[part]
    found = _analysed(write_copy(slices[start:stop], tmp_path))
    findings, quality = found.findings, found.findings.quality
    weights = plain.volume.voxel_volumes_ml()[start:stop]
    for region, sides in ((findings.both_lungs, (1, 2)), (findings.right_lung, (1,)), (findings.left_lung, (2,))):
        whole = np.isin(plain.lungs.labels[start:stop], sides)
        assert region.lung_volume_ml == pytest.approx(float(whole.sum(axis=(1, 2)) @ weights), rel=0.03)
        lesion = whole & (plain.labels[start:stop] > 0)
        assert region.lesion_volume_ml == pytest.approx(float(lesion.sum(axis=(1, 2)) @ weights), rel=0.05)
    occupied = np.flatnonzero(plain.lungs.labels.any(axis=(1, 2)))
    true_percent = 100 * np.count_nonzero((occupied >= start) & (occupied < stop)) / occupied.size
    assert quality.level is QualityLevel.LIMITED
    assert quality.lung_coverage_percent == pytest.approx(true_percent, abs=15)
    ends = {"lower half": {"above"}, "upper half": {"below"}, "heart": {"above", "below"}}[part]
    for end in ("above", "below"):
        assert any(f"cut off {end}" in reason for reason in quality.reasons) is (end in ends)
    assert (findings.lss, findings.lhos) == (None, None)
    assert findings.scores_absent_because
    assert findings.lobes_in_part
    named = {"lower half": Lobe.LEFT_UPPER, "upper half": Lobe.LEFT_LOWER, "heart": Lobe.LEFT_LOWER}[part]
    assert named in findings.lobes_in_part or named not in findings.lobes


def test_a_cardiac_attenuation_map_has_no_scores(tmp_path: Path) -> None:
    """Forty slices around the heart: volumes of the imaged part within 6 %, limited, no score, and why."""
    phantom = build_phantom(PhantomSpec.cardiac_ctac(matrix=256))
    write_series(phantom, tmp_path)
    findings = _analysed(tmp_path).findings
    # pixels of 2 mm at the border, half lung, count as lung, so that no opacity at the pleura is lost
    assert findings.both_lungs.lung_volume_ml == pytest.approx(phantom.lung_volume_ml, rel=0.06)
    assert findings.quality.level is QualityLevel.LIMITED
    assert findings.quality.lung_coverage_percent is not None
    assert 35 < findings.quality.lung_coverage_percent < 75
    assert (findings.lss, findings.lhos) == (None, None)
    assert any("imaged in part" in reason for reason in findings.scores_absent_because)


def _grid(phantom: Phantom) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.random.Generator]:
    """Millimetres from the middle, (slice, row, column), and a source of noise."""
    count, rows, columns = phantom.hu.shape
    z = (np.arange(count) - count / 2) * phantom.slice_spacing_mm
    y, x = ((np.arange(size) - size / 2) * phantom.pixel_spacing_mm for size in (rows, columns))
    return z[:, None, None], y[None, :, None], x[None, None, :], np.random.default_rng(5)


def _foam(phantom: Phantom) -> np.ndarray:
    """A cube of water with two cylinders of foam as dense as lung: a phantom for quality assurance."""
    z, y, x, rng = _grid(phantom)
    hu = np.where((np.abs(x) < 150) & (np.abs(y) < 110) & (np.abs(z) < 1000), 0.0, -1000.0)
    for middle in (-75, 75):
        hu = np.where((((x - middle) / 55) ** 2 + (y / 75) ** 2 < 1) & (np.abs(z) < 110), -820.0, hu)
    return hu + rng.normal(0, 12, hu.shape)


def _head(phantom: Phantom) -> np.ndarray:
    """A skull with brain, nasal cavity and sinuses."""
    z, y, x, rng = _grid(phantom)
    radius = np.sqrt((x / 75) ** 2 + (y / 95) ** 2 + (z / 110) ** 2)
    hu = np.where(radius < 1, 35.0, -1000.0)
    hu = np.where((radius > 0.9) & (radius < 1), 900.0, hu)
    for middle in (-25, 25):
        hu = np.where(((x - middle) / 15) ** 2 + ((y + 60) / 18) ** 2 + ((z + 50) / 18) ** 2 < 1, -990.0, hu)
    return hu + rng.normal(0, 6, hu.shape)


def _abdomen(phantom: Phantom) -> np.ndarray:
    """A belly with fat, spine and bowel gas."""
    z, y, x, rng = _grid(phantom)
    body = np.broadcast_to((x / 160) ** 2 + (y / 110) ** 2, phantom.hu.shape)
    hu = np.where(body < 1, np.where(body < 0.75, 45.0, -100.0), -1000.0)
    hu = np.where(x**2 + (y - 60) ** 2 < 22**2, 300.0, hu)
    for across, depth, height in ((-80, -30, -40), (-20, -50, 0), (60, -40, 50), (90, -10, -20)):
        hu = np.where(((x - across) / 35) ** 2 + ((y - depth) / 25) ** 2 + ((z - height) / 45) ** 2 < 1, -995.0, hu)
    return hu + rng.normal(0, 12, hu.shape)


def _noise(phantom: Phantom) -> np.ndarray:
    """Nothing but noise over the whole scale."""
    return _grid(phantom)[3].uniform(-1024, 1500, phantom.hu.shape)


def _bases(phantom: Phantom) -> np.ndarray:
    """The belly once more, with 25 mm of lung on top of it."""
    hu = phantom.hu.astype(float)
    first = int(np.flatnonzero(phantom.lungs.any(axis=(1, 2)))[0])
    kept = first + round(25 / phantom.slice_spacing_mm)
    return np.concatenate([np.repeat(hu[first : first + 1], len(hu) - kept, axis=0), hu[:kept]])


STRANGE: dict[str, Callable[[Phantom], np.ndarray]] = {
    "foam": _foam,
    "head": _head,
    "abdomen": _abdomen,
    "noise": _noise,
    "lung bases": _bases,
    "inverted scale": lambda phantom: -phantom.hu.astype(float),
    "rescale forgotten": lambda phantom: phantom.hu.astype(float) + 1024,
    "scale of half the slope": lambda phantom: phantom.hu.astype(float) / 2,
    "attenuation per cm": lambda phantom: 0.096 * (1 + phantom.hu.astype(float) / 1000),
}


def _assert_no_confident_number(outcome: AnalysedSeries | ExcludedSeries) -> None:
    """Excluded with a reason; or not analysable with a reason, no figure of opacity, no alert, and no answer."""
    if isinstance(outcome, ExcludedSeries):
        assert outcome.screening.reason
        return
    findings: Findings = outcome.findings
    assert findings.quality.level is QualityLevel.NOT_ANALYSABLE, findings.quality
    assert findings.quality.reasons
    summary = findings.summary()
    assert {summary[name] for name in ("burden_percent", "po_percent", "ggo_volume_ml", "lss")} == {None}
    decision = evaluate(findings, RequestContext(), POLICY)
    assert (decision.alert, decision.presence, decision.severity) == (None, Presence.UNDETERMINED, None)


@pytest.mark.parametrize("make", STRANGE.values(), ids=STRANGE.keys())
def test_what_is_no_chest_never_yields_a_confident_number(
    make: Callable[[Phantom], np.ndarray], opacities: Phantom, tmp_path: Path
) -> None:
    """Another body part, a phantom for quality assurance, noise, another scale: excluded, or not analysable."""
    hu = np.rint(make(opacities)).clip(-1024, 3071).astype(np.int16)
    write_series(replace(opacities, hu=hu), tmp_path)
    _assert_no_confident_number(_analyse(tmp_path))


@pytest.mark.parametrize("variant", [Variant.MU_MAP, Variant.NO_LUNGS, Variant.MR, Variant.LOCALIZER])
def test_variants_of_the_simulator_never_yield_a_confident_number(
    variant: Variant, opacities: Phantom, tmp_path: Path
) -> None:
    """An attenuation map, a block of water, an MR, a localizer: excluded with a reason."""
    write_variant(variant, opacities, tmp_path)
    _assert_no_confident_number(_analyse(tmp_path))
