"""Recipes: how a network is trained, as frozen values read from ``analysis/training/recipes/*.toml``."""

import dataclasses
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

_FOLDER = Path(__file__).parent / "recipes"
_Section = TypeVar("_Section")


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkRecipe:
    """Which network: ``convlstm`` or ``compact`` (with their sizes), or a baseline, ``unet2d``."""

    kind: str = "convlstm"
    lstm_maps: int = 2
    head_maps: tuple[int, int] = (108, 64)
    restructured: bool = False

    def __post_init__(self) -> None:
        if self.kind not in {"convlstm", "compact", "unet2d"}:
            raise ValueError(f"no network of the kind {self.kind!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LossRecipe:
    """Weights of the parts of the loss; ``gamma`` 0 makes the focal loss cross-entropy; see :mod:`.losses`."""

    class_weights: tuple[float, float, float] = (1.0, 1.0, 1.0)
    gamma: float = 0.0
    dice: float = 1.0
    class_dice: float = 0.5
    perceptual: float = 0.0
    branches: float = 0.4
    split_weight: float = 0.1
    split_hu: float = -350.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimiserRecipe:
    """AdamW with warm-up and cosine; fractions are of the run's time or steps, whichever is limited."""

    learning_rate: float = 1.2e-3
    weight_decay: float = 1e-4
    warmup: float = 0.04
    final_fraction: float = 0.0
    gradient_norm: float = 5.0
    average_decay: float = 0.998
    schedule: str = "cosine"


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRecipe:
    """Batch, crop and the share of each source in a batch."""

    batch: int = 32
    crop: int = 192
    controls: float = 0.3
    medseg: float = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentRecipe:
    """Ranges and chances of the augmentation; lengths in pixels of the 256x256 crop, density in HU."""

    rotation_deg: float = 10.0
    scale: tuple[float, float] = (0.85, 1.12)
    shift_px: float = 10.0
    flip: bool = True
    hu_shift: float = 40.0
    hu_gain: float = 0.05
    noise_hu: float = 60.0
    blur: float = 0.3
    sharpen: float = 0.3
    ctac: float = 0.15
    slab: float = 0.4
    max_stride: int = 3
    alone: float = 0.25
    upper_clip: float = 0.5
    density: float = 0.35
    paste: float = 0.2
    synthetic: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that decides a training run but its seed, fold and length."""

    name: str
    network: NetworkRecipe = field(default_factory=NetworkRecipe)
    loss: LossRecipe = field(default_factory=LossRecipe)
    optimiser: OptimiserRecipe = field(default_factory=OptimiserRecipe)
    data: DataRecipe = field(default_factory=DataRecipe)
    augment: AugmentRecipe = field(default_factory=AugmentRecipe)


def recipe_names() -> tuple[str, ...]:
    """The recipes that come with the package."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


def load_recipe(name_or_path: str) -> Recipe:
    """The named recipe, or the one in a TOML file; an unknown key is an error."""
    path = Path(name_or_path) if name_or_path.endswith(".toml") else _FOLDER / f"{name_or_path}.toml"
    if not path.is_file():
        raise FileNotFoundError(f"no recipe {name_or_path!r}; there are {', '.join(recipe_names())}")
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    kinds = get_type_hints(Recipe)
    sections = {
        key: _section(kinds[key], key, content.pop(key))
        for key in tuple(content)
        if dataclasses.is_dataclass(kinds.get(key))
    }
    if content:
        raise ValueError(f"unknown keys in recipe {path.stem}: {', '.join(sorted(content))}")
    return Recipe(name=path.stem, **sections)


def _section(kind: type[_Section], name: str, content: dict[str, Any]) -> _Section:
    known = {f.name for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(content) - known)
    if unknown:
        raise ValueError(f"unknown keys in [{name}]: {', '.join(unknown)}")
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in content.items()})
