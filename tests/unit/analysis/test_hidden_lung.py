"""Lung that was not found is taken in where the other lung and the bones say that it belongs, and nowhere else."""

from dataclasses import replace

import numpy as np
import pytest
from model_sets import place_model

from analysis.anatomy import LEFT, RIGHT, Lungs, PlaceModel, find_hidden_lung
from analysis.anatomy.hidden_lung import WEIGHTS_NAME
from analysis.anatomy.place_frame import SAMPLES, PlaceFrame
from analysis.anatomy.weights import package_directory, read_weights, write_weights
from analysis.errors import UntrustedWeights
from analysis.measure.coverage import measure_coverage
from analysis.measure.hidden import with_hidden_lung
from dicom_node.simulator import PhantomSpec, build_phantom


@pytest.fixture(scope="module")
def chest(make_volume):
    """A phantom's volume, and the labels of both its lungs."""
    phantom = build_phantom(PhantomSpec.normal(matrix=128))
    spacing_mm = phantom.slice_spacing_mm, phantom.pixel_spacing_mm, phantom.pixel_spacing_mm
    return make_volume(phantom.hu, spacing_mm), phantom.lungs.astype(np.uint8)


def _opaque(chest, side):
    volume, labels = chest
    hu = np.where(labels == side, np.int16(30), volume.hu)
    return replace(volume, hu=hu), Lungs(labels=np.where(labels == side, 0, labels).astype(np.uint8))


@pytest.mark.parametrize("side", [RIGHT, LEFT])
def test_an_opaque_lung_is_taken_in_on_its_side(chest, side):
    """Most of it is found and little else, of its own label, within the body, and the lungs tell it apart."""
    volume, lungs = _opaque(chest, side)
    found = with_hidden_lung(volume, lungs, place_model())
    truth = chest[1] == side
    assert found.hidden is not None
    assert np.count_nonzero(found.hidden & truth) > 0.6 * np.count_nonzero(truth)
    assert np.count_nonzero(found.hidden & truth) > 0.7 * np.count_nonzero(found.hidden)
    assert np.array_equal(found.labels == side, found.hidden)
    assert np.array_equal(found.seen.labels, lungs.labels)


def test_whole_lungs_stay_as_they_are(chest):
    """Nothing lacks, so nothing is looked for: the very same lungs come back."""
    volume, labels = chest
    lungs = Lungs(labels=labels)
    assert with_hidden_lung(volume, lungs, place_model()) is lungs


def test_nothing_is_guessed_beside_a_lung_that_is_cut_off(chest):
    """A series that ends within the sound lung tells no extent of it."""
    volume, lungs = _opaque(chest, LEFT)
    half = slice(0, round(0.6 * len(volume.hu)))
    cut = replace(
        volume,
        hu=volume.hu[half],
        slice_positions_mm=volume.slice_positions_mm[half],
        slice_weights_mm=volume.slice_weights_mm[half],
        sop_instance_uids=volume.sop_instance_uids[half],
        frame_numbers=volume.frame_numbers[half],
    )
    lungs = Lungs(labels=lungs.labels[half])
    coverage = measure_coverage(cut, lungs)
    assert coverage is not None
    assert coverage.ends
    assert list(coverage.lacking) == ["left"]
    assert with_hidden_lung(cut, lungs, place_model()) is lungs


def test_no_opaque_lung_is_seen_where_the_other_is_drawn_over(chest):
    """The right lung reaches far beyond the bones' middle: the left one is collapsed or removed, and stays out."""
    volume, lungs = _opaque(chest, LEFT)
    assert find_hidden_lung(volume, lungs, LEFT, place_model()).any()
    over = np.roll(lungs.labels, round(40 / volume.column_spacing_mm), axis=2)
    hu = np.where(over > 0, np.int16(-850), np.where(lungs.labels > 0, np.int16(30), volume.hu))
    assert not find_hidden_lung(replace(volume, hu=hu), Lungs(labels=over), LEFT, place_model()).any()


def test_without_another_lung_or_bones_there_is_no_place(chest):
    """Neither can be told, and nothing is added."""
    volume, lungs = _opaque(chest, LEFT)
    nothing = Lungs(labels=np.zeros_like(lungs.labels))
    assert not find_hidden_lung(volume, nothing, LEFT, place_model()).any()
    boneless = replace(volume, hu=np.minimum(volume.hu, np.int16(100)))
    assert not find_hidden_lung(boneless, lungs, LEFT, place_model()).any()


@pytest.mark.parametrize("towards", [1, -1])
def test_what_is_taken_beside_a_lung_is_laid_there_again(towards):
    """A frame takes a mask at its samples and lays it out over the same chest at the same place."""
    axes_mm = tuple(np.arange(count) * 4.0 for count in (60, 50, 80))
    lung, other = np.zeros((60, 50, 80), bool), np.zeros((60, 50, 80), bool)
    lung[10:50, 10:40, 10:35] = True
    other[15:45, 15:35, 45:65] = True
    if towards < 0:
        lung, other = lung[:, :, ::-1], other[:, :, ::-1]
    frame = PlaceFrame.beside(lung, axes_mm, towards=towards)
    taken = frame.taken(other, axes_mm)
    assert taken.shape == SAMPLES
    laid = frame.laid(taken, axes_mm) > 0.5
    assert 2 * np.count_nonzero(laid & other) / (laid.sum() + other.sum()) > 0.9


def test_places_of_another_shape_are_refused(tmp_path):
    """A field that is not that of the samples does not become a place."""
    manifest, state = read_weights(package_directory("places"), WEIGHTS_NAME)
    write_weights(tmp_path, WEIGHTS_NAME, manifest, {name: field[:-1] for name, field in state.items()}, evaluation={})
    with pytest.raises(UntrustedWeights):
        PlaceModel.load(tmp_path)
