"""The network is the one the paper's budget describes, however it is computed."""

import copy
import logging
import warnings

import pytest
import torch

from analysis.model.designs import network_of
from analysis.model.folding import folded
from analysis.model.lite_network import LiteNetwork
from analysis.model.network import ConvLSTM, ConvLstmNetwork, NetworkShape, UpsampledConvolution, parameter_count
from analysis.training.baselines import ConvLstm2021, DenseUNet3D, UNet2D, UNet3D

_PART = 64  # pixels a side of the part of a window that is counted


def _eventful(network: torch.nn.Module) -> torch.nn.Module:
    """Statistics and scales that differ from map to map, as after training."""
    generator = torch.Generator().manual_seed(3)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.copy_(0.1 * torch.randn(module.num_features, generator=generator))
            module.running_var.copy_(0.5 + torch.rand(module.num_features, generator=generator))
            module.weight.data.copy_(0.5 + torch.rand(module.num_features, generator=generator))
            module.bias.data.copy_(0.1 * torch.randn(module.num_features, generator=generator))
    return network.eval()


def _tera_macs_of_16_windows(network: torch.nn.Module, *, slices: int = 3) -> float:
    """The count of fvcore; every layer works window by window and place by place, so that of a part is multiplied."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fvcore and torch's tracer warn about their own age
        from fvcore.nn import FlopCountAnalysis

        logging.getLogger("fvcore").setLevel(logging.ERROR)
        count = FlopCountAnalysis(network.eval(), torch.zeros(1, slices, _PART, _PART))
        count.unsupported_ops_warnings(enabled=False).uncalled_modules_warnings(enabled=False)
        return 16 * (256 / _PART) ** 2 * count.total() / 1e12


@pytest.mark.parametrize(
    ("network", "parameters", "tera_macs"),
    [(ConvLstmNetwork, 788_683, 0.492), (UNet2D, 17_267_523, 0.641), (UNet3D, 16_318_821, 5.143)],
    ids=["convlstm", "unet2d", "unet3d"],
)
def test_budget(network, parameters, tera_macs):
    """Parameters and multiply-adds of 16 windows are those of the paper's table."""
    built = network()
    assert parameter_count(built) == parameters
    assert _tera_macs_of_16_windows(built) == pytest.approx(tera_macs, abs=0.0005)


def test_budget_of_the_denseunet():
    """The sizes that Chaganti et al. leave open are ours: windows of seven slices cost about what the ConvLSTM's do."""
    built = DenseUNet3D()
    assert parameter_count(built) == 3_948_867
    assert _tera_macs_of_16_windows(built, slices=7) == pytest.approx(0.548, abs=0.0005)


@pytest.mark.parametrize(
    ("network", "slices"),
    [
        (UNet2D(width=8), 3),
        (UNet3D(width=8), 3),
        (DenseUNet3D(), 7),
        (ConvLstm2021(NetworkShape(slices=11, head_maps=(8, 8))), 11),
    ],
    ids=["unet2d", "unet3d", "denseunet3d", "convlstm2021"],
)
def test_a_comparison_network_hears_every_slice(network, slices):
    """Logits come at the input's resolution, and the first and the last slice of a window reach them."""
    _eventful(network)
    stack = torch.randn(1, slices, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        logits = network(stack)
        assert logits.shape == (1, 3, 64, 64)
        for k in (0, -1):
            other = stack.clone()
            other[:, k] += 1
            assert not torch.equal(network(other), logits)


@pytest.mark.parametrize(("network", "slices"), [(UNet3D(width=8), 3), (DenseUNet3D(), 7)], ids=["unet3d", "dense"])
def test_the_centre_slice_of_a_volume_is_handed_out(network, slices):
    """Of the slices that a 3D network labels, filled up or not, the window's middle one is its answer."""
    volumes = []
    network.eval().last.register_forward_hook(lambda _module, _input, output: volumes.append(output))
    with torch.inference_mode():
        logits = network(torch.randn(1, slices, 32, 32, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(logits, volumes[0][:, :, slices // 2])
    assert not torch.equal(logits, volumes[0][:, :, slices // 2 - 1])


def test_the_first_version_s_main_branch_sees_one_slice():
    """Of the 2021 network only the attention branch and the gate look at the neighbours."""
    torch.manual_seed(0)
    network = _eventful(ConvLstm2021(NetworkShape(slices=11, head_maps=(8, 8)), restructured=True))
    stack = torch.randn(1, 11, 32, 32)
    other = stack.clone()
    other[:, :5] += 1
    with torch.inference_mode():
        before, after = network.branches(stack), network.branches(other)
    assert torch.equal(before.main, after.main)
    assert not torch.equal(before.attended, after.attended)
    assert not torch.equal(before.gate, after.gate)


@pytest.mark.parametrize("shape", [NetworkShape(), NetworkShape(slices=5, lstm_maps=4, head_maps=(12, 8))])
def test_restructured_is_plain(shape):
    """The restructured network gives the plain one's logits."""
    torch.manual_seed(0)
    plain = _eventful(ConvLstmNetwork(shape))
    fast = ConvLstmNetwork(shape, restructured=True).eval()
    fast.load_state_dict(plain.state_dict())
    stack = torch.randn(2, shape.slices, 64, 48)
    with torch.inference_mode():
        assert torch.allclose(plain(stack), fast(stack), atol=1e-5, rtol=1e-5)


LITE = NetworkShape(design="lite", lstm_maps=8, head_maps=(64, 48))


def test_the_shipped_network_stays_in_the_paper_s_budget():
    """The shipped network has no more parameters than the paper's, and a fifteenth of its multiply-adds."""
    built = network_of(LITE)
    assert parameter_count(built) == 692_252
    assert _tera_macs_of_16_windows(built) == pytest.approx(0.0316, abs=0.0005)


def test_the_lite_network_labels_every_pixel():
    """Logits come at the input's resolution, joined by the gate; the first slice of a window reaches them."""
    torch.manual_seed(0)
    network = _eventful(LiteNetwork(LITE))
    stack = torch.randn(2, 3, 64, 48)
    with torch.inference_mode():
        out = network.branches(stack)
        stack[:, 0] += 1
        changed = network(stack)
    assert out.logits.shape == (2, 3, 64, 48)
    assert torch.allclose(out.logits, (1 - out.gate) * out.main + out.gate * out.attended, atol=1e-5)
    assert (changed - out.logits).abs().max() > 1e-4


@pytest.mark.parametrize(("shape", "left"), [(NetworkShape(), 6), (LITE, 0)], ids=["paper", "lite"])
def test_folding_changes_no_logit(shape, left):
    """Folded normalisation gives the same logits, and leaves one only before dense layers."""
    torch.manual_seed(0)
    network = _eventful(network_of(shape))
    fast = folded(copy.deepcopy(network))
    stack = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(network(stack), fast(stack), atol=1e-5, rtol=1e-5)
    assert sum(isinstance(m, torch.nn.BatchNorm2d) for m in fast.modules()) == left


def test_a_training_network_is_not_folded():
    """The statistics of a batch cannot be folded."""
    with pytest.raises(ValueError, match="eval"):
        folded(ConvLstmNetwork().train())


def test_restructured_convolution_has_the_same_gradient():
    """It can be trained with: the kernel's gradient is the plain convolution's."""
    torch.manual_seed(0)
    plain, fast = UpsampledConvolution(4, 3), UpsampledConvolution(4, 3, restructured=True)
    fast.load_state_dict(plain.state_dict())
    maps, wanted = torch.randn(2, 4, 6, 5), torch.randn(2, 3, 24, 20)
    for layer in (plain, fast):
        ((layer(maps) - wanted) ** 2).sum().backward()
    assert torch.allclose(plain.weight.grad, fast.weight.grad, rtol=1e-4, atol=1e-3)


def test_convlstm_shortcuts_are_exact():
    """Summed kernels and the omitted first hidden state give the ConvLSTM as it is written."""
    torch.manual_seed(0)
    lstm = ConvLSTM(3, 2)
    stack = torch.randn(2, 5, 16, 16)
    assert torch.allclose(lstm(stack), lstm.forward_as_written(stack), atol=1e-6)


def test_convlstm_hears_every_slice():
    """A change in the first slice of a window reaches the last state."""
    torch.manual_seed(0)
    lstm = ConvLSTM(3, 2)
    stack = torch.randn(1, 3, 8, 8)
    changed = stack.clone()
    changed[:, 0] += 1
    assert (lstm(stack) - lstm(changed)).abs().max() > 1e-4


def test_the_gate_joins_the_branches():
    """Logits are (1 - alpha) main + alpha attended."""
    torch.manual_seed(0)
    out = ConvLstmNetwork(NetworkShape(head_maps=(8, 8))).eval().branches(torch.randn(1, 3, 32, 32))
    assert torch.allclose(out.logits, (1 - out.gate) * out.main + out.gate * out.attended, atol=1e-6)


@pytest.mark.parametrize("shape", [{"slices": 4}, {"slices": 1}, {"lstm_maps": 0}, {"head_maps": (0, 3)}])
def test_an_impossible_shape_is_refused(shape):
    """An even window, or a layer without maps, cannot be asked for."""
    with pytest.raises(ValueError, match=r"window|layer"):
        NetworkShape(**shape)
