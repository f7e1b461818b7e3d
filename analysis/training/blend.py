"""Mix a run with the model it went on from: ``python -m analysis.training.blend --run FILE --with DIR --out FILE``.

A short run that goes on from a trained model gains what it is shown, and forgets some of the rest; weights between
both keep most of either (Wortsman et al. 2022, Robust fine-tuning of zero-shot models, arXiv:2109.01903). What comes
out is a checkpoint like the one that went in, with the same cost at inference. Memory and time are those of reading
two models.

A run of one fold is mixed with the model of the same fold only: any other has seen the cases that it is judged by.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter

from analysis.model.weights import Manifest, read_weights
from analysis.training.datasets import EVERYTHING
from analysis.training.recipes import Recipe

KEPT_SHARE = "kept_share"
"""The key of a checkpoint that tells which share of the earlier model's weights is in it."""

_State = Mapping[str, torch.Tensor]


def blended(run: _State, earlier: _State, share: float) -> dict[str, torch.Tensor]:
    """``share`` of the earlier weights and the rest of the run's; whole numbers are the run's.

    Raises:
        ValueError: they are of different networks, or the share is not between 0 and 1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"a share lies between 0 and 1: {share}")
    shapes = [{name: value.shape for name, value in state.items()} for state in (run, earlier)]
    if shapes[0] != shapes[1]:
        raise ValueError("the run and the model are of different networks")
    return {
        name: value.float().lerp(earlier[name].float(), share).to(value.dtype) if value.is_floating_point() else value
        for name, value in run.items()
    }


def check_pair(stored: Mapping[str, Any], earlier: Manifest) -> None:
    """Let this checkpoint be mixed with that model; a checkpoint that does not tell its fold may be of any.

    Raises:
        ValueError: they are of different folds, or the run hands out its last step's weights, which are not mixed.
    """
    fold = stored.get("fold", EVERYTHING)
    if fold not in {EVERYTHING, earlier.training.fold}:
        raise ValueError(
            f"the run is of fold {fold}, {earlier.name} {earlier.version} of fold {earlier.training.fold}: the mixture "
            f"would have seen cases that it is measured on; name the model of fold {fold}"
        )
    recipe = TypeAdapter(Recipe).validate_json(stored["recipe"])
    if not recipe.optimiser.keeps_weights:
        raise ValueError(
            f"the recipe {recipe.name} hands out the weights of its last step, and a mixture would be none of them: "
            "train with a running average (average_decay)"
        )


def main(argv: list[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="a checkpoint *.pt")
    parser.add_argument("--with", type=Path, required=True, dest="earlier", help="the model folder it went on from")
    parser.add_argument(
        "--share", type=float, default=0.25, help="of the earlier model's weights (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, required=True, help="the checkpoint to write")
    arguments = parser.parse_args(argv)
    stored = torch.load(arguments.run, map_location="cpu", weights_only=True)
    manifest, earlier = read_weights(arguments.earlier)
    try:
        check_pair(stored, manifest)
        stored["average"] = blended(stored["average"], earlier, arguments.share)
    except ValueError as error:
        parser.error(f"{error}.")
    stored[KEPT_SHARE] = arguments.share
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    torch.save(stored, arguments.out)
    print(f"{arguments.out.name}: {100 * arguments.share:g} % of {manifest.name} {manifest.version}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
