"""Evaluates a network on cases of the cache at 256x256: Dice, burden, and what is needed to pool them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from analysis.model.labels import LESION_PROBABILITY, labels_of
from analysis.model.network import GROUND_GLASS, HIGH_OPACITY
from analysis.training.augment import SliceStore
from analysis.training.datasets import CLASS_BITS, CONTROLS, LUNG, PATIENTS, Cache, Case, Source

_CEILING_HU = 600.0
_GPU_BATCH = 32  # on a CPU one window at a time is fastest
_CLASS_NAMES = {GROUND_GLASS: "ggo", HIGH_OPACITY: "high_opacity"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Pixels of a label: in both, predicted, true."""

    both: int
    predicted: int
    true: int

    @property
    def dice(self) -> float | None:
        """Dice; none where neither holds the label."""
        total = self.predicted + self.true
        return 2 * self.both / total if total else None


@torch.inference_mode()
def predict(
    network: nn.Module,
    store: SliceStore,
    case: Case,
    *,
    mean_hu: float,
    sd_hu: float,
    slices: int = 3,
    context: bool = True,
) -> NDArray[np.float32]:
    """Class probabilities ``(slice, class, row, column)``; without context the centre slice stands in for all."""
    steps = (torch.arange(slices, device=store.device) - slices // 2) * int(context)
    parts: list[Tensor] = []
    batch = _GPU_BATCH if store.device.type == "cuda" else 1
    for start in range(case.start, case.stop, batch):
        index = torch.arange(start, min(start + batch, case.stop), device=store.device)
        hu = store.hu(store.neighbours(index, steps.expand(len(index), -1))).clamp(max=_CEILING_HU)
        windows = ((hu - mean_hu) / sd_hu).contiguous(memory_format=torch.channels_last)
        probability = network(windows).softmax(1)
        parts.append(probability.float().cpu())
    return torch.cat(parts).numpy()


def _counts(predicted: NDArray[np.bool_], true: NDArray[np.bool_]) -> Counts:
    return Counts(both=int((predicted & true).sum()), predicted=int(predicted.sum()), true=int(true.sum()))


def evaluate_case(probability: NDArray[np.float32], mask: NDArray[np.uint8], case: Case) -> dict[str, object]:
    """The figures of one case, by the keys of ``evaluation.json``, plus pixel counts to pool them by."""
    labels = labels_of(probability, axis=1, lesion_probability=LESION_PROBABILITY)
    classes, lung = mask & CLASS_BITS, (mask & LUNG) > 0
    found = labels > 0
    result: dict[str, object] = {"case": case.name, "set": case.source.value, "fold": case.fold, "slices": len(mask)}
    if case.source is Source.MEDSEG:
        pairs = {"lesion": _counts(found, classes > 0)}
        pairs |= {name: _counts(labels == kind, classes == kind) for kind, name in _CLASS_NAMES.items()}
        for name, counts in pairs.items():
            result[f"{name}_dice"] = counts.dice if counts.true else None
            result[f"{name}_counts"] = [counts.both, counts.predicted, counts.true]
        return result
    clipped = found & lung
    lung_pixels = max(1, int(lung.sum()))
    result["burden_percent"] = 100.0 * int(clipped.sum()) / lung_pixels
    result["true_burden_percent"] = 100.0 * int((classes > 0).sum()) / lung_pixels
    result["high_opacity_percent"] = 100.0 * int(((labels == HIGH_OPACITY) & lung).sum()) / lung_pixels
    result["outside_lung_percent"] = 100.0 * int((found & ~lung).sum()) / lung_pixels
    if case.source in PATIENTS:
        result["lesion_dice"] = _counts(clipped, classes > 0).dice
        result["lesion_dice_unclipped"] = _counts(found, classes > 0).dice
        for kind, name in _CLASS_NAMES.items():
            if (classes == kind).any():
                result[f"{name}_dice"] = _counts((labels == kind) & lung, classes == kind).dice
    return result


def evaluate_cases(
    network: nn.Module,
    cache: Cache,
    store: SliceStore,
    cases: Sequence[Case],
    *,
    mean_hu: float,
    sd_hu: float,
    slices: int = 3,
    ablations: bool = True,
) -> list[dict[str, object]]:
    """The figures of each case; with ``ablations``, ``*_no_context`` have the centre slice in its neighbours' place."""
    results: list[dict[str, object]] = []
    network.eval()
    for case in cases:
        mask = cache.mask[case.start : case.stop]
        result = evaluate_case(predict(network, store, case, mean_hu=mean_hu, sd_hu=sd_hu, slices=slices), mask, case)
        if ablations and case.source is not Source.MEDSEG:
            alone = predict(network, store, case, mean_hu=mean_hu, sd_hu=sd_hu, slices=slices, context=False)
            blind = evaluate_case(alone, mask, case)
            for key in ("lesion_dice", "burden_percent"):
                if key in blind:
                    result[f"{key}_no_context"] = blind[key]
        results.append(result)
    return results


def summarise(results: Sequence[Mapping[str, object]]) -> dict[str, float]:
    """Means over cases by set, burden's Pearson R², and medseg's Dice per slice and pooled."""
    summary: dict[str, float] = {}
    for source in PATIENTS:
        summary |= _of_marked(source.value, [r for r in results if r["set"] == source])
    for source in CONTROLS:
        controls = [r for r in results if r["set"] == source]
        for key in ("burden_percent", "burden_percent_no_context"):
            if values := _numbers(controls, key):
                summary[f"{source.value}_{key}"] = float(np.mean(values))
                summary[f"{source.value}_{key}_worst"] = max(values)
    pictures = [r for r in results if r["set"] == Source.MEDSEG]
    for name in ("lesion", *_CLASS_NAMES.values()):
        if values := _numbers(pictures, f"{name}_dice"):
            summary[f"medseg_{name}_dice"] = float(np.mean(values))
        if pictures:
            both, predicted, true = np.array([r[f"{name}_counts"] for r in pictures]).sum(axis=0).tolist()
            summary[f"medseg_{name}_dice_pooled"] = 2 * both / max(1, predicted + true)
    return summary


def cross_validation(model: str, runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The records of a recipe's runs as one document: every held-out case, the means, and the runs without cases."""
    cases = [case for run in runs for case in run["cases"]]
    return {
        "set": "cross-validation",
        "model": model,
        "cases": cases,
        "mean": summarise(cases),
        "runs": [{key: value for key, value in run.items() if key != "cases"} for run in runs],
    }


def _of_marked(name: str, cases: Sequence[Mapping[str, object]]) -> dict[str, float]:
    """Means of scans whose opacities are marked; Dice of a class over the scans that hold it."""
    summary: dict[str, float] = {}
    keys = ("lesion_dice", "lesion_dice_unclipped", "lesion_dice_no_context", "ggo_dice", "high_opacity_dice")
    for key in keys:
        if values := _numbers(cases, key):
            summary[f"{name}_{key}"] = float(np.mean(values))
            summary[f"{name}_{key}_worst"] = min(values)
    if len(cases) > 2:
        pairs = np.array([[float(str(r["burden_percent"])), float(str(r["true_burden_percent"]))] for r in cases])
        spread = pairs.std(axis=0).min() > 0
        summary[f"{name}_burden_r2"] = float(np.corrcoef(pairs.T)[0, 1] ** 2) if spread else 0.0
        summary[f"{name}_burden_error"] = float(np.abs(pairs[:, 0] - pairs[:, 1]).mean())
    return summary


def _numbers(cases: Sequence[Mapping[str, object]], key: str) -> list[float]:
    return [float(value) for case in cases if isinstance(value := case.get(key), float)]
