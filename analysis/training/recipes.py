"""Recipes: how a network is trained, as frozen values read from ``analysis/training/recipes/*.toml``.

A recipe that is ``like`` another has that one's sections, with its own keys over them; only ``[network]`` is always its
own. What is named nowhere has the default of this module; the recipes of the papers name every value of theirs.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_type_hints

from analysis.training.datasets import CONTROLS, SIZE, Source
from analysis.training.tables import UnusableRecipe, from_table, nearest

DEFAULT_RECIPE = "killekar2022"
NETWORK_KINDS = ("convlstm", "lite", "convlstm2021", "unet2d", "unet3d", "denseunet3d")
_OPTIMISERS = ("adamw", "adam", "sgd")
_SCHEDULES = ("cosine", "plateau")
_NORMALISATIONS = ("zscore", "minmax")
_SIDE_STEPS = {"lite": 16, "unet2d": 16, "denseunet3d": 32}  # how often each halves the image
_SIDE_STEP = 8  # every other network
_FOLDER = Path(__file__).parent / "recipes"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkRecipe:
    """Which network, and how many adjacent slices are its window.

    ``convlstm``, ``lite`` and ``convlstm2021`` take the sizes; ``unet2d``, ``unet3d`` and ``denseunet3d`` have their
    own. ``restructured`` computes the main head of a ConvLSTM at a quarter of the resolution, with the same result.
    ``imagenet`` begins with ImageNet's weights in the trunk of ``lite``.
    """

    kind: str = "convlstm"
    slices: int = 3
    lstm_maps: int = 2
    head_maps: tuple[int, int] = (108, 64)
    restructured: bool = False
    imagenet: bool = False

    def __post_init__(self) -> None:
        _one_of("kind", self.kind, NETWORK_KINDS)
        _require(self.slices > 1 and self.slices % 2 == 1, f"slices is odd and at least 3: {self.slices}")
        _require(min(self.lstm_maps, *self.head_maps) > 0, "a layer has at least one map")
        _require(not self.imagenet or self.kind == "lite", "imagenet has weights of lite only")


@dataclass(frozen=True, slots=True, kw_only=True)
class LossRecipe:
    """Weights of the parts of the loss; see :mod:`.losses`.

    ``class_weights`` and ``gamma`` are of the focal loss (``gamma`` 0: cross-entropy), ``dice`` and ``class_dice`` of
    soft Dice, ``perceptual`` of the VGG features, ``regional`` of the region mutual information; ``branches`` is the
    weight of the loss of each branch. A lesion of open class is split at ``split_hu``, which counts ``split_weight``.
    """

    class_weights: tuple[float, float, float] = (1.0, 1.5, 1.5)
    gamma: float = 0.0
    dice: float = 1.0
    class_dice: float = 0.5
    perceptual: float = 0.0
    regional: float = 0.0
    branches: float = 0.4
    split_weight: float = 0.1
    split_hu: float = -350.0

    def __post_init__(self) -> None:
        parts = (*self.class_weights, self.dice, self.class_dice, self.perceptual, self.regional, self.branches)
        _require(min(parts) >= 0, "a weight is not negative")
        _require(0 <= self.split_weight <= 1, f"split_weight lies between 0 and 1: {self.split_weight}")


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimiserRecipe:
    """``adamw``, ``adam`` or ``sgd`` (with ``momentum``), and what becomes of the learning rate.

    ``cosine``: warm-up, then half a cosine to ``final_fraction``; fractions are of the run's time or steps, whichever
    is limited. ``plateau``: see :class:`PlateauRecipe`; the run then hands out the weights of its best validation, so
    there is no running average. ``gradient_norm`` and ``average_decay`` 0 mean none.
    """

    kind: str = "adamw"
    learning_rate: float = 1.2e-3
    weight_decay: float = 1e-4
    momentum: float = 0.9
    warmup: float = 0.04
    final_fraction: float = 0.0
    gradient_norm: float = 5.0
    average_decay: float = 0.998
    schedule: str = "cosine"

    def __post_init__(self) -> None:
        _one_of("kind", self.kind, _OPTIMISERS)
        _one_of("schedule", self.schedule, _SCHEDULES)
        _require(self.learning_rate > 0, f"learning_rate is above 0: {self.learning_rate}")
        _require(0 <= self.warmup < 1, f"warmup is a fraction of the run: {self.warmup}")
        _require(0 <= self.average_decay < 1, f"average_decay lies between 0 and 1: {self.average_decay}")
        _require(
            self.schedule != "plateau" or not self.average_decay,
            "with the schedule plateau the best weights are kept, so average_decay is 0",
        )

    @property
    def keeps_weights(self) -> bool:
        """Whether a run hands out other weights than its last step's: their running average, or the best validated."""
        return self.schedule == "plateau" or self.average_decay > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlateauRecipe:
    """The learning rate falls by ``factor`` when the validation loss has not for more than ``patience`` epochs.

    The run ends when the rate is ``stop_at`` or less. An epoch is ``epoch_windows`` windows; 0: as many as there are
    slices to train on. ``validation_share`` of the fold's *training* patients are kept from training for it
    (:func:`.validation.inner_split`); the patients that the fold holds out are never looked at.
    """

    factor: float = 0.1
    patience: int = 5
    stop_at: float = 1e-7
    epoch_windows: int = 0
    validation_share: float = 0.2

    def __post_init__(self) -> None:
        _require(0 < self.factor < 1, f"factor lies between 0 and 1: {self.factor}")
        _require(min(self.patience, self.epoch_windows) >= 0, "patience and epoch_windows are not negative")
        _require(0 < self.validation_share < 1, f"validation_share lies between 0 and 1: {self.validation_share}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRecipe:
    """Batch, crop, the share of each source in a batch, and how HU become the network's input.

    ``zscore``: by mean and deviation of the lung voxels of the fold's training patients; ``minmax``: -1024 to 600 HU
    become 0 to 1.
    """

    batch: int = 32
    crop: int = 192
    controls: float = 0.3
    medseg: float = 0.2
    normalisation: str = "zscore"

    def __post_init__(self) -> None:
        _one_of("normalisation", self.normalisation, _NORMALISATIONS)
        _require(self.batch > 0, f"batch is at least 1: {self.batch}")
        _require(0 < self.crop <= SIZE, f"crop is at most {SIZE}: {self.crop}")
        shares = self.controls, self.medseg
        _require(min(shares) >= 0 and sum(shares) <= 1, "controls and medseg are shares of a batch")

    def share(self, source: Source) -> float:
        """The share of a source in a batch."""
        if source in CONTROLS:
            return self.controls
        return self.medseg if source is Source.MEDSEG else 1 - self.controls - self.medseg


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentRecipe:
    """Ranges and chances of the augmentation; lengths in pixels of the 256x256 crop, density in HU."""

    rotation_deg: float = 10.0
    scale: tuple[float, float] = (0.85, 1.12)
    shift_px: float = 10.0
    flip: bool = True
    hu_shift: float = 40.0
    hu_gain: float = 0.05
    noise_hu: float = 50.0
    blur: float = 0.3
    sharpen: float = 0.3
    ctac: float = 0.12
    slab: float = 0.4
    max_stride: int = 4
    alone: float = 0.25
    upper_clip: float = 0.5
    density: float = 0.2
    expired_controls: float = 0.4
    paste: float = 0.12
    synthetic: float = 0.12

    def __post_init__(self) -> None:
        chances = ("blur", "sharpen", "ctac", "slab", "alone", "upper_clip", "density")
        chances += ("expired_controls", "paste", "synthetic")
        for name in chances:
            _require(0 <= getattr(self, name) <= 1, f"{name} is a chance, 0 to 1: {getattr(self, name)}")
        _require(self.paste + self.synthetic <= 1, "paste and synthetic are shares of a batch")
        _require(0 < self.scale[0] <= self.scale[1], f"scale goes from smaller to larger: {self.scale}")
        _require(self.max_stride > 0, f"max_stride is at least 1: {self.max_stride}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that decides a training run but its seed, fold and length."""

    name: str
    network: NetworkRecipe = field(default_factory=NetworkRecipe)
    loss: LossRecipe = field(default_factory=LossRecipe)
    optimiser: OptimiserRecipe = field(default_factory=OptimiserRecipe)
    plateau: PlateauRecipe = field(default_factory=PlateauRecipe)
    data: DataRecipe = field(default_factory=DataRecipe)
    augment: AugmentRecipe = field(default_factory=AugmentRecipe)

    def __post_init__(self) -> None:
        step = _SIDE_STEPS.get(self.network.kind, _SIDE_STEP)
        _require(
            self.data.crop % step == 0, f"the crop of {self.network.kind} is a multiple of {step}: {self.data.crop}"
        )


def recipe_names() -> tuple[str, ...]:
    """The recipes that come with the package."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


def load_recipe(name_or_path: str) -> Recipe:
    """The named recipe, or the one in a TOML file.

    Raises:
        UnusableRecipe: no such recipe, or one that is not TOML or has a key or a value that cannot be.
    """
    path = Path(name_or_path) if name_or_path.endswith(".toml") else _FOLDER / f"{name_or_path}.toml"
    if not path.is_file():
        raise UnusableRecipe(
            f"None is called {name_or_path!r}. {nearest(name_or_path, recipe_names())}, or the path of a TOML file."
        )
    return recipe_of(path.stem, _read(path))


def _read(path: Path) -> dict[str, object]:
    """The file's sections, over those of the recipe that it is like."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UnusableRecipe(f"{path.name} is not TOML: {error}.") from error
    like = content.pop("like", None)
    if like is None:
        return content
    if like not in recipe_names():
        raise UnusableRecipe(f"{path.name} is like {like!r}. {nearest(str(like), recipe_names())}.")
    return _over(_read(_FOLDER / f"{like}.toml"), content)


def _over(base: Mapping[str, object], content: Mapping[str, object]) -> dict[str, object]:
    """The sections of both; in a section that both have, the keys of ``content`` count."""
    merged = {**base, **content}
    for name in set(base) & set(content) - {"network"}:
        under, above = base[name], content[name]
        if isinstance(under, Mapping) and isinstance(above, Mapping):
            merged[name] = {**under, **above}
    return merged


def recipe_of(name: str, content: Mapping[str, object]) -> Recipe:
    """The recipe of these sections; those and keys that are left out keep their defaults.

    Raises:
        UnusableRecipe: a section, a key or a value that cannot be.
    """
    sections = {key: kind for key, kind in get_type_hints(Recipe).items() if isinstance(kind, type) and kind is not str}
    for key in content:
        if key not in sections:
            raise UnusableRecipe(f"{name} has a section or key {key!r} that is not known. {nearest(key, sections)}.")
    read = {key: from_table(sections[key], f"{name} [{key}]", value) for key, value in content.items()}
    try:
        return Recipe(name=name, **read)
    except ValueError as error:
        raise UnusableRecipe(f"{name}: {error}.") from error


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)


def _one_of(key: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{key} is one of {', '.join(known)}, not {value!r}")
