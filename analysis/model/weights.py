"""The model's folder: ``model.safetensors`` and the ``manifest.json`` that says what it is and how to feed it.

Weights are read only if their SHA-256 is the one in the manifest. Nothing is unpickled.
"""

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

import analysis
from analysis.errors import UntrustedWeights
from analysis.files import read_regular
from analysis.findings import Profile
from analysis.model.crop import MARGIN_PERCENT
from analysis.model.labels import LESION_PROBABILITY
from analysis.model.network import NetworkShape
from analysis.model.resampling import CEILING_HU, FLOOR_HU

WEIGHTS_NAME = "model.safetensors"
MANIFEST_NAME = "manifest.json"
CARD_NAME = "MODEL_CARD.md"
EVALUATION_NAME = "evaluation.json"
MODEL_FILES = {WEIGHTS_NAME: 2**30, MANIFEST_NAME: 2**20, CARD_NAME: 4 * 2**20, EVALUATION_NAME: 64 * 2**20}
"""What a model folder holds, and how many bytes each may have; the last two may be absent."""
SEAL_NAME = "installed.sha256"
"""Beside an installed model: the SHA-256 of its manifest when it was installed."""
_HU = (-4096.0, 32768.0)
_LARGEST_WINDOW = 2048
_LONGEST_TEXT = 4000
LESION_THRESHOLD = "lesion_probability"
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")


def check_words(name: str, version: str) -> None:
    """ValueError unless both can be the name and the version of a model, and so of its folder."""
    for word in (name, version):
        if not _WORD.fullmatch(word):
            raise ValueError(f"a model's name and version are letters, digits and ._+-, not {word!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSummary:
    """How the weights came about; the model card tells more.

    ``started_from`` says which model the run went on from, where it went on from one; ``kept_share`` of the weights
    are still that model's.
    """

    recipe: str
    data: tuple[str, ...]
    fold: str
    steps: int
    seconds: float
    started_from: str | None = None
    kept_share: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What the weights are and what the network expects.

    ``neighbour_distance_mm`` is the range of distances between adjacent slices of a window in training.
    ``thresholds`` names, for each profile, the probability at which a pixel is called lesion. ``terms`` are those of
    its use, which follow from the data it was trained on. Name and version are of letters, digits and ``._+-``.
    """

    name: str
    version: str
    sha256: str
    network: NetworkShape
    mean_hu: float
    sd_hu: float
    training: TrainingSummary
    hu_range: tuple[float, float] = (FLOOR_HU, CEILING_HU)
    window_size: int = 256
    crop_margin_percent: float = MARGIN_PERCENT
    neighbour_distance_mm: tuple[float, float] = (1.0, 9.0)
    thresholds: Mapping[Profile, Mapping[str, float]] = field(
        default_factory=lambda: {profile: {LESION_THRESHOLD: LESION_PROBABILITY} for profile in Profile}
    )
    terms: str = f"Research use only; {CARD_NAME} names the data and their terms."

    def __post_init__(self) -> None:
        check_words(self.name, self.version)
        numbers = (self.mean_hu, self.sd_hu, *self.hu_range, self.crop_margin_percent, *self.neighbour_distance_mm)
        if not all(map(math.isfinite, numbers)):
            raise ValueError(f"a number that is none: {numbers}")
        if not all(_HU[0] <= value <= _HU[1] for value in (self.mean_hu, *self.hu_range)):
            raise ValueError(f"no density of tissue: {self.mean_hu}, {self.hu_range}")
        if not 0 <= self.crop_margin_percent <= 100 or self.neighbour_distance_mm[1] > 100:
            raise ValueError("a margin or a distance beyond the chest")
        if not 0 < self.window_size <= _LARGEST_WINDOW or len(self.terms) > _LONGEST_TEXT:
            raise ValueError("a window or terms of a size that no model has")
        if self.sd_hu <= 0 or self.hu_range[0] >= self.hu_range[1]:
            raise ValueError("a density scale without extent")
        if not 0 < self.neighbour_distance_mm[0] <= self.neighbour_distance_mm[1]:
            raise ValueError(f"no range of distances: {self.neighbour_distance_mm}")
        if self.window_size % 4:
            raise ValueError(f"the trunk halves the window twice: {self.window_size}")
        for profile in Profile:
            if not 0 < self.thresholds.get(profile, {}).get(LESION_THRESHOLD, 0.0) < 1:
                raise ValueError(f"no probability between 0 and 1 as {LESION_THRESHOLD} of {profile}")


_MANIFEST = TypeAdapter(Manifest)


def default_directory() -> Path:
    """The folder of the model that comes with the package."""
    return Path(analysis.__path__[0]) / "weights"


def packaged_directories() -> tuple[Path, ...]:
    """The folders of the models that come with the package, that which is used by default first."""
    own = default_directory()
    return own, *sorted(path.parent for path in own.glob(f"*/{WEIGHTS_NAME}"))


def read_manifest(directory: Path) -> Manifest:
    """What a model folder says of its weights, which are not looked at.

    Raises:
        UntrustedWeights: it is missing or malformed.
    """
    content = read_regular(directory / MANIFEST_NAME, most_bytes=MODEL_FILES[MANIFEST_NAME])
    _check_seal(directory, content)
    try:
        return _MANIFEST.validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise UntrustedWeights(f"{MANIFEST_NAME} is malformed: {where}: {first['msg']}.") from error


def read_weights(directory: Path) -> tuple[Manifest, dict[str, torch.Tensor]]:
    """The manifest and the tensors of a model folder; what is hashed is what is loaded.

    Raises:
        UntrustedWeights: a file is missing or malformed, or the SHA-256 is not the manifest's.
    """
    manifest = read_manifest(directory)
    content = read_regular(directory / WEIGHTS_NAME, most_bytes=MODEL_FILES[WEIGHTS_NAME])
    found = hashlib.sha256(content).hexdigest()
    if found != manifest.sha256:
        raise UntrustedWeights(f"{WEIGHTS_NAME} has SHA-256 {found}, its manifest names {manifest.sha256}.")
    try:
        return manifest, load_tensors(content)
    except SafetensorError as error:
        raise UntrustedWeights(f"{WEIGHTS_NAME} is no safetensors file.") from error


def seal(manifest: bytes) -> str:
    """What is kept beside an installed model of its manifest, as ``sha256sum`` writes it."""
    return f"{hashlib.sha256(manifest).hexdigest()}  {MANIFEST_NAME}\n"


def _check_seal(directory: Path, manifest: bytes) -> None:
    """Thresholds and scales are as much of a model as its weights: a manifest that was edited is not used."""
    if not (directory / SEAL_NAME).exists():
        return
    if read_regular(directory / SEAL_NAME, most_bytes=2**10) != seal(manifest).encode():
        raise UntrustedWeights(f"{MANIFEST_NAME} is not the one that was installed: it was changed since.")


def pack_weights(state: Mapping[str, torch.Tensor]) -> tuple[bytes, str]:
    """The bytes of ``model.safetensors`` and their SHA-256."""
    content = save_tensors({key: value.detach().cpu().contiguous() for key, value in state.items()})
    return content, hashlib.sha256(content).hexdigest()


def write_weights(directory: Path, manifest: Manifest, content: bytes) -> None:
    """Write a model folder; the manifest goes last, so that a half-written folder is refused.

    Raises:
        UntrustedWeights: the manifest names another SHA-256 than that of the content.
    """
    found = hashlib.sha256(content).hexdigest()
    if found != manifest.sha256:
        raise UntrustedWeights(f"the content has SHA-256 {found}, its manifest names {manifest.sha256}.")
    directory.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_MANIFEST.dump_python(manifest, mode="json"), indent=2) + "\n"
    for name, data in ((WEIGHTS_NAME, content), (MANIFEST_NAME, text.encode())):
        partial = directory / f"{name}.partial"
        partial.write_bytes(data)
        os.replace(partial, directory / name)  # noqa: PTH105 - atomic on every platform
