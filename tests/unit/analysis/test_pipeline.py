"""The story from series to findings, with a model that is a threshold."""

import struct
from dataclasses import replace

import numpy as np
import pytest
from model_sets import lobe_model, lung_model, models_with

from analysis import pipeline
from analysis.anatomy import Lobes, LungModel
from analysis.anatomy.lungs import WEIGHTS_NAME
from analysis.anatomy.weights import package_directory, read_weights, write_weights
from analysis.findings import Profile, Provenance
from analysis.pictures import coronal_png, key_slice_png, lobes_png
from analysis.pipeline import AnalysedSeries, ExcludedSeries, analyse

_WALL = (slice(25, 35), slice(95, 105), slice(18, 26))
"""A place in the chest wall, right of the right lung."""


class _Threshold:
    """Everything between -500 and -100 HU is GGO, inside the lungs or not."""

    def segment(self, hu, lung_mask, *, slice_spacing_mm, profile):
        assert lung_mask.shape == hu.shape
        assert profile is Profile.CHEST_CT
        assert slice_spacing_mm == pytest.approx(2.0)
        return ((hu > -500) & (hu < -100)).astype(np.uint8)

    def provenance(self, profile):
        return Provenance(
            model_name=profile.value,
            model_version="1",
            weights_sha256="",
            thresholds={},
            runtime="",
            device="cpu",
            software_version="",
        )


@pytest.fixture
def analysed(monkeypatch, make_series, make_volume, make_chest):
    """A chest with an opacity of known place, analysed; also the steps that were announced."""
    chest = make_chest()
    chest[25:35, 90:110, 60:80] = -300
    chest[_WALL] = -300
    monkeypatch.setattr(pipeline, "assemble", lambda _: make_volume(chest))
    steps = []
    return analyse(make_series(60), models=models_with(_Threshold()), progress=steps.append), steps


def test_an_analysis_tells_its_steps_and_clips_labels_to_the_lungs(analysed):
    """Steps are announced in order and timed; what the model labels in the chest wall is no lesion."""
    result, steps = analysed
    assert isinstance(result, AnalysedSeries)
    assert steps == ["screening", "volume", "lungs", "model", "lobes", "measures"] == list(result.seconds)
    assert not result.labels[~result.lungs.mask].any()
    assert not result.lungs.mask[_WALL].any()
    expected_ml = 10 * 20 * 20 * 2 * 1.5 * 1.5 / 1000
    assert result.findings.right_lung.ggo_volume_ml == pytest.approx(expected_ml, rel=0.3)
    assert 25 <= result.findings.key_slices[0].slice_index < 35


def test_a_result_names_every_network_with_its_weights(analysed):
    """Lesions, lungs and lobes are named in the findings and in their summary, as the models that were handed in."""
    result, _ = analysed
    named = result.findings.provenance.algorithms
    assert list(named) == ["lesions", "lungs", "lobes"]
    assert named["lungs"] == lung_model().algorithm
    assert named["lobes"].weights_sha256 == lobe_model().algorithm.weights_sha256
    assert result.findings.summary()["algorithms"]["lungs"]["name"] == "right and left lung"


def test_other_lungs_are_used_and_named(monkeypatch, tmp_path, make_series, make_volume, make_chest):
    """The analysis computes with the lungs that it is given: nothing is kept from one set of models to the next."""
    shipped = package_directory("lungs")
    manifest, state = read_weights(shipped, WEIGHTS_NAME)
    blind = {name: value * 0 for name, value in state.items()}
    write_weights(tmp_path, WEIGHTS_NAME, {**manifest, "name": "blind"}, blind, evaluation={})
    monkeypatch.setattr(pipeline, "assemble", lambda _: make_volume(make_chest()))
    models = models_with(_Threshold())
    first = analyse(make_series(60), models=models)
    second = analyse(make_series(60), models=replace(models, lungs=LungModel.load(tmp_path)))
    assert isinstance(first, AnalysedSeries)
    assert isinstance(second, AnalysedSeries)
    named = second.findings.provenance.lungs
    assert named is not None
    assert (named.name, named.weights_sha256) != (lung_model().algorithm.name, lung_model().algorithm.weights_sha256)
    assert second.findings.quality.lung_agreement != first.findings.quality.lung_agreement


def test_an_excluded_series_is_not_read(make_series):
    """Excluded by its headers: no file is opened, as none of them exists."""
    result = analyse(make_series(modality="MR"), models=models_with(_Threshold()))
    assert isinstance(result, ExcludedSeries)
    assert result.screening.reason.startswith("modality: MR")


def test_a_series_without_lungs_is_excluded_by_its_pixels(monkeypatch, make_series, make_volume):
    """The pixel rules have the last word, and the profile goes."""
    monkeypatch.setattr(pipeline, "assemble", lambda _: make_volume(np.full((20, 100, 100), -1000)))
    result = analyse(make_series(), models=models_with(_Threshold()))
    assert isinstance(result, ExcludedSeries)
    assert result.screening.profile is None
    assert not result.screening.eligible


def _size(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG")
    return struct.unpack(">II", png[16:24])


def test_pictures_show_two_panels_and_differ_by_their_opacities(analysed):
    """A key slice is wider than high, and without labels it looks different."""
    result, _ = analysed
    png = key_slice_png(result.volume, result.lungs, result.labels, 30)
    width, height = _size(png)
    assert width > height
    assert png != key_slice_png(result.volume, result.lungs, np.zeros_like(result.labels), 30)
    keys = result.findings.key_slices
    assert coronal_png(result.volume, result.lungs, result.labels, keys) != coronal_png(
        result.volume, result.lungs, result.labels
    )


def test_the_picture_of_the_lobes_shows_those_that_are_told(analysed):
    """Coronal and axial side by side; without a lobe that is told it looks different, and is a picture all the same."""
    result, _ = analysed
    png = lobes_png(result.volume, result.lungs, result.lobes, result.labels)
    width, height = _size(png)
    assert width > height
    untold = Lobes(
        labels=np.zeros_like(result.labels),
        confidence_percent={},
        cut=frozenset(),
        untold=frozenset(result.lobes.untold),
    )
    assert png != lobes_png(result.volume, result.lungs, untold, result.labels)
