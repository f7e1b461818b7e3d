"""Measures a model on labelled data: figures of each case, statistics, plots, a report; by ``lungsentry[train]``."""

from importlib.util import find_spec

__all__ = ["missing_packages"]

_PACKAGES = ("matplotlib", "sklearn", "statsmodels")


def missing_packages() -> tuple[str, ...]:
    """The packages of the extra ``train`` that are not installed."""
    return tuple(name for name in _PACKAGES if find_spec(name) is None)
