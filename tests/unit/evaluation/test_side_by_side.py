"""The networks of the papers beside ours: costs from processes of their own, tests on the cases that both judged."""

import json

import pytest

from analysis.evaluation import side_by_side
from analysis.training.card_networks import networks_section
from analysis.training.network_costs import NETWORKS, OURS, cost_of


def _cross_validation(name, kind, dice, burdens):
    """Six patients and two controls of one recipe, on two folds."""
    cases = [
        {"case": f"patient{k}", "set": "covid20", "lesion_dice": dice + k / 100, "burden_percent": 5.0 + k}
        for k in range(6)
    ]
    cases += [{"case": f"control{k}", "set": "lctsc", "burden_percent": burden} for k, burden in enumerate(burdens)]
    recipe = {"data": {"batch": 8, "crop": 96}, "network": {"kind": kind}}
    return {
        "model": name,
        "cases": cases,
        "mean": {"covid20_lesion_dice": dice, "lctsc_burden_percent": sum(burdens) / len(burdens)},
        "runs": [{"fold": str(fold), "steps": 10, "recipe": recipe} for fold in range(2)],
    }


def _cost(name):
    one = {"kind": "lite" if name == OURS else name, "title": NETWORKS[name].title, "parameters": 1234567, "slices": 3}
    return one | {"network": name, "tera_macs_16": 0.123, "cpu_seconds_128": 45.6, "memory_mb_16": 789}


def test_a_network_is_held_against_ours():
    """Wilcoxon on the patients' Dice and McNemar on calls; the budget is told, and ours is held against nothing."""
    ours = _cross_validation("ours_short", "lite", 0.7, [0.5, 1.0])
    other = _cross_validation("unet2d_short", "unet2d", 0.6, [0.5, 3.0])
    first, second = side_by_side.compared([ours, other], ours)
    assert "against_ours" not in first
    assert (second["windows"], second["crop"], second["folds"]) == (160, 96, ["0", "1"])
    against = second["against_ours"]
    assert against["lesion_dice"]["mean_difference"] == pytest.approx(-0.1)
    assert against["lesion_dice"]["wilcoxon_p"] == pytest.approx(1 / 32)
    assert (against["calls"]["right_only_here"], against["calls"]["right_only_there"]) == (0, 1)


def test_the_table_tells_costs_and_what_was_not_measured():
    """A row a network; figures only where one of its kind was trained."""
    ours = _cross_validation("ours_short", "lite", 0.7, [0.5, 1.0])
    other = _cross_validation("unet2d_short", "unet2d", 0.6, [0.5, 3.0])
    document = {
        "machine": "a machine",
        "costs": [_cost(OURS), _cost("unet2d"), _cost("unet3d")],
        "trained": side_by_side.compared([ours, other], ours),
    }
    told = networks_section(document)
    assert "| U-Net 2D | 1,234,567 | 0.123 | 46 | 789 | 0.600 | 1.75 | 1.000 | 0.031, 1.000 |" in told
    assert "| U-Net 3D | 1,234,567 | 0.123 | 46 | 789 | - | - | - | - |" in told
    assert "0.639" in told
    assert networks_section({}) == ""
    alone = networks_section(document | {"trained": []})
    assert "| U-Net 2D | 1,234,567 | 0.123 | 46 | 789 |\n" in alone
    assert "not all trained" in alone


def test_costs_are_measured(tmp_path, monkeypatch):
    """The command writes what it measured, and a picture of it."""
    monkeypatch.setattr(side_by_side, "measured", lambda name, windows: _cost(name) | {"windows": windows})
    assert side_by_side.main(["--out", str(tmp_path), "--networks", "lungsentry,unet3d"]) == 0
    document = json.loads((tmp_path / "networks.json").read_text())
    assert [row["title"] for row in document["costs"]] == ["ours", "U-Net 3D"]
    assert (tmp_path / "networks.png").read_bytes().startswith(b"\x89PNG")


def test_the_cost_of_ours():
    """Parameters and multiply-adds are those of the network; a scan takes time, and memory."""
    cost = cost_of(OURS, windows=1)
    assert (cost["parameters"], cost["slices"]) == (692_252, 3)
    assert cost["tera_macs_16"] == pytest.approx(0.032, abs=0.001)
    assert cost["cpu_seconds_128"] > 0
