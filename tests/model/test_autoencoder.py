"""The trained networks: shapes, order in time, what a forecast may see, and what the decoder gets."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from streamae.model.architecture import MAX_PARAMETERS, MEMORY, Architecture, Kind
from streamae.model.encoder_decoder import EncoderDecoder
from streamae.model.networks import trained_network
from tests.model.models import KINDS, architecture


def network(of: Architecture, dropout: float = 0.0) -> EncoderDecoder:
    """Return a seeded network in evaluation mode."""
    torch.manual_seed(0)
    return trained_network(of, dropout).eval()


def windows(of: Architecture, count: int = 5) -> Tensor:
    """Return seeded scaled windows."""
    return torch.randn(count, of.window_size, of.features, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layers", [1, 2])
def test_shapes_are_those_asked_for(kind: Kind, layers: int) -> None:
    """Runner and training slice windows by these shapes."""
    of = architecture(kind, layers=layers)
    reconstruction, forecasts = network(of)(windows(of), 4)
    assert reconstruction.shape == (5, 4, 3)
    assert forecasts.shape == (5, 6 if kind == "dense" else 11, 3)  # dense looks back half a window


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_decoding_fewer_steps_changes_none_of_them(kind: Kind) -> None:
    """Serving decodes the newest steps only and must score them as training saw them."""
    of = architecture(kind)
    net, z = network(of), windows(of)
    with torch.inference_mode():
        whole, all_forecasts = net(z, 12)
        part, newest_forecasts = net(z, 4, 3)
    torch.testing.assert_close(part, whole[:, -4:])
    torch.testing.assert_close(newest_forecasts, all_forecasts[:, -3:])


@pytest.mark.parametrize("kind", KINDS)
def test_a_forecast_sees_only_rows_before_its_own(kind: Kind) -> None:
    """A forecast that peeks at the row it is about would hide every anomaly."""
    of = architecture(kind)
    net, z = network(of), windows(of)
    changed = z.clone()
    changed[:, 7] += 10.0
    with torch.inference_mode():
        _, before = net(z, 1)
        _, after = net(changed, 1)
    different = (before != after).any(dim=2).any(dim=0)
    first = 12 - before.shape[1]  # row that the oldest forecast is about
    assert (different.nonzero().flatten() + first).tolist() == list(range(8, 12))


def test_a_dense_forecast_looks_back_half_a_window() -> None:
    """The same weights forecast every row, from as many rows as the first of them has before it."""
    of = architecture("dense")
    net, z = network(of), windows(of)
    changed = z.clone()
    changed[:, 2] += 10.0
    with torch.inference_mode():
        before, after = net(z, 1)[1], net(changed, 1)[1]
        moved = net(torch.roll(z, 1, dims=1), 1)[1]
    different = (before != after).any(dim=2).any(dim=0)
    assert different.tolist() == [True, True, True, False, False, False]  # about rows 6 to 11
    torch.testing.assert_close(moved[:, 1:], before[:, :-1])


@pytest.mark.parametrize("window_size", [2, 3, 5, 8, 33])
def test_convolutions_reach_the_oldest_row_and_no_further(window_size: int) -> None:
    """The code must know of the whole window, with no more layers than that takes."""
    of = architecture("conv", window_size=window_size, recent_steps=1)
    assert sum(of.dilations) + 1 >= window_size > sum(of.dilations[:-1]) + 1
    net, z = network(of), windows(of)
    changed = z.clone()
    changed[:, 0] += 10.0
    with torch.inference_mode():
        assert bool((net.encode(z)[0] != net.encode(changed)[0]).any(dim=1).all())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bottleneck_size", [0, 4])
def test_a_reconstruction_depends_on_the_whole_window(kind: Kind, bottleneck_size: int) -> None:
    """The decoder has nothing but the encoder's code to work from."""
    of = architecture(kind, bottleneck_size=bottleneck_size)
    net, z = network(of), windows(of)
    z.requires_grad_()
    reconstruction, _ = net(z, 1)
    reconstruction.sum().backward()
    assert z.grad is not None
    assert bool((z.grad.abs().sum(dim=(0, 2)) > 0).all())


@pytest.mark.parametrize("kind", KINDS)
def test_windows_do_not_influence_each_other(kind: Kind) -> None:
    """Keys share batches; their scores must not mix."""
    of = architecture(kind)
    net, z = network(of), windows(of, 6)
    changed = z.clone()
    changed[0] += 5.0
    with torch.inference_mode():
        before, after = net(z, 4), net(changed, 4)
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one[1:], other[1:], rtol=0, atol=0)
        assert bool((one[0] != other[0]).any())


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_gets_past_the_bottleneck(kind: Kind) -> None:
    """With a code of two numbers, reconstructions have two degrees of freedom: no cell state takes another way."""
    of = architecture(kind, layers=2, bottleneck_size=2)
    net, z = network(of).double(), windows(of, 1).double()
    derivative = torch.autograd.functional.jacobian(lambda rows: net(rows, 12)[0].flatten(), z)
    assert int(torch.linalg.matrix_rank(derivative.flatten(1), rtol=1e-9)) == 2
    codes = net.encode(windows(of, 7).double())[0]
    assert codes.shape == (7, 2)
    torch.testing.assert_close(net.decode(codes, 4), net(windows(of, 7).double(), 4)[0])


def test_usual_codes_do_not_hold_the_whole_window() -> None:
    """Flat layers as wide as the window learn to copy it, anomalies and all."""
    assert architecture("dense", window_size=12, features=1, hidden_size=64).code_size == 3
    assert architecture("conv", window_size=32, features=38, hidden_size=64).code_size == 64
    assert architecture("lstm", layers=2, hidden_size=8).code_size == 32
    assert architecture("gru", layers=2, hidden_size=8, bottleneck_size=3).code_size == 3


def test_newest_step_is_decoded_first() -> None:
    """The oldest-first result is the flipped decoder output: step count 1 is the newest row's."""
    of = architecture()
    net, z = network(of), windows(of)
    with torch.inference_mode():
        newest, _ = net(z, 1)
        two, _ = net(z, 2)
    torch.testing.assert_close(newest[:, 0], two[:, 1])


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_dropout_acts_in_training_only(kind: Kind) -> None:
    """Serving must be deterministic whatever the network was trained with."""
    of = architecture(kind, layers=2)
    net, z = network(of, dropout=0.5), windows(of)
    torch.testing.assert_close(net(z, 4)[0], net(z, 4)[0], rtol=0, atol=0)
    net.train()
    assert bool((net(z, 4)[0] != net(z, 4)[0]).any())
    assert bool((net(z, 4)[1] != net(z, 4)[1]).any())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("bottleneck_size", [0, 4])
def test_shapes_are_known_without_a_network(kind: Kind, layers: int, bottleneck_size: int) -> None:
    """The bundle checks a file's tensors before anything of that size is allocated."""
    of = architecture(kind, layers=layers, bottleneck_size=bottleneck_size)
    real = {name: tuple(tensor.shape) for name, tensor in network(of).state_dict().items()}
    assert of.shapes() == real | {MEMORY: (5, 12, 3)}
    without = replace(of, memory_windows=0)
    assert without.parameters() == sum(parameter.numel() for parameter in network(of).parameters())


def test_shapes_draw_no_random_numbers() -> None:
    """Checking a bundle must not change what the process does next."""
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    architecture().shapes()
    assert torch.rand(1) == expected


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", "rnn"),
        ("window_size", 1),
        ("window_size", 5_000),
        ("features", 0),
        ("features", 5_000),
        ("hidden_size", 0),
        ("hidden_size", 5_000),
        ("layers", 0),
        ("layers", 5),
        ("recent_steps", 0),
        ("recent_steps", 13),
        ("bottleneck_size", -1),
        ("bottleneck_size", 5_000),
    ],
)
def test_sizes_out_of_bounds_are_refused_by_name(field: str, value: object) -> None:
    """A bundle from elsewhere cannot make us allocate without limit, and the message says which number is wrong."""
    with pytest.raises(ValueError, match=field):
        replace(architecture(), **{field: value})


def test_too_many_weights_are_refused() -> None:
    """Each number may be in bounds and the product still be absurd."""
    with pytest.raises(ValueError, match=f"{MAX_PARAMETERS:,}"):
        architecture(hidden_size=4_096, layers=4)
