"""The folders of the anatomy networks: weights, and the manifest that names their SHA-256. Nothing is unpickled."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import analysis
from analysis.errors import UntrustedWeights
from analysis.files import read_regular
from analysis.findings import Algorithm

if TYPE_CHECKING:
    import torch

MANIFEST_NAME, EVALUATION_NAME = "manifest.json", "evaluation.json"
_MOST_MANIFEST, _MOST_WEIGHTS = 2**20, 2**28


def package_directory(name: str) -> Path:
    """The folder of this network that comes with the package."""
    return Path(analysis.__path__[0]) / "weights" / name


def read_weights(directory: Path, file: str) -> "tuple[dict[str, Any], dict[str, torch.Tensor]]":
    """The manifest and the tensors of a folder; what is hashed is what is loaded.

    Raises:
        UntrustedWeights: a file is missing or malformed, or the SHA-256 is not the manifest's.
    """
    from safetensors.torch import load

    try:
        manifest = json.loads(read_regular(directory / MANIFEST_NAME, most_bytes=_MOST_MANIFEST))
        content = read_regular(directory / file, most_bytes=_MOST_WEIGHTS)
        named = str(manifest["sha256"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UntrustedWeights(f"{file} or its manifest is missing or malformed.") from error
    found = hashlib.sha256(content).hexdigest()
    if found != named:
        raise UntrustedWeights(f"{file} has SHA-256 {found}, its manifest names {named}.")
    return manifest, load(content)


def algorithm_of(manifest: Mapping[str, Any]) -> Algorithm:
    """What a result calls the network of this manifest, run by this torch.

    Raises:
        KeyError: the manifest names it in part only.
    """
    import torch

    return Algorithm(
        name=str(manifest["name"]),
        version=str(manifest["version"]),
        weights_sha256=str(manifest["sha256"]),
        runtime=f"torch {torch.__version__} float32",
    )


def write_weights(
    directory: Path,
    file: str,
    manifest: Mapping[str, object],
    state: "Mapping[str, torch.Tensor]",
    *,
    evaluation: Mapping[str, object],
) -> None:
    """Write a folder; the manifest goes last, so that half a folder is refused."""
    from safetensors.torch import save

    content = save({key: value.detach().cpu().contiguous() for key, value in state.items()})
    directory.mkdir(parents=True, exist_ok=True)
    (directory / file).write_bytes(content)
    (directory / EVALUATION_NAME).write_text(json.dumps(evaluation, indent=2) + "\n")
    whole = {**manifest, "sha256": hashlib.sha256(content).hexdigest()}
    (directory / MANIFEST_NAME).write_text(json.dumps(whole, indent=2) + "\n")
