"""The network that labels opacities, its weights, and the segmenter that applies it to a volume.

Names are looked up when they are first used: ``analysis.model.network`` alone needs torch and nothing else.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.model.segmenter import Segmenter
    from analysis.model.weights import Manifest, default_directory

__all__ = ["Manifest", "Segmenter", "default_directory"]


def __getattr__(name: str) -> Any:
    """Import what is asked for (PEP 562)."""
    if name == "Segmenter":
        from analysis.model.segmenter import Segmenter

        return Segmenter
    if name in {"Manifest", "default_directory"}:
        from analysis.model import weights

        return getattr(weights, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
