"""What a network costs on one thread of a CPU: ``python -m analysis.training.network_costs --network NAME``.

Prints parameters, tera multiply-adds of 16 windows (as the network is written, by fvcore), processor seconds for 128
windows of 256x256 in the form in which it is fastest, one at a time, and the memory that 16 at once take.
"""

import argparse
import json
import logging
import resource
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from analysis.model.folding import folded
from analysis.model.lite_network import LiteNetwork
from analysis.model.network import ConvLstmNetwork, parameter_count
from analysis.training.networks import build_network
from analysis.training.recipes import load_recipe

_SIDE, _PART = 256, 64
_SCAN, _AT_ONCE = 128, 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedNetwork:
    """A network under the name people know it by, and a recipe that builds it."""

    title: str
    recipe: str


OURS = "lungsentry"
NETWORKS = {
    OURS: ComparedNetwork(title="ours", recipe="lungsentry"),
    "killekar2022": ComparedNetwork(title="ConvLSTM 2022", recipe="killekar2022"),
    "grodecki2021": ComparedNetwork(title="ConvLSTM 2021", recipe="grodecki2021"),
    "unet2d": ComparedNetwork(title="U-Net 2D", recipe="unet2d"),
    "unet3d": ComparedNetwork(title="U-Net 3D", recipe="unet3d"),
    "denseunet3d": ComparedNetwork(title="DenseUNet 3D", recipe="denseunet3d"),
}


def cost_of(name: str, *, windows: int) -> dict[str, object]:
    """What the network costs; ``windows`` are timed after one that is not."""
    compared = NETWORKS[name]
    recipe = replace(load_recipe(compared.recipe).network, imagenet=False)
    written = build_network(replace(recipe, restructured=False)).eval()
    network = _fastest(build_network(recipe))
    with torch.inference_mode():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        network(_stack(_AT_ONCE, recipe.slices))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        one = _stack(1, recipe.slices)
        network(one)
        start = time.process_time()
        for _ in range(windows):
            network(one)
        seconds = (time.process_time() - start) / windows
    return {
        "network": name,
        "title": compared.title,
        "kind": recipe.kind,
        "slices": recipe.slices,
        "parameters": parameter_count(written),
        "tera_macs_16": round(tera_macs(written, slices=recipe.slices), 3),
        "cpu_seconds_128": round(_SCAN * seconds, 1),
        "memory_mb_16": round(peak / 1024),
    }


def tera_macs(network: nn.Module, *, slices: int) -> float:
    """Tera multiply-adds of 16 windows; every layer works place by place, so that of a part is multiplied."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fvcore and torch's tracer warn about their own age
        from fvcore.nn import FlopCountAnalysis

        logging.getLogger("fvcore").setLevel(logging.ERROR)
        count = FlopCountAnalysis(network.eval(), torch.zeros(1, slices, _PART, _PART))
        count.unsupported_ops_warnings(enabled=False).uncalled_modules_warnings(enabled=False)
        return _AT_ONCE * (_SIDE / _PART) ** 2 * count.total() / 1e12


def _fastest(network: nn.Module) -> nn.Module:
    """As the segmenter runs it: normalisation folded where it can be, channels last where there are no volumes."""
    network.eval()
    if isinstance(network, ConvLstmNetwork | LiteNetwork):
        network = folded(network)
    if any(isinstance(module, nn.Conv3d) for module in network.modules()):
        return network
    return network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def _stack(windows: int, slices: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(windows, slices, _SIDE, _SIDE, generator=generator)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the costs of one network as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=tuple(NETWORKS), required=True, help="which one")
    parser.add_argument("--windows", type=int, default=4, help="windows that are timed (%(default)s)")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    print(json.dumps(cost_of(arguments.network, windows=arguments.windows)))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
