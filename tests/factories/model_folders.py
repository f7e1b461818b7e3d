"""Small untrained models in a folder, each seed another one."""

from pathlib import Path

import torch

from analysis.model.network import ConvLstmNetwork, NetworkShape
from analysis.model.weights import Manifest, TrainingSummary, pack_weights, write_weights

SHAPE = NetworkShape(lstm_maps=2, head_maps=(4, 4))


def write_model(folder: Path, *, name: str = "stub", version: str = "1.2.3", seed: int = 0) -> Manifest:
    """Write a model folder, with a card beside the weights; its manifest."""
    torch.manual_seed(seed)
    content, sha256 = pack_weights(ConvLstmNetwork(SHAPE).state_dict())
    manifest = Manifest(
        name=name,
        version=version,
        sha256=sha256,
        network=SHAPE,
        mean_hu=-700.0,
        sd_hu=200.0,
        window_size=64,
        training=TrainingSummary(recipe="none", data=("phantoms (3)",), fold="0", steps=7, seconds=60.0),
    )
    write_weights(folder, manifest, content)
    (folder / "MODEL_CARD.md").write_text(f"# {name}\n", encoding="utf-8")
    (folder / "evaluation.json").write_text('{"mean": {"covid20_lesion_dice": 0.25}}', encoding="utf-8")
    return manifest
