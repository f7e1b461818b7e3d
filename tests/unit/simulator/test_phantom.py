"""The phantom: truth as asked for, the same each time, grey values like a chest's."""

import hashlib

import numpy as np
import pytest

from dicom_node.simulator import (
    GGO_LABEL,
    HIGH_OPACITY_LABEL,
    LesionTooLargeError,
    Phantom,
    PhantomProfile,
    PhantomSpec,
    build_phantom,
)


@pytest.fixture(scope="module")
def diseased() -> Phantom:
    return build_phantom(PhantomSpec.ctac_opacities(matrix=128))


@pytest.mark.parametrize(("ggo_ml", "high_ml"), [(330.0, 80.0), (40.0, 0.0), (0.0, 25.0)])
def test_volumes_are_as_requested(ggo_ml: float, high_ml: float) -> None:
    """Each class has its requested volume within one percent, counted in the truth mask."""
    spec = PhantomSpec.cardiac_ctac(matrix=128, ggo_ml=ggo_ml, high_opacity_ml=high_ml)
    phantom = build_phantom(spec)
    assert phantom.ggo_volume_ml == pytest.approx(ggo_ml, rel=0.01)
    assert phantom.high_opacity_volume_ml == pytest.approx(high_ml, rel=0.01)


def test_same_specification_same_voxels() -> None:
    """Building twice gives the same images and truth, byte for byte."""
    spec = PhantomSpec.cardiac_ctac(matrix=128, ggo_ml=50.0)
    one, two = build_phantom(spec), build_phantom(spec)
    for name in ("hu", "lungs", "lesions"):
        first, second = (hashlib.sha256(getattr(each, name).tobytes()).hexdigest() for each in (one, two))
        assert first == second, name


def test_another_seed_is_another_chest() -> None:
    """The seed changes the lungs' shape, not only the noise."""
    one, two = (build_phantom(PhantomSpec.cardiac_ctac(matrix=128, seed=seed)) for seed in (1, 2))
    assert (one.lungs != two.lungs).any()


def test_lesions_lie_in_the_lungs(diseased: Phantom) -> None:
    """No opacity is labelled outside the lungs, and the lungs' volume includes it."""
    assert not (diseased.lesions[diseased.lungs == 0]).any()
    assert diseased.burden_percent == pytest.approx(
        100 * (diseased.ggo_volume_ml + diseased.high_opacity_volume_ml) / diseased.lung_volume_ml
    )


def test_grey_values_are_those_of_a_chest(diseased: Phantom) -> None:
    """Aerated lung, ground glass, consolidation, soft tissue, bone and air lie where CT shows them."""
    hu = diseased.hu
    healthy = hu[(diseased.lungs > 0) & (diseased.lesions == 0)]
    assert -850 < np.median(healthy) < -700, "an expiration scan's lung"
    assert -680 < np.median(hu[diseased.lesions == GGO_LABEL]) < -450
    assert -120 < np.median(hu[diseased.lesions == HIGH_OPACITY_LABEL]) < 40
    assert np.percentile(hu, 1) < -950
    assert np.percentile(hu, 99.9) > 300
    soft = hu[(hu > 0) & (hu < 100)]
    assert soft.size > 0.05 * hu.size


def test_right_lung_lies_on_the_image_left(diseased: Phantom) -> None:
    """Columns run from the patient's right to the left, slices from feet to head with the apices on top."""
    right_columns, left_columns = (np.nonzero(diseased.lungs == label)[2] for label in (1, 2))
    assert right_columns.max() < left_columns.min() + 6
    areas = (diseased.lungs > 0).sum(axis=(1, 2))
    assert areas[-1] == 0
    assert areas.argmax() < 0.6 * len(areas)


def test_lungs_are_of_human_size() -> None:
    """A whole chest holds three to seven litres, the right lung and the left about alike."""
    phantom = build_phantom(PhantomSpec.ctac(matrix=128))
    assert 3000 < phantom.lung_volume_ml < 7000
    right = (phantom.lungs == 1).sum() / (phantom.lungs > 0).sum()
    assert 0.44 < right < 0.6
    assert phantom.burden_percent == 0


def test_cardiac_ctac_is_partial() -> None:
    """The cardiac profile has forty slices and cuts the lungs at both ends."""
    phantom = build_phantom(PhantomSpec.cardiac_ctac(matrix=128))
    assert len(phantom.hu) == 40
    assert phantom.spec.profile is PhantomProfile.CARDIAC_CTAC
    assert (phantom.lungs[0] > 0).any()
    assert (phantom.lungs[-1] > 0).any()


def test_more_opacity_than_lung_is_refused() -> None:
    """Asking for more than the lungs hold is an error that says how much they hold."""
    with pytest.raises(LesionTooLargeError, match="the lungs hold"):
        build_phantom(PhantomSpec.cardiac_ctac(matrix=128, ggo_ml=9000.0))


@pytest.mark.parametrize("changes", [{"matrix": 300}, {"ggo_ml": -1.0}])
def test_impossible_specifications_are_refused(changes: dict[str, float]) -> None:
    """A specification that cannot be built does not come about."""
    with pytest.raises(ValueError, match=r"matrix|negative"):
        PhantomSpec(**changes)
