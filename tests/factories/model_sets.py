"""The anatomy models of the package, read once for all tests, beside a lesion model of the test's own."""

from functools import cache

from analysis.anatomy import LobeModel, LungModel, PlaceModel
from analysis.models import LesionModel, ModelSet


@cache
def lung_model() -> LungModel:
    """The package's lungs."""
    return LungModel.load()


@cache
def lobe_model() -> LobeModel:
    """The package's lobes."""
    return LobeModel.load()


@cache
def place_model() -> PlaceModel:
    """The package's places."""
    return PlaceModel.load()


def models_with(lesions: LesionModel) -> ModelSet:
    """These lesions, with the package's lungs, lobes and places."""
    return ModelSet(lesions=lesions, lungs=lung_model(), lobes=lobe_model(), places=place_model())
