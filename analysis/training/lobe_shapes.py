"""Fit the linear model that tells lobes from the shape of a lung, also with one map left out."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from analysis.anatomy.lobe_shape import BOX, SIDES, LobeShape, SideShape, box_of, boxed
from analysis.training.lobe_maps import LobeMap

PARTS = 16
"""Directions in which the shape of a lung may differ from the mean; more of them tell no more."""

_RIDGE = 1.0
"""Shrinkage, in mean squared distances of a shape from the mean shape."""
_FAR = 8.0
_NOTHING = 1e-6

Fields = NDArray[np.float32]


class Shapes:
    """Shapes of the lungs of these maps and where their lobes lie, from which models are fitted."""

    def __init__(self, maps: Sequence[LobeMap]) -> None:
        self._sides: dict[str, tuple[Fields, Fields]] = {}
        for name, (first, last) in SIDES.items():
            pairs = [_form_and_lobes(map_.shares[first:last]) for map_ in maps]
            self._sides[name] = np.stack([form for form, _ in pairs]), np.stack([lobes for _, lobes in pairs])

    def fit(self, *, without: int | None = None) -> LobeShape:
        """Ridge regression on all maps, or on all but one (by its index)."""
        return LobeShape(**{name: _fit(*_left_out(pair, without)) for name, pair in self._sides.items()})


def _left_out(pair: tuple[Fields, Fields], without: int | None) -> tuple[Fields, Fields]:
    if without is None or len(pair[0]) == 1:
        return pair
    return np.delete(pair[0], without, axis=0), np.delete(pair[1], without, axis=0)


def _form_and_lobes(shares: NDArray[np.float32]) -> tuple[Fields, Fields]:
    """What a lung's box looks like, (n,), and the distance to each lobe's border in it, (lobes, n)."""
    lung = shares.sum(axis=0)
    box = box_of(lung)
    form = boxed(lung, box)
    parts = np.stack([boxed(share, box, blurred=False) for share in shares])
    nearest = np.asarray(distance_transform_edt(parts.sum(axis=0) <= 0.5, return_distances=False, return_indices=True))
    likeliest = parts.argmax(axis=0)[tuple(nearest)]
    lobes = np.stack([_distance(likeliest == index) for index in range(len(shares))])
    return form.reshape(-1), lobes.reshape(len(shares), -1)


def _distance(lobe: NDArray[np.bool_]) -> Fields:
    if lobe.all() or not lobe.any():
        return np.full(BOX, _FAR if lobe.all() else -_FAR, np.float32)
    distance = np.asarray(distance_transform_edt(lobe)) - np.asarray(distance_transform_edt(~lobe))
    return np.clip(distance, -_FAR, _FAR).astype(np.float32)


def _fit(forms: Fields, lobes: Fields) -> SideShape:
    mean, answer = forms.mean(axis=0), lobes.mean(axis=0)
    where, size, basis = np.linalg.svd((forms - mean).astype(np.float64), full_matrices=False)
    kept = min(PARTS, int(np.count_nonzero(size > _NOTHING)))
    where, size, basis = where[:, :kept], size[:kept], basis[:kept]
    ridge = _RIDGE * float((size**2).sum()) / len(forms)
    weights = (size / (size**2 + ridge))[:, None] * where.T
    told = np.tensordot(weights, lobes - answer, axes=1)
    answers = np.concatenate([answer[None], told])
    return SideShape(mean=mean, basis=basis.astype(np.float32), answers=answers.astype(np.float32))
